"""Reports and expiry against stores in memory: what each does to an order, and in which order of effects."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from builders import (
    SETTINGS,
    Trouble,
    accepted,
    chunk,
    intent_of,
    outages,
    promotion,
    report,
    submission,
    world,
)
from lifecycle_kit import CANCELLED, PAID, RETENTION_S, TTL_S, expire, forget, said, send_left, state, take

from streams.core.books import State
from streams.core.stock import End
from streams.guard import StockGuard
from streams.intake.decode import decode
from streams.intake.persist import persist
from streams.intake.reserve import reserve
from streams.lifecycle import Lifecycle
from streams.messages import Change, ReportType
from streams.promotions import close_promotion, open_promotion


async def test_the_order_of_effects() -> None:
    """Ask the stock, write the ledger, tell the world, and only then acknowledge."""
    made, trouble = await world(), Trouble()
    (order_id,) = await accepted(made, submission())
    await take(made, report(order_id, "e-1"), trouble=trouble)
    assert trouble.calls == [
        "ledger.orders",
        "ledger.epoch",
        "stock.carried",
        "stock.confirm",
        "ledger.take_steps",
        "log.partitions",
        "log.partitions",
        "log.partitions",
        "log.append",
        "log.append",
        "log.append",
        "ledger.said",
        "acknowledge",
    ]
    assert (state(made, order_id), said(made, order_id)) == (State.CONFIRMED, [Change.CONFIRMED])
    assert await made.books() == {("TEA", "main"): (8, 0, 2)}


async def test_a_chunk_of_many_orders_costs_a_few_calls() -> None:
    """Payments of different orders share a call, so do cancellations; reports of one order keep their order."""
    made, trouble = await world(), Trouble()
    a, b, c = await accepted(made, *(submission(f"s-{n}", lines=(("TEA", n, 1),)) for n in (1, 2, 3)))
    reports = report(a, "1"), report(b, "2", CANCELLED), report(c, "3"), report(a, "4", CANCELLED)
    await take(made, *reports, trouble=trouble)
    assert trouble.calls.count("stock.confirm") == 1
    assert trouble.calls.count("stock.release") == 2
    assert trouble.calls.count("ledger.take_steps") == 2
    assert [state(made, order) for order in (a, b, c)] == [State.REFUND_DUE, State.CANCELLED, State.CONFIRMED]
    assert said(made, a) == [Change.CONFIRMED, Change.REFUND_DUE]
    assert await made.books() == {("TEA", "main"): (7, 0, 3)}


async def test_a_cancelled_order_is_free_again() -> None:
    """And a payment that comes after it is refunded, not sold."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    await take(made, report(order_id, "e-1", CANCELLED))
    assert await made.books() == {("TEA", "main"): (10, 0, 0)}
    await take(made, report(order_id, "e-2"))
    assert (state(made, order_id), said(made, order_id)) == (State.REFUND_DUE, [Change.CANCELLED, Change.REFUND_DUE])
    assert await made.books() == {("TEA", "main"): (10, 0, 0)}


async def test_a_step_whose_answer_was_lost_is_announced() -> None:
    """The ledger has the step, its caller does not know, asks again and is told it is repeated: the outbox has it.

    Also of a second step, when what was read of the order before is out of date by then.
    """
    made = await world()
    (order_id,) = await accepted(made, submission())
    lost_answers = outages(["ledger.take_steps"], times=2, when="after")
    await take(made, report(order_id, "e-1"), trouble=lost_answers)
    assert await send_left(made) == 1
    assert said(made, order_id) == [Change.CONFIRMED]
    lost_answers = outages(["ledger.take_steps"], times=1, when="after")
    await take(made, report(order_id, "e-2", CANCELLED), trouble=lost_answers)
    assert await send_left(made) == 1
    assert (state(made, order_id), said(made, order_id)[-1]) == (State.REFUND_DUE, Change.REFUND_DUE)


