"""The stock loses its memory in the middle of the work: it is rebuilt, what was in flight is done again, in order."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
from builders import (
    RETENTION_S,
    SETTINGS,
    FakeChunk,
    Hit,
    Trouble,
    World,
    accepted,
    chunk,
    report,
    submission,
    take_in,
    world,
)

from streams.core.books import Booking, Persisted, State
from streams.errors import Fenced
from streams.guard import StockGuard
from streams.intake.decode import decode
from streams.intake.persist import persist
from streams.intake.pipeline import Intake
from streams.intake.reserve import reserve
from streams.lifecycle import Lifecycle
from streams.messages import Outcome, Reason, ReportType
from streams.parts import Parts
from streams.rebuild import ensure_stock, rebuild_stock
from streams.stores.ledger import Ledger
from streams.stores.stock_fake import FakeStock

DELAY_S = 0.001
TTL_S = 1_800.0
SMALL = replace(SETTINGS, chunk_max_records=3, batch_max_orders=3)


def recover_of(made: World) -> Callable[[], Awaitable[object]]:
    """What a worker does about a lost stock."""
    return partial(ensure_stock, made.ledger, made.stock, made.clock, retention_s=RETENTION_S, reason="lost")


def recovering(made: World, trouble: Trouble | None = None) -> Parts:
    """A process that rebuilds a lost stock."""
    return replace(made.parts(trouble, SMALL), recover=recover_of(made))


class Rollback:
    """At the n-th call to any store, before or after it, the stock comes back with what it had at the beginning."""

    def __init__(self, made: World, number: int) -> None:
        self._made, self._number = made, number
        self._old = copy.deepcopy(made.stock.__dict__)
        self.done = False

    def __call__(self, number: int, name: str) -> Hit | None:
        """See `Trouble`."""
        if number == self._number:
            stock = self._made.stock
            runs = stock._runs
            stock.__dict__.update(copy.deepcopy(self._old))
            stock._runs = runs + 1
            self.done = True
        return None


async def rebuilt(made: World) -> None:
    """Somebody rebuilds the stock."""
    await rebuild_stock(made.ledger, made.stock, made.clock, retention_s=RETENTION_S, reason="by another")


async def test_a_restarted_stock_is_rebuilt_once() -> None:
    """Several calls at once find it lost: one rebuild, and all go through under the new epoch."""
    made = await world()
    guard = StockGuard(made.ledger, max_delay_s=DELAY_S, recover=recover_of(made))
    await guard.call("settle", lambda epoch: made.stock.settle(epoch, []))
    made.stock.restart()
    seen: list[int] = []

    async def call(epoch: int) -> None:
        await made.stock.settle(epoch, [])
        seen.append(epoch)

    await asyncio.gather(*(guard.call("settle", call) for _ in range(5)))
    assert seen == [2] * 5
    assert made.ledger.epochs == ["first", "lost"]


async def test_a_stock_for_people_is_waited_for_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    """Where rebuilding is refused the call waits, asks with pauses, and goes on when somebody has mended it."""
    made, asked = await world(), 0

    async def refuse() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            await rebuilt(made)
        raise Fenced("it is another installation's")

    guard = StockGuard(made.ledger, max_delay_s=DELAY_S, recover=refuse)
    made.stock.restart()
    await guard.call("settle", lambda epoch: made.stock.settle(epoch, []))
    assert asked == 3
    assert "recover: it is another installation's" in caplog.text


async def test_waiting_for_a_stock_can_be_cancelled() -> None:
    """A worker that is told to stop does not wait for a rebuild that nobody makes."""
    made = await world()
    made.stock.restart()
    waiting = asyncio.create_task(
        StockGuard(made.ledger, max_delay_s=60.0).call("settle", lambda epoch: made.stock.settle(epoch, []))
    )
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def rush() -> list[FakeChunk]:
    """Batches with more orders than there is stock, repeats, and a key that comes again with another body."""
    first = [submission(f"s-{n}", lines=(("TEA", 3, 1),)) for n in (1, 2)]
    other = submission("s-2", lines=(("TEA", 1, 1),))
    return [
        chunk(*first),
        chunk(other, first[0], first=2),
        chunk(submission("s-3", lines=(("TEA", 4, 1),)), submission("s-4", lines=(("TEA", 1, 1),)), first=4),
        chunk(submission("s-2", lines=(("TEA", 2, 1),)), first=6),
    ]


@pytest.mark.parametrize("number", range(1, 26))
async def test_old_data_at_any_moment_sell_nothing_twice(number: int) -> None:
    """Intake: whatever the stock forgets, every key has the decision of its first submission, ten units have owners."""
    made = await world()
    await accepted(made, submission("before", lines=(("TEA", 2, 1),)))
    rollback = Rollback(made, number)
    assert await take_in(recovering(made, Trouble(rollback)), rush()) is None
    if rollback.done:  # the last of them may come after all is over
        await ensure_stock(made.ledger, made.stock, made.clock, retention_s=RETENTION_S, reason="lost")
    told = {(d.submission_id, d.outcome, d.reason, d.total) for d in made.decisions() if d.submission_id != "before"}
    assert {t for t in told if t[0] != "s-4"} == {
        ("s-1", Outcome.ACCEPTED, None, 3),
        ("s-2", Outcome.ACCEPTED, None, 3),
        ("s-2", Outcome.REJECTED, Reason.CONFLICTING_REPEAT, 1),
        ("s-2", Outcome.REJECTED, Reason.CONFLICTING_REPEAT, 2),
        ("s-3", Outcome.REJECTED, Reason.OUT_OF_STOCK, 4),
    }
    assert ("s-4", Outcome.ACCEPTED, None, 1) in told
    assert await made.books() == {("TEA", "main"): (1, 9, 0)}


@pytest.mark.parametrize("number", range(1, 26))
async def test_old_data_at_any_moment_end_no_order_twice(number: int) -> None:
    """Lifecycle: paid, cancelled, expired, paid late; each comes to the end it would have come to."""
    made = await world()
    trouble = Trouble(lambda *_: None)
    paid, cancelled, late, left = await accepted(made, *(submission(f"s-{n}") for n in range(4)))
    process = Lifecycle(recovering(made, trouble))
    trouble._plan = Rollback(made, number)
    await process.take(chunk(report(paid, "1"), report(cancelled, "2", ReportType.ORDER_CANCELLED)))
    made.clock.advance(TTL_S)
    while await process.expire_due():
        pass
    await process.take(chunk(report(late, "3"), first=2))
    while await process.expire_due():
        pass
    await ensure_stock(made.ledger, made.stock, made.clock, retention_s=RETENTION_S, reason="lost")
    states = [made.ledger.accepted[order].state for order in (paid, cancelled, late, left)]
    assert states == [State.CONFIRMED, State.CANCELLED, State.CONFIRMED, State.EXPIRED]
    assert await made.books() == {("TEA", "main"): (6, 0, 4)}
    assert await made.stock.unsettled() == 0


async def test_verdicts_of_an_older_stock_are_never_written() -> None:
    """A worker stands still between reserve and persist while the stock is rebuilt: it asks the new one."""
    made = await world({"TEA": 2})
    guard = StockGuard(made.ledger, max_delay_s=DELAY_S)
    slow, quick = decode(chunk(submission("slow"))), decode(chunk(submission("quick"), first=1))
    bounds: dict[str, Any] = {"hold_ttl_s": TTL_S, "max_delay_s": DELAY_S}
    await reserve(slow, made.stock, guard, made.clock, hold_ttl_s=TTL_S)
    await rebuilt(made)
    other = StockGuard(made.ledger, max_delay_s=DELAY_S)
    await reserve(quick, made.stock, other, made.clock, hold_ttl_s=TTL_S)
    await persist(quick, made.ledger, made.stock, other, made.clock, **bounds)
    await persist(slow, made.ledger, made.stock, guard, made.clock, **bounds)
    assert [b.decisions[0].reason for b in (quick, slow)] == [None, Reason.OUT_OF_STOCK]
    assert (quick.epoch, slow.epoch) == (2, 2)
    assert await made.books() == {("TEA", "main"): (0, 2, 0)}


async def test_a_surplus_hold_of_an_older_stock_is_not_given_back_to_the_new_one() -> None:
    """The rebuilt stock has, under the same id, only the hold that the ledger knows; that one lives on."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    made.stock._seen = ({}, {})  # forgotten, key and hold: the duplicate takes a second one
    hold = made.stock._holds.pop(order_id.bytes)
    made.stock._held["TEA", "main"] -= 2
    made.stock._free["TEA", "main"] += 2
    made.clock.advance(1)

    class Slow(FakeStock):
        async def release(self, epoch: int, order_ids: object) -> list[object]:  # type: ignore[override]
            await rebuilt(made)
            return await made.stock.release(epoch, order_ids)  # type: ignore[return-value,arg-type]

    guard = StockGuard(made.ledger, max_delay_s=DELAY_S)
    batch = decode(chunk(submission(), first=5))
    await reserve(batch, made.stock, guard, made.clock, hold_ttl_s=TTL_S)
    slow = Slow()
    await persist(batch, made.ledger, slow, guard, made.clock, hold_ttl_s=TTL_S, max_delay_s=DELAY_S)
    assert batch.give_back == [order_id.bytes]
    assert batch.decisions[0].replay
    assert made.stock._holds == {order_id.bytes: hold}
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


async def test_what_was_in_flight_is_decided_again_before_anything_else() -> None:
    """A batch waits in persist while the stock is rebuilt and the next is read: the first submission of a key wins."""
    made = await world()
    arrived, go_on = asyncio.Event(), asyncio.Event()

    class Gate:
        def __getattr__(self, name: str) -> object:
            return getattr(made.ledger, name)

        async def persist(self, batch: Sequence[Booking], epoch: int) -> Persisted:
            arrived.set()
            await go_on.wait()
            return await made.ledger.persist(batch, epoch)

    parts = replace(recovering(made), ledger=cast("Ledger", Gate()))
    intake = Intake(parts)
    work = asyncio.create_task(intake.run())
    first, second = chunk(submission("s-1")), chunk(submission("s-1", lines=(("TEA", 5, 1),)), first=1)
    await intake.take(first)
    await arrived.wait()
    await rebuilt(made)
    await intake.take(second)
    await asyncio.sleep(0.02)  # what is asked too early is asked now
    go_on.set()
    await asyncio.gather(first.done.wait(), second.done.wait())
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert [d.reason for d in made.decisions()] == [None, Reason.CONFLICTING_REPEAT]
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}
