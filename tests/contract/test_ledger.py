"""The contract of the ledger: what intake, lifecycle and audit rely on, for the fake and for PostgreSQL."""

import asyncio
from contextlib import aclosing
from datetime import timedelta, timezone

import pytest
from ledger_values import EPOCH, NOW, accepted, booking, key, received, rejected, submission
from msgspec.structs import replace

from streams.core.books import Action, Balance, Conflict, Movement, PromotionRecord, PromotionState, State
from streams.core.stock import MAIN, Promotion
from streams.errors import Refused
from streams.instants import to_datetime
from streams.messages import Outcome, Reason
from streams.stores.ledger import MAX_BATCH, Ledger

pytest_plugins = ["ledger_fixtures"]


async def balances(ledger: Ledger) -> list[Balance]:
    """All balances."""
    return [balance async for balance in ledger.balances()]


async def test_an_accepted_booking_is_a_decision_and_an_order(ledger: Ledger) -> None:
    """Everything that was booked is read back, by key and by order id."""
    made = accepted(1)
    decided_at, held_until = to_datetime(made.decided_at_ms), to_datetime(made.held_until_ms)
    written = await ledger.persist([made], EPOCH)
    assert written.stored == {}
    order = await ledger.find_order(made.order_id, token=written.token)
    assert order is not None
    assert (order.channel, order.submission_id, order.buyer_id) == ("web", "s-000001", "buyer-1")
    assert (order.channel_order_no, order.currency, order.total) == ("no-1", "EUR", 900)
    assert (order.pool, order.promotion_id, order.state) == (MAIN, None, State.HELD)
    assert (order.submitted_at, order.decided_at) == (made.intent.submitted_at, decided_at)
    assert (order.held_until, order.changed_at) == (held_until, decided_at)
    assert (order.trace_id, order.quantities) == (made.intent.trace_id, made.intent.quantities)
    found = await ledger.find_decision(key(made), token=written.token)
    assert found is not None
    assert found == await ledger.find_decision(made.order_id, token=written.token)
    assert found[0] == key(made)
    assert found[1] == (
        made.order_id, made.intent.fingerprint, Outcome.ACCEPTED, None, decided_at, held_until, made.intent.trace_id,
        3, 1,
    )  # fmt: skip
    assert await ledger.lookup([key(made)]) == dict([found])
    assert await ledger.orders([made.order_id]) == {made.order_id: order}


@pytest.mark.parametrize("reason", list(Reason))
async def test_a_rejection_is_durable_and_moves_nothing(ledger: Ledger, reason: Reason) -> None:
    """A rejection is a decision with its reason, found by key and order id; it is no order and holds no unit."""
    made = rejected(1, reason)
    token = (await ledger.persist([made], EPOCH)).token
    found = await ledger.find_decision(made.order_id, token=token)
    assert found == await ledger.find_decision(key(made), token=token)
    assert found is not None
    assert (found[0], found[1].outcome, found[1].reason) == (key(made), Outcome.REJECTED, reason)
    assert (found[1].held_until, found[1].trace_id, found[1].offset) == (None, made.intent.trace_id, 1)
    assert await ledger.find_order(made.order_id, token=token) is None
    assert await ledger.orders([made.order_id]) == {}
    assert await balances(ledger) == []


async def test_what_is_not_there_is_left_out(ledger: Ledger) -> None:
    """Unknown keys and ids are no errors: they are absent or None."""
    known, unknown = accepted(1), accepted(2)
    token = (await ledger.persist([known], EPOCH)).token
    assert set(await ledger.lookup([key(unknown), key(known)])) == {key(known)}
    assert set(await ledger.orders([unknown.order_id, known.order_id])) == {known.order_id}
    assert await ledger.find_decision(key(unknown), token=token) is None
    assert await ledger.find_decision(unknown.order_id, token=token) is None
    assert await ledger.find_order(unknown.order_id, token=token) is None
    assert await ledger.steps(unknown.order_id, token=token) == []
    assert (await ledger.lookup([]), await ledger.orders([])) == ({}, {})


async def test_repeated_lines_of_a_sku_add_up(ledger: Ledger) -> None:
    """A SKU on three lines is held once, with the sum, and counted so in the balance."""
    made = accepted(1, lines=(("TEA", 2, 450), ("CUP", 1, 990), ("TEA", 3, 400), ("TEA", 1, 0)))
    await ledger.persist([made], EPOCH)
    order = (await ledger.orders([made.order_id]))[made.order_id]
    assert order.quantities == (("TEA", 6), ("CUP", 1))
    assert await balances(ledger) == [Balance("CUP", MAIN, -1, 1, 0), Balance("TEA", MAIN, -6, 6, 0)]


