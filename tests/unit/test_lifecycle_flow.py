"""Reports and expiry against stores in memory: order of effects, crashes at every call, any interleaving."""

import asyncio
import contextlib
import copy
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec
import pytest
from builders import (
    NOW,
    SETTINGS,
    Crash,
    FakeChunk,
    FakeRecord,
    Trouble,
    World,
    accepted,
    at_call,
    chunk,
    intent_of,
    outages,
    promotion,
    report,
    submission,
    take_in,
    world,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.books import State
from streams.core.stock import End
from streams.dead_letters import read_letter
from streams.guard import StockGuard
from streams.intake.decode import decode
from streams.intake.reserve import reserve
from streams.lifecycle import Lifecycle
from streams.messages import Change, ReportType
from streams.promotions import advance_promotions, close_promotion, open_promotion
from streams.rebuild import rebuild_stock
from streams.topics import REPORTED, REPORTED_DLQ

PAID, CANCELLED = ReportType.PAYMENT_SUCCEEDED, ReportType.ORDER_CANCELLED
TTL_S, RETENTION_S = SETTINGS.hold_ttl_s, SETTINGS.dedupe_retention_s


async def take(made: World, *messages: object, trouble: Trouble | None = None) -> FakeChunk:
    """Apply one chunk of reports."""
    one = chunk(*messages, trouble=trouble)  # type: ignore[arg-type]
    await Lifecycle(made.parts(trouble)).take(one)
    return one


async def expire(made: World, after_s: float = TTL_S, trouble: Trouble | None = None) -> int:
    """Let time pass, and the keeper look."""
    made.clock.advance(after_s)
    return await Lifecycle(made.parts(trouble)).expire_due()


def state(made: World, order_id: UUID) -> State:
    """Where an order stands."""
    return made.ledger.accepted[order_id].state


def said(made: World, order_id: UUID) -> list[Change]:
    """What was announced of an order, in order."""
    return [c.change for c in made.changes() if c.order_id == order_id]


def letters(made: World) -> list[tuple[int, str]]:
    """Offsets and reasons of the dead letters."""
    entries = [e for (topic, _), es in made.log.appended.items() if topic == REPORTED_DLQ.name for e in es]
    found = [read_letter(FakeRecord(0, e.value, headers=e.headers)) for e in entries]
    return [(letter.offset, letter.reason) for letter in found if letter is not None]


async def test_the_order_of_effects() -> None:
    """Ask the stock, write the ledger, tell the world, and only then acknowledge."""
    made, trouble = await world(), Trouble()
    (order_id,) = await accepted(made, submission())
    await take(made, report(order_id, "e-1"), trouble=trouble)
    assert trouble.calls == [
        "ledger.orders",
        "ledger.epoch",
        "stock.confirm",
        "ledger.take_steps",
        "log.partitions",
        "log.append",
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
    assert await made.books() == {("TEA", "main"): (6, 0, 4)}


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
    """The ledger has the step, its caller does not know, asks again and is told it is repeated: the world hears of it.

    Also of a second step, when what was read of the order before is out of date by then.
    """
    made = await world()
    (order_id,) = await accepted(made, submission())
    lost_answers = outages(["ledger.take_steps"], times=2, when="after")
    await take(made, report(order_id, "e-1"), trouble=lost_answers)
    assert said(made, order_id) == [Change.CONFIRMED]
    lost_answers = outages(["ledger.take_steps"], times=1, when="after")
    await take(made, report(order_id, "e-2", CANCELLED), trouble=lost_answers)
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
    """Days later a buyer cancels: the money is due, whatever the stock remembers."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    await take(made, report(order_id, "e-1"))
    await forget(made)
    await take(made, report(order_id, "e-2", CANCELLED))
    assert (state(made, order_id), said(made, order_id)[-1]) == (State.REFUND_DUE, Change.REFUND_DUE)
    assert await made.books() == {("TEA", "main"): (8, 0, 2)}


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

    None in `before` is an expiry.
    """
    made = await world()
    (order_id,) = await accepted(made, submission())
    for n, kind in enumerate(before):
        await (expire(made) if kind is None else take(made, report(order_id, f"e-{n}", kind)))
    await forget(made)
    assert await take_in(made.parts(), [chunk(submission(), first=9)]) is None
    books = await made.books()
    assert await made.stock.release(1, [order_id.bytes]) == [End.RELEASED]
    await take(made, report(order_id, "e-9", late))
    assert await made.books() == books
    assert state(made, order_id) is settled[late]


async def forget(made: World) -> None:
    """Let the stock forget how holds ended: two retentions pass, with a call in each."""
    for _ in range(2):
        made.clock.advance(RETENTION_S + 1)
        now_ms = made.clock.now_ms()
        await made.stock.reserve(1, [], now_ms=now_ms, held_until_ms=now_ms + 1)


async def test_a_repeated_step_is_announced_again_while_it_is_the_last() -> None:
    """Whoever took it may have died before saying so; once the order has gone on, the past is not said again."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    await take(made, report(order_id, "e-1"))
    await take(made, report(order_id, "e-1"))
    assert said(made, order_id) == [Change.CONFIRMED] * 2
    await take(made, report(order_id, "e-2", CANCELLED))
    await take(made, report(order_id, "e-1"), report(order_id, "e-2", CANCELLED))
    assert said(made, order_id)[2:] == [Change.REFUND_DUE] * 2


async def test_an_expiry_written_but_not_said_is_not_said_after_the_late_payment() -> None:
    """The keeper dies before announcing, the payment comes first, the keeper comes again: paid is the last word."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    made.clock.advance(TTL_S)
    with pytest.raises(Crash):
        await expire(made, 0, outages(["log.append"], times=1, error=Crash))
    await take(made, report(order_id, "e-1"))
    assert await expire(made, 0) == 1
    assert said(made, order_id) == [Change.CONFIRMED_LATE]
    assert await made.stock.unsettled() == 0
    assert await made.books() == {("TEA", "main"): (8, 0, 2)}


async def test_bad_reports_are_buried_beside_good_ones() -> None:
    """Broken, too old, of an unknown order, of a rejected one: each has its reason, and the good one counts."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    assert await take_in(made.parts(), [chunk(submission("s-2", lines=(("NO", 1, 1),)), first=1)]) is None
    rejected = made.ledger.decisions["web", "s-2"].order_id
    ancient = msgspec.structs.replace(report(order_id, "e-0"), occurred_at=NOW.replace(year=1999))
    one = await take(made, b"{", ancient, report(UUID(int=1), "e-1"), report(rejected, "e-2"), report(order_id, "e-3"))
    assert letters(made) == [(0, "not_json"), (1, "invalid_field"), (2, "unknown_order"), (3, "unknown_order")]
    assert state(made, order_id) is State.CONFIRMED
    assert one.done.is_set()


async def test_a_chunk_of_dead_reports_is_acknowledged() -> None:
    """It asks neither stock nor ledger."""
    made, trouble = await world(), Trouble()
    one = await take(made, b"", None, trouble=trouble)
    assert trouble.calls == ["log.partitions", "log.append", "acknowledge"]
    assert one.done.is_set()


async def test_a_hold_that_the_stock_has_lost_is_buried_not_guessed() -> None:
    """The ledger says held, the stock knows nothing: each such record once among the dead, others are not touched."""
    made = await world()
    lost, kept = await accepted(made, submission("s-1"), submission("s-2"))
    made.stock._holds.pop(lost.bytes)  # a stock restored from an old copy, under the same epoch
    one = await take(
        made, report(lost, "e-1"), report(lost, "e-1"), report(kept, "e-2"), report(lost, "e-3", CANCELLED)
    )
    assert sorted(letters(made)) == [(0, "hold_lost"), (1, "hold_lost"), (3, "hold_lost")]
    assert (state(made, lost), state(made, kept)) == (State.HELD, State.CONFIRMED)
    assert one.done.is_set()


async def test_what_a_past_stock_does_not_know_is_not_lost() -> None:
    """Rebuilt elsewhere, while the old stock lives on, cut off, and a worker still asks it: no hold is lost there."""
    made = await world()
    old = copy.deepcopy(made.stock)
    await rebuild_stock(made.ledger, made.stock, made.clock, retention_s=RETENTION_S, reason="failover")
    (held,) = await accepted(made, submission("s-1"))
    worker = Lifecycle(replace(made.parts(), stock=old))
    worker._guard._epoch = 1  # it has made no call since
    taking = asyncio.create_task(worker.take(one := chunk(report(held, "e-1"))))
    await asyncio.sleep(0.01)
    assert not letters(made)
    assert not one.done.is_set()
    assert state(made, held) is State.HELD
    taking.cancel()


async def test_a_keeper_with_nothing_to_do_learns_of_a_new_epoch() -> None:
    """Its stock is past and has no hold that is due; the one that was rebuilt has: it asks that, once it is back."""
    made = await world()
    old, new = copy.deepcopy(made.stock), made.stock
    await rebuild_stock(made.ledger, new, made.clock, retention_s=RETENTION_S, reason="failover")
    (held,) = await accepted(made, submission("s-1"))
    made.clock.advance(TTL_S)
    keeper = Lifecycle(replace(made.parts(), stock=old))
    keeper._guard._epoch = 1
    looking = asyncio.create_task(keeper.expire_due())
    await asyncio.sleep(0.01)
    assert not looking.done()
    keeper._parts = made.parts()
    assert await looking == 1
    assert state(made, held) is State.EXPIRED


async def test_a_hold_on_its_way_to_the_ledger_is_not_lost_sight_of() -> None:
    """Expired before it was written (its worker died): it stays listed, and is finished when the order arrives."""
    made = await world()
    batch = decode(chunk(submission()))
    guard = StockGuard(made.ledger, max_delay_s=0.001)
    await reserve(batch, made.stock, guard, made.clock, hold_ttl_s=TTL_S)
    assert await expire(made) == 0
    assert await made.stock.unsettled() == 1
    (order_id,) = await accepted(made, submission())
    assert await expire(made, 0) == 1
    assert state(made, order_id) is State.EXPIRED
    assert await made.stock.unsettled() == 0
    assert await made.books() == {("TEA", "main"): (10, 0, 0)}


@pytest.mark.parametrize("when", ["before", "after"])
async def test_outages_are_outlasted(when: Literal["before", "after"]) -> None:
    """Every store may be away for a while, with or without having done its work: the outcome is the same."""
    made = await world()
    a, b, c = await accepted(made, *(submission(f"s-{n}") for n in (1, 2, 3)))
    names = ["ledger.orders", "ledger.epoch", "stock.confirm", "stock.release", "ledger.take_steps"]
    names += ["log.partitions", "log.append"]
    await take(made, report(a, "1"), report(b, "2", CANCELLED), b"x", trouble=outages(names, when=when))
    names += ["stock.expire_due", "stock.settle"]
    assert await expire(made, trouble=outages(names, when=when)) == 1
    await take(made, report(c, "3"), trouble=outages([*names, "stock.retake"], when=when))
    assert [state(made, order) for order in (a, b, c)] == [State.CONFIRMED, State.CANCELLED, State.CONFIRMED]
    assert await made.books() == {("TEA", "main"): (6, 0, 4)}


async def test_a_fenced_stock_is_waited_for() -> None:
    """Under another epoch nothing is written or acknowledged; under the right one the chunk goes through."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    await made.ledger.issue_epoch("somebody rebuilds")
    waiting = asyncio.create_task(take(made, report(order_id, "e-1")))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    assert state(made, order_id) is State.HELD
    made.stock._epoch = 2  # the rebuild ends
    assert (await waiting).done.is_set()
    assert state(made, order_id) is State.CONFIRMED


POINTS = range(1, 36)


async def day(made: World, trouble: Trouble) -> tuple[dict[str, State], dict[str, Change]]:
    """Four orders are paid, cancelled, expired, paid late, cancelled when sold; a process that dies is started again.

    Returns where each order stands, and what was last said of it.
    """
    orders = await accepted(made, *(submission(name, lines=(("TEA", 1, 1),)) for name in "abcd"))
    a, b, c, d = orders
    process = Lifecycle(made.parts(trouble))
    phases: list[Callable[[Lifecycle], Awaitable[object]]] = [
        lambda now: now.take(chunk(report(a, "1"), report(b, "2", CANCELLED), b"x", report(d, "3"))),
        Lifecycle.expire_due,
        lambda now: now.take(chunk(report(c, "4"), report(d, "5", CANCELLED), first=4)),
        Lifecycle.expire_due,
    ]
    for phase in phases:
        try:
            await phase(process)
        except Crash:
            process = Lifecycle(made.parts())
            await phase(process)
        made.clock.advance(TTL_S)
    by_name = dict(zip("abcd", orders, strict=True))
    return {n: state(made, o) for n, o in by_name.items()}, {n: said(made, o)[-1] for n, o in by_name.items()}


@pytest.mark.parametrize("number", POINTS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_any_point_changes_no_outcome(number: int, when: Literal["before", "after"]) -> None:
    """The process dies before or after any call; the next one finishes: same states, same last words, same books."""
    made = await world()
    states, last_words = await day(made, at_call(number, when))
    assert states == {"a": State.CONFIRMED, "b": State.CANCELLED, "c": State.CONFIRMED, "d": State.REFUND_DUE}
    assert last_words == {
        "a": Change.CONFIRMED,
        "b": Change.CANCELLED,
        "c": Change.CONFIRMED_LATE,
        "d": Change.REFUND_DUE,
    }
    assert await made.books() == {("TEA", "main"): (7, 0, 3)}
    assert await made.stock.unsettled() == 0


async def test_the_points_of_crash_cover_the_whole_day() -> None:
    """The numbers in POINTS reach past the last call, so no point is missed."""
    trouble = Trouble()
    await day(await world(), trouble)
    assert len(trouble.calls) in POINTS
    assert {"stock.confirm", "stock.release", "stock.retake", "stock.expire_due", "stock.settle"} <= set(trouble.calls)


# Any interleaving.


class Reported(NamedTuple):
    """Somebody reports of an order; the same event may be sent more than once."""

    order: int
    event: int
    kind: ReportType


class Deliver(NamedTuple):
    """So many records are read and applied by a process that may die at a call, after so many are read once more."""

    size: int
    again: int
    dies_at: int
    when: Literal["before", "after"]


class Keep(NamedTuple):
    """Time passes, and the keeper looks; it may die at a call."""

    after_s: float
    dies_at: int
    when: Literal["before", "after"]


class Close(NamedTuple):
    """The promotion is closed ahead of its time."""


Event = Reported | Deliver | Keep | Close
WHEN: st.SearchStrategy[Literal["before", "after"]] = st.sampled_from(["before", "after"])
EVENTS = st.lists(
    st.one_of(
        st.builds(Reported, st.integers(0, 3), st.integers(0, 2), st.sampled_from(ReportType)),
        st.builds(Reported, st.integers(0, 3), st.integers(0, 2), st.sampled_from(ReportType)),
        st.builds(Deliver, st.integers(1, 6), st.integers(0, 3), st.integers(1, 20), WHEN),
        st.builds(Keep, st.sampled_from([0.0, TTL_S, TTL_S, RETENTION_S + 1]), st.integers(1, 9), WHEN),
        st.builds(Close),
    ),
    min_size=3,
    max_size=24,
)
SHELF = {"TEA": 7, "CUP": 6}
TERMINAL = {
    State.CONFIRMED: {Change.CONFIRMED, Change.CONFIRMED_LATE},
    State.CANCELLED: {Change.CANCELLED},
    State.EXPIRED: {Change.EXPIRED},
    State.REFUND_DUE: {Change.REFUND_DUE},
}


@settings(max_examples=200)
@given(EVENTS)
def test_any_interleaving_ends_with_books_that_agree(events: list[Event]) -> None:
    """Payments, cancellations, expiry, redelivery and crashes in any order: one terminal state an order.

    Stock and ledger agree to the unit, what was last said of an order is where it stands, nothing that was cancelled
    or refunded is sold after that, and no hold is left.
    """
    asyncio.run(_live(events))


async def _live(events: list[Event]) -> None:
    made = await world(SHELF)
    await open_promotion(made.parts(), promotion(quota=(("TEA", 3), ("CUP", 3)), limit=4, hours=2))
    orders = await accepted(
        made,
        submission("s-0", lines=(("TEA", 2, 1),)),
        submission("s-1", lines=(("TEA", 1, 1), ("CUP", 2, 1), ("TEA", 1, 1))),
        submission("s-2", lines=(("TEA", 1, 1), ("CUP", 1, 1)), promotion_id="p1"),
        submission("s-3", lines=(("TEA", 2, 1),), promotion_id="p1", buyer_id="bob"),
    )
    log, read = [FakeRecord(0, b"x")], 0
    end = [Close(), Deliver(100, 0, 999, "before"), Keep(TTL_S, 999, "before"), Keep(0.0, 999, "before")]
    for event in [*events, *end]:
        match event:
            case Reported(order, number, kind):
                found = report(orders[order], f"e-{number}", kind, source=kind.value)
                log.append(FakeRecord(len(log), msgspec.json.encode(found)))
            case Deliver(size, again, dies_at, when):
                first = max(0, read - again)
                read = await _deliver(made, log[first : first + size], at_call(dies_at, when), read)
            case Keep(after_s, dies_at, when):
                if after_s > TTL_S:
                    # Nobody stays dead for as long as the stock remembers ends: what is half done is finished before.
                    read = await _deliver(made, log[read:], Trouble(), read)
                    await Lifecycle(made.parts()).expire_due()
                made.clock.advance(after_s)
                with contextlib.suppress(Crash):
                    parts = made.parts(at_call(dies_at, when))
                    await advance_promotions(parts)
                    await Lifecycle(parts).expire_due()
            case Close():
                await close_promotion(made.parts(), "p1")
    await _check(made, orders)


async def _deliver(made: World, records: Sequence[FakeRecord], trouble: Trouble, read: int) -> int:
    """Apply some records; returns how far the group has come."""
    if not records:
        return read
    one = FakeChunk(records, topic=REPORTED.name)
    with contextlib.suppress(Crash):
        await Lifecycle(made.parts(trouble)).take(one)
    return max(read, records[-1].offset + 1) if one.done.is_set() else read


async def _check(made: World, orders: Sequence[UUID]) -> None:
    books = await made.books()
    for sku, units in SHELF.items():
        assert sum(sum(accounts) for (of, _), accounts in books.items() if of == sku) == units
    assert not any(held for _, held, _ in books.values())
    assert await made.stock.unsettled() == 0
    sold: Counter[str] = Counter()
    for order_id in orders:
        told = said(made, order_id)
        assert told[-1] in TERMINAL[state(made, order_id)]
        settled = next((n for n, change in enumerate(told) if change in UNSOLD), len(told))
        assert set(told[settled:]) <= UNSOLD
        if SOLD & set(told):
            sold.update(dict(made.ledger.accepted[order_id].quantities))
    assert sold == +Counter({sku: sum(a[2] for (of, _), a in books.items() if of == sku) for sku in SHELF})
    assert {reason for _, reason in letters(made)} <= {"not_json"}


SOLD = {Change.CONFIRMED, Change.CONFIRMED_LATE}
UNSOLD = {Change.CANCELLED, Change.REFUND_DUE}