async def test_an_expired_order_is_free_again() -> None:
    """At its deadline, not before; found once."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    assert await expire(made, TTL_S - 1) == 0
    assert state(made, order_id) is State.HELD
    assert await expire(made, 1) == 1
    assert await expire(made, 0) == 0
    assert (state(made, order_id), said(made, order_id)) == (State.EXPIRED, [Change.EXPIRED])
    assert await made.books() == {("TEA", "main"): (10, 0, 0)}


async def test_expiry_goes_in_bounded_batches() -> None:
    """No more holds end in one call than the settings say; the rest comes next."""
    made = await world()
    await accepted(made, *(submission(f"s-{n}", lines=(("TEA", 1, 1),)) for n in range(5)))
    made.clock.advance(TTL_S)
    keeper = Lifecycle(made.parts(settings=replace(SETTINGS, expiry_batch=2)))
    assert [await keeper.expire_due() for _ in range(4)] == [2, 2, 1, 0]
    assert await made.books() == {("TEA", "main"): (10, 0, 0)}


async def test_holds_that_never_reached_the_ledger_block_no_others() -> None:
    """A worker that died for good between reserve and persist leaves entries; expiry goes on around them.

    Once Redis has forgotten those decisions nobody can ask for them any more, and the entries go too.
    """
    made = await world()
    orphans = [intent_of(submission(f"orphan-{n}", lines=(("TEA", 1, 1),))).reservation for n in range(3)]
    now_ms = made.clock.now_ms()
    await made.stock.reserve(1, orphans, now_ms=now_ms, held_until_ms=now_ms + 1)
    await accepted(made, *(submission(f"s-{n}", lines=(("TEA", 1, 1),)) for n in range(4)))
    made.clock.advance(TTL_S)
    keeper = Lifecycle(made.parts(settings=replace(SETTINGS, expiry_batch=2)))
    assert sum([await keeper.expire_due() for _ in range(6)]) == 4
    assert await made.stock.unsettled() == 3
    assert await made.books() == {("TEA", "main"): (10, 0, 0)}
    made.clock.advance(2 * RETENTION_S)
    await keeper.expire_due()
    assert await made.stock.unsettled() == 0
    assert await made.books() == {("TEA", "main"): (10, 0, 0)}


@pytest.mark.parametrize("written", [True, False])
async def test_a_late_payment_is_sold_from_what_is_free(*, written: bool) -> None:
    """Whether or not the keeper has written the expiry: sold once, and stock and ledger agree in the end."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    made.clock.advance(TTL_S)
    if written:
        assert await expire(made, 0) == 1
    else:
        await made.stock.expire_due(1, now_ms=made.clock.now_ms(), limit=10)
    await take(made, report(order_id, "e-1"))
    await expire(made, 0)
    assert state(made, order_id) is State.CONFIRMED
    assert said(made, order_id)[-1] is Change.CONFIRMED_LATE
    assert await made.books() == {("TEA", "main"): (8, 0, 2)}


async def test_a_late_payment_after_the_promotion_is_sold_from_main() -> None:
    """Its promotion has closed and its units went to main; there they are sold."""
    made = await world()
    await open_promotion(made.parts(), promotion(quota=(("TEA", 4),)))
    (order_id,) = await accepted(made, submission(promotion_id="p1"))
    await close_promotion(made.parts(), "p1")
    await expire(made)
    await take(made, report(order_id, "e-1"))
    assert said(made, order_id) == [Change.EXPIRED, Change.CONFIRMED_LATE]
    assert {line.pool for line in made.changes()[-1].lines} == {"main"}
    assert await made.books() == {("TEA", "main"): (8, 0, 2)}


async def test_a_late_payment_for_what_is_gone_is_to_be_refunded() -> None:
    """Others bought it meanwhile: nothing is sold twice, somebody is told."""
    made = await world({"TEA": 2})
    (order_id,) = await accepted(made, submission())
    await expire(made)
    await accepted(made, submission("s-2"))
    await take(made, report(order_id, "e-1"))
    assert (state(made, order_id), said(made, order_id)[-1]) == (State.REFUND_DUE, Change.REFUND_DUE)
    assert await made.books() == {("TEA", "main"): (0, 2, 0)}