async def test_an_order_of_a_promotion_holds_in_its_pool(ledger: Ledger) -> None:
    """The hold's entry stands in the order's own pool."""
    made = accepted(1, promotion_id="double11")
    await ledger.persist([made], EPOCH)
    assert (await ledger.orders([made.order_id]))[made.order_id].promotion_id == "double11"
    assert await balances(ledger) == [Balance("TEA", "promo:double11", -2, 2, 0)]


async def test_persisting_again_changes_nothing_and_tells_the_first(ledger: Ledger) -> None:
    """A redelivered batch, whole or in part, leaves one decision for each key and returns those that were there."""
    first = [accepted(1), rejected(2), accepted(3)]
    await ledger.persist(first, EPOCH)
    before = await ledger.lookup([key(made) for made in first]), await balances(ledger)
    again = await ledger.persist(list(reversed(first)), EPOCH)
    assert again.stored == before[0]
    overlapping = await ledger.persist([accepted(4), *first[1:], rejected(5)], EPOCH)
    assert set(overlapping.stored) == {key(made) for made in first[1:]}
    assert await ledger.lookup([key(made) for made in first]) == before[0]
    assert await balances(ledger) == [Balance("TEA", MAIN, -6, 6, 0)]


async def test_a_late_duplicate_is_answered_by_the_first_decision(ledger: Ledger) -> None:
    """A key that Redis had forgotten, with another time, body and so order id, makes no second order."""
    first = rejected(1)
    await ledger.persist([first], EPOCH)
    late = booking(submission(1, lines=(("CUP", 9, 100),), submitted_at=NOW + timedelta(days=3)), offset=77)
    assert late.order_id != first.order_id
    stored = (await ledger.persist([late], EPOCH)).stored[key(late)]
    assert (stored.order_id, stored.fingerprint, stored.offset) == (first.order_id, first.intent.fingerprint, 1)
    assert await ledger.orders([late.order_id]) == {}
    assert await balances(ledger) == []


async def test_the_same_id_in_two_channels_is_two_submissions(ledger: Ledger) -> None:
    """Submission ids are a channel's own."""
    here, there = booking(submission(1)), booking(submission(1, channel="app"))
    assert (await ledger.persist([here], EPOCH)).stored == {}
    assert (await ledger.persist([there], EPOCH)).stored == {}
    assert await balances(ledger) == [Balance("TEA", MAIN, -4, 4, 0)]


async def test_an_empty_batch_gives_a_token(ledger: Ledger) -> None:
    """Nothing to write is no error, and the token can be read with."""
    written = await ledger.persist([], EPOCH)
    assert written.stored == {}
    assert await ledger.find_order(accepted(1).order_id, token=written.token) is None
    token, results = await ledger.take_steps([], EPOCH)
    assert results == []
    assert await ledger.steps(accepted(1).order_id, token=token) == []


async def test_a_large_batch_of_large_baskets(ledger: Ledger) -> None:
    """4,000 orders in one transaction, every tenth with 20 lines, balance to the unit."""
    wide = tuple((f"SKU-{number:03d}", 1 + number % 3, 100) for number in range(20))
    batch = [accepted(number, lines=wide) if number % 10 == 0 else accepted(number) for number in range(4_000)]
    await ledger.persist(batch, EPOCH)
    assert len(await ledger.lookup([key(made) for made in batch])) == 4_000
    found = await ledger.orders([made.order_id for made in batch])
    assert [found[made.order_id].quantities for made in batch] == [made.intent.quantities for made in batch]
    expected = {sku: qty * 400 for sku, qty, _ in wide} | {"TEA": 3_600 * 2}
    assert {balance.sku: balance.held for balance in await balances(ledger)} == expected


async def test_a_call_is_bounded(ledger: Ledger) -> None:
    """A batch beyond the bound is refused before anything is written."""
    batch = [rejected(number) for number in range(MAX_BATCH + 1)]
    with pytest.raises(ValueError, match="at most 5000"):
        await ledger.persist(batch, EPOCH)
    with pytest.raises(ValueError, match="at most 5000"):
        await ledger.lookup([key(made) for made in batch])
    with pytest.raises(ValueError, match="at most 5000"):
        await ledger.orders([made.order_id for made in batch])
    assert await ledger.lookup([key(batch[0])]) == {}


