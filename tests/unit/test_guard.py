"""Calls to the stock carry the ledger's epoch, and wait while the two differ."""

import asyncio
import logging

import pytest
from builders import RETENTION_S, Crash, Trouble, World, at_call, outages, troubled, world

from streams.errors import Fenced, StockUnavailable
from streams.guard import StockGuard
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