async def test_a_payment_does_not_undo_a_cancellation_after_expiry() -> None:
    """The stock only knows that the hold expired; the ledger knows of the cancellation, so nothing is sold."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    await expire(made)
    await take(made, report(order_id, "e-1", CANCELLED), report(order_id, "e-2"))
    assert state(made, order_id) is State.REFUND_DUE
    assert said(made, order_id) == [Change.EXPIRED, Change.CANCELLED, Change.REFUND_DUE]
    assert await made.books() == {("TEA", "main"): (10, 0, 0)}


async def test_a_payment_in_a_later_chunk_does_not_undo_it_either() -> None:
    """What the chunk before has written is read, not remembered."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    await expire(made)
    await take(made, report(order_id, "e-1", CANCELLED))
    await take(made, report(order_id, "e-2"))
    assert state(made, order_id) is State.REFUND_DUE
    assert await made.books() == {("TEA", "main"): (10, 0, 0)}


@pytest.mark.parametrize("second", ["e-1", "e-2"])
async def test_a_paid_order_stays_paid_when_the_stock_has_forgotten(second: str) -> None:
    """Days later the same payment is delivered again, or another: neither is announced as a refund."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    await take(made, report(order_id, "e-1"))
    await forget(made)
    await take(made, report(order_id, second))
    assert (state(made, order_id), said(made, order_id)) == (State.CONFIRMED, [Change.CONFIRMED])
    assert await made.books() == {("TEA", "main"): (8, 0, 2)}


async def test_a_paid_order_can_be_cancelled_when_the_stock_has_forgotten() -> None:
    """Days later a buyer cancels: the money is due and the units are free, whatever the stock remembers."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    await take(made, report(order_id, "e-1"))
    await forget(made)
    await take(made, report(order_id, "e-2", CANCELLED))
    assert (state(made, order_id), said(made, order_id)[-1]) == (State.REFUND_DUE, Change.REFUND_DUE)
    assert await made.books() == {("TEA", "main"): (10, 0, 0)}


@pytest.mark.parametrize("late", [PAID, CANCELLED])
@pytest.mark.parametrize(
    ("before", "settled"),
    [
        ((PAID,), {PAID: State.CONFIRMED, CANCELLED: State.REFUND_DUE}),
        ((PAID, CANCELLED), {PAID: State.REFUND_DUE, CANCELLED: State.REFUND_DUE}),
        ((CANCELLED,), {PAID: State.REFUND_DUE, CANCELLED: State.CANCELLED}),
        ((None,), {PAID: State.REFUND_DUE, CANCELLED: State.CANCELLED}),
        ((None, CANCELLED), {PAID: State.REFUND_DUE, CANCELLED: State.CANCELLED}),
        ((None, PAID), {PAID: State.CONFIRMED, CANCELLED: State.REFUND_DUE}),
    ],
)
async def test_a_settled_order_is_not_moved_by_its_late_duplicate(
    before: Sequence[ReportType | None], settled: dict[ReportType, State], late: ReportType
) -> None:
    """Submitted again past all memory, the surplus hold is returned; a report after that finds the books as they were.

    It has the first one's order id, for it was not looked up before: a clock was wrong by more than half a retention.
    None in `before` is an expiry.
    """
    made = await world()
    (order_id,) = await accepted(made, submission())
    for n, kind in enumerate(before):
        await (expire(made) if kind is None else take(made, report(order_id, f"e-{n}", kind)))
    await forget(made)
    late_batch = decode(chunk(submission(), first=9))
    guard = StockGuard(made.ledger, max_delay_s=0.001)
    await reserve(late_batch, made.stock, guard, made.clock, hold_ttl_s=TTL_S)
    await persist(late_batch, made.ledger, made.stock, guard, made.clock, hold_ttl_s=TTL_S, max_delay_s=0.001)
    books = await made.books()
    assert await made.stock.release(1, [order_id.bytes]) == [End.RELEASED]
    await take(made, report(order_id, "e-9", late))
    puts_back = settled[PAID] is State.CONFIRMED and late is CANCELLED
    assert await made.books() == ({("TEA", "main"): (10, 0, 0)} if puts_back else books)
    assert state(made, order_id) is settled[late]