async def test_quantities_must_be_the_lines_added_up(ledger: Ledger) -> None:
    """A booking that holds other than its lines say is a fault, and nothing of its batch is written."""
    made = accepted(2)
    other = made.intent.reservation._replace(quantities=(("TEA", 3),))
    wrong = made._replace(intent=replace(made.intent, reservation=other))
    with pytest.raises(AssertionError, match="quantities"):
        await ledger.persist([accepted(1), wrong], EPOCH)
    assert await ledger.lookup([key(accepted(1)), key(wrong)]) == {}


async def test_one_key_twice_in_a_batch_is_a_fault(ledger: Ledger) -> None:
    """The caller sorts out repeats within a batch; the ledger does not guess which one counts."""
    with pytest.raises(AssertionError, match="twice"):
        await ledger.persist([accepted(1), accepted(1)], EPOCH)
    assert await ledger.lookup([key(accepted(1))]) == {}


async def test_two_keys_with_one_order_id_are_a_fault(ledger: Ledger) -> None:
    """An id that belongs to another key ends the call instead of trying for ever."""
    await ledger.persist([accepted(1)], EPOCH)
    with pytest.raises(AssertionError, match="share an order id"):
        await ledger.persist([accepted(2)._replace(order_id=accepted(1).order_id)], EPOCH)
    assert await ledger.lookup([key(accepted(2))]) == {}


async def test_workers_with_the_same_batch_write_it_once(ledger: Ledger) -> None:
    """Of concurrent writers each key has exactly one; all others are told its decision."""
    batch = [accepted(number) if number % 3 else rejected(number) for number in range(300)]
    turns = [batch, batch[::-1], batch[100:] + batch[:100], batch[50:250]]
    results = await asyncio.gather(*(ledger.persist(turn, EPOCH) for turn in turns))
    writers = [
        sum(key(made) not in result.stored for turn, result in zip(turns, results, strict=True) if made in turn)
        for made in batch
    ]
    assert writers == [1] * len(batch)
    assert [(b.free, b.held) for b in await balances(ledger)] == [(-400, 400)]


async def test_times_are_instants(ledger: Ledger) -> None:
    """An offset from UTC is a way of writing; the instant comes back exact to the microsecond."""
    at = (NOW + timedelta(microseconds=123_457)).astimezone(timezone(timedelta(hours=8)))
    made = booking(submission(1, submitted_at=at))
    await ledger.persist([made], EPOCH)
    order = (await ledger.orders([made.order_id]))[made.order_id]
    assert order.submitted_at == at
    assert order.decided_at == to_datetime(made.decided_at_ms)
    assert order.held_until == to_datetime(made.held_until_ms)


async def test_conflicts_are_kept_and_may_be_told_again(ledger: Ledger) -> None:
    """The same conflict twice, in one call or two, is no error."""
    conflict = Conflict("web", "s-1", b"12345678", 0, 5, NOW)
    await ledger.record_conflicts([conflict, conflict, conflict._replace(fingerprint=b"abcdefgh")])
    await ledger.record_conflicts([conflict])
    await ledger.record_conflicts([])


async def test_epochs_rise_by_one(ledger: Ledger) -> None:
    """Concurrent issues give each its own; the installation stays what it was with the first."""
    installation = await ledger.installation()
    assert installation is not None
    issued = await asyncio.gather(*(ledger.issue_epoch("again") for _ in range(5)))
    assert sorted(issued) == [2, 3, 4, 5, 6]
    assert await ledger.epoch() == 6
    assert await ledger.installation() == installation


async def test_command_movements_are_all_or_none(ledger: Ledger) -> None:
    """A reference is booked once; a repeat is told by False and adds nothing, other units under it are refused."""
    goods = received("delivery-1", ("TEA", 10), ("CUP", 5))
    assert await ledger.record_movements(goods) is True
    assert await ledger.record_movements(goods) is False
    assert await ledger.record_movements([]) is True
    more = [*goods, *received("delivery-1", ("MUG", 1))]
    for other in (goods[:1], received("delivery-1", ("TEA", 10), ("CUP", 6)), more):
        with pytest.raises(Refused, match="delivery-1 was booked with other units"):
            await ledger.record_movements(other)
    with pytest.raises(AssertionError, match="moves nothing"):
        await ledger.record_movements([Movement("m", Action.MOVE, "MUG", MAIN, 0, 0, 0, NOW)])
    assert await ledger.record_movements(received("delivery-3", ("MUG", 0)))
    known = [Balance("CUP", MAIN, 5, 0, 0), Balance("MUG", MAIN, 0, 0, 0), Balance("TEA", MAIN, 10, 0, 0)]
    assert await balances(ledger) == known


