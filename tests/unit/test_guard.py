"""Calls to the stock carry the ledger's epoch, and wait while the two differ."""

import asyncio
import logging
from uuid import UUID

import pytest
from builders import (
    RETENTION_S,
    Crash,
    Trouble,
    World,
    at_call,
    chunk,
    outages,
    submission,
    take_in,
    troubled,
    world,
)

from streams.agreement import agreed_epoch, check_newest
from streams.core.memory import Page
from streams.core.stock import Pool
from streams.errors import Fenced, StockUnavailable
from streams.guard import StockGuard
from streams.rebuild import ensure_stock
from streams.stores.stock_fake import FakeStock


def guard_of(made: World, trouble: Trouble) -> StockGuard:
    """A guard over a world's ledger."""
    return StockGuard(troubled("ledger", made.ledger, trouble), max_delay_s=0.001)


async def test_the_epoch_is_read_once_and_kept() -> None:
    """Calls get the epoch that the ledger issued; it costs one read."""
    made, trouble = await world(), Trouble()
    guard, seen = guard_of(made, trouble), []

    async def call(epoch: int) -> str:
        seen.append(epoch)
        return "done"

    assert [await guard.call("x", call) for _ in range(3)] == ["done"] * 3
    assert seen == [1, 1, 1]
    assert trouble.calls == ["ledger.epoch"]


async def test_an_outage_is_outlasted() -> None:
    """Stock and ledger may both be away for a while."""
    made, trouble = await world(), outages(["ledger.epoch", "stock.settle"])
    stock = troubled("stock", made.stock, trouble)
    await guard_of(made, trouble).call("settle", lambda epoch: stock.settle(epoch, []))
    assert trouble.calls == ["ledger.epoch"] * 3 + ["stock.settle"] * 3


async def test_a_fenced_call_reads_the_epoch_anew_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """When the ledger issues an epoch for a rebuilt stock, the process that held the old one notices and goes on."""
    made, trouble = await world(), Trouble()
    guard = guard_of(made, trouble)
    await guard.call("settle", lambda epoch: made.stock.settle(epoch, []))
    epoch = await made.ledger.issue_epoch("rebuilt")
    made.stock = FakeStock(dedupe_retention_s=RETENTION_S)
    await made.stock.install_epoch(epoch)
    with caplog.at_level(logging.ERROR, logger="streams.guard"):
        await guard.call("settle", lambda epoch: made.stock.settle(epoch, []))
    assert trouble.calls == ["ledger.epoch"] * 2
    assert len(caplog.records) == 1
    assert "settle: " in caplog.text


async def test_a_lost_stock_is_waited_for() -> None:
    """A stock that came back empty stops the call until it carries the epoch again; it is asked, never written to."""
    made, asked = await world(), 0
    lost = FakeStock()

    async def call(epoch: int) -> int | None:
        nonlocal asked
        asked += 1
        if asked == 5:
            await lost.install_epoch(epoch)
        await lost.settle(epoch, [])
        return await lost.epoch()

    assert await guard_of(made, Trouble()).call("settle", call) == 1
    assert asked == 5


async def test_a_ledger_without_an_epoch_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """Before `floodway init` nothing is called; the log says what is missing."""
    made = World()
    called = asyncio.Event()

    async def call(epoch: int) -> None:
        called.set()

    with caplog.at_level(logging.ERROR, logger="streams.guard"):
        waiting = asyncio.create_task(guard_of(made, Trouble()).call("x", call))
        await asyncio.sleep(0.01)
        assert not called.is_set()
        await made.ledger.issue_epoch("first")
        await waiting
    assert called.is_set()
    assert "floodway init" in caplog.text


@pytest.mark.parametrize("error", [Crash("x"), ValueError("x")])
async def test_other_errors_pass_through(error: Exception) -> None:
    """Only an outage and the fence are waited for."""
    made = await world()

    async def call(epoch: int) -> None:
        raise error

    with pytest.raises(type(error)):
        await guard_of(made, Trouble()).call("x", call)
    with pytest.raises(Crash):
        await guard_of(made, at_call(1)).call("x", call)


async def test_the_fence_is_no_outage() -> None:
    """The two are told apart by type: an outage is tried again under the same epoch, the fence is not."""
    assert not issubclass(Fenced, StockUnavailable)
    assert not issubclass(StockUnavailable, Fenced)


async def test_a_foreign_stock_of_the_same_epoch_is_refused_before_it_is_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another installation's stock answers under any epoch of the same number: a process that starts beside it asks it
    nothing and says why, and goes on once it has its own.
    """
    made, foreign = await world({"TEA": 10}), FakeStock(dedupe_retention_s=RETENTION_S)
    await foreign.begin_rebuild(1, UUID(int=1))
    await foreign.refill(1, Page(pools=[Pool("TEA", "main", 99, 0, 0)]))
    await foreign.install_epoch(1, refilled=True)
    ours, made.stock = made.stock, foreign
    assert await agreed_epoch(made.ledger, foreign) is None
    with pytest.raises(Fenced, match="another installation"):
        await ensure_stock(made.ledger, foreign, made.clock, retention_s=RETENTION_S, reason="lost")
    trouble = Trouble()
    intake = asyncio.create_task(take_in(made.parts(trouble), [chunk(submission())]))
    await asyncio.sleep(0.05)
    assert not intake.done()
    assert "FLOODWAY_REDIS_URL" in caplog.text
    assert {name for name in trouble.calls if name.startswith("stock.")} == {"stock.carried"}
    intake.cancel()
    await asyncio.gather(intake, return_exceptions=True)
    assert [pool.free async for pool in foreign.pools()] == [99]
    made.stock = ours
    assert await take_in(made.parts(), [chunk(submission())]) is None
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


async def test_a_failover_is_noticed_by_who_writes_nothing() -> None:
    """A keeper that finds nothing to do looks whether the books have moved: else promotions could wait for ever for
    somebody to take the stock over.
    """
    made = await world()
    await check_newest(made.ledger, 1)
    made.ledger.timeline += 1
    with pytest.raises(Fenced, match="failed over since epoch 1"):
        await check_newest(made.ledger, 1)
