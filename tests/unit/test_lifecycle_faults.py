"""Reports and expiry when something fails: bad records, lost holds, past epochs, outages, crashes at every call."""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal
from uuid import UUID

import msgspec
import pytest
from builders import (
    NOW,
    Crash,
    Trouble,
    World,
    accepted,
    at_call,
    chunk,
    outages,
    report,
    submission,
    take_in,
    world,
)
from lifecycle_kit import CANCELLED, RETENTION_S, TTL_S, expire, letters, said, send_left, state, take

from streams.core.books import State
from streams.guard import StockGuard
from streams.intake.decode import decode
from streams.intake.reserve import reserve
from streams.lifecycle import Lifecycle
from streams.messages import Change
from streams.rebuild import rebuild_stock


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
    keeper._expiry._parts = made.parts()
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


POINTS = range(1, 51)


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
    await send_left(made)
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
    assert await made.books() == {("TEA", "main"): (8, 0, 2)}
    assert await made.stock.unsettled() == 0


async def test_the_points_of_crash_cover_the_whole_day() -> None:
    """The numbers in POINTS reach past the last call, so no point is missed."""
    trouble = Trouble()
    await day(await world(), trouble)
    assert len(trouble.calls) in POINTS
    assert {
        "stock.confirm",
        "stock.release",
        "stock.retake",
        "stock.expire_due",
        "stock.settle",
        "stock.restock",
    } <= set(trouble.calls)