async def test_workers_with_the_same_delivery_book_it_once(ledger: Ledger) -> None:
    """Of concurrent recordings exactly one says that it was the first."""
    goods = received("delivery-1", *((f"SKU-{number}", 1) for number in range(50)))
    assert sorted(await asyncio.gather(*(ledger.record_movements(goods) for _ in range(4)))) == [False] * 3 + [True]
    assert sum(balance.free for balance in await balances(ledger)) == 50


def promotion(name: str = "double11", limit: int = 2) -> Promotion:
    """A promotion with two SKUs, not in the order of the alphabet."""
    return Promotion(name, 1_790_000_000_001, 1_790_000_600_000, limit, (("TEA", 100), ("CUP", 50)))


def opened(name: str = "double11") -> list[Movement]:
    """The movements that open it."""
    pool = f"promo:{name}"
    return [Movement(pool, Action.OPEN, "TEA", where, n * 100, 0, 0, NOW) for where, n in ((MAIN, -1), (pool, 1))]


async def test_a_promotion_is_kept_with_its_movements(ledger: Ledger) -> None:
    """Saving again updates it, its movements count once, and states can be asked for."""
    await ledger.save_promotion(PromotionRecord(promotion(), PromotionState.OPENING))
    for _ in range(2):
        await ledger.save_promotion(PromotionRecord(promotion(limit=5), PromotionState.OPEN), opened())
    await ledger.save_promotion(PromotionRecord(promotion("autumn"), PromotionState.FAILED))
    expected = PromotionRecord(promotion(limit=5), PromotionState.OPEN)
    assert await ledger.promotions(PromotionState.OPEN, PromotionState.OPENING) == [expected]
    assert [record.promotion.promotion_id for record in await ledger.promotions()] == ["autumn", "double11"]
    assert await ledger.promotions(PromotionState.CLOSED) == []
    assert await balances(ledger) == [Balance("TEA", MAIN, -100, 0, 0), Balance("TEA", "promo:double11", 100, 0, 0)]


async def test_a_promotion_never_goes_back(ledger: Ledger) -> None:
    """A process that writes OPEN late cannot reopen what was closed; its movements are kept. FAILED may be retried."""
    states = [PromotionState.OPENING, PromotionState.FAILED, PromotionState.OPENING, PromotionState.CLOSED]
    for state in states:
        await ledger.save_promotion(PromotionRecord(promotion(), state))
        assert [record.state for record in await ledger.promotions()] == [state]
    for state in (PromotionState.OPEN, PromotionState.CLOSING, PromotionState.FAILED, PromotionState.OPENING):
        await ledger.save_promotion(PromotionRecord(promotion(), state), opened())
        assert [record.state for record in await ledger.promotions()] == [PromotionState.CLOSED]
    assert len(await balances(ledger)) == 2


async def test_balances_come_in_order_and_may_be_left_early(ledger: Ledger) -> None:
    """SKU then pool, by code point; a reader who stops gives the connection back."""
    await ledger.record_movements(received("goods", *((sku, 1) for sku in ("b", "B", "a-1", "a.1", "_x", "a1"))))
    await ledger.save_promotion(PromotionRecord(promotion(), PromotionState.OPEN), opened())
    found = [(balance.sku, balance.pool) for balance in await balances(ledger)]
    assert found == sorted(found)
    assert len(found) == 8
    for _ in range(10):
        iterator = ledger.balances()
        async with aclosing(iterator):  # type: ignore[type-var]  # the protocol says iterator, both are generators
            async for _ in iterator:
                break


@pytest.mark.parametrize("token", ["", "0/", "0/16b3748", "x/1", "0/123456789", "0/1\n", "1", "0/1; DROP"])
async def test_a_token_is_a_wal_position(ledger: Ledger, token: str) -> None:
    """Anything else is the reader's mistake and said so, before a server is asked."""
    with pytest.raises(ValueError, match="no position in the ledger"):
        await ledger.find_order(accepted(1).order_id, token=token)
    with pytest.raises(ValueError, match="no position in the ledger"):
        await ledger.find_decision(("web", "s-1"), token=token)
    with pytest.raises(ValueError, match="no position in the ledger"):
        await ledger.steps(accepted(1).order_id, token=token)


async def test_migrating_again_applies_nothing(ledger: Ledger) -> None:
    """A ledger that is up to date stays as it is."""
    assert await ledger.migrate() == []
