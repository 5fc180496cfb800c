"""Once a newer epoch is issued nothing that was done under an older one is written; one process rebuilds at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from ledger_server import Server
from ledger_values import EPOCH, accepted, key, sold, step
from test_ledger import opened, promotion

from streams.core.books import PromotionRecord, PromotionState
from streams.errors import Fenced, LedgerUnavailable
from streams.stores.ledger import Ledger
from streams.stores.ledger_connections import under_epoch
from streams.stores.ledger_postgres import PostgresLedger

pytest_plugins = ["ledger_fixtures"]

KNOWN = accepted(1)
WRITES: dict[str, Callable[[Ledger, int], Awaitable[Any]]] = {
    "persist": lambda ledger, epoch: ledger.persist([KNOWN, accepted(2)], epoch),
    "take_steps": lambda ledger, epoch: ledger.take_steps([step(KNOWN.order_id, "e", movements=sold(KNOWN))], epoch),
    "save_promotion": lambda ledger, epoch: ledger.save_promotion(
        PromotionRecord(promotion(), PromotionState.OPEN), opened(), epoch=epoch
    ),
}


@pytest.mark.parametrize("epoch", [EPOCH, EPOCH + 2], ids=["past", "to-come"])
@pytest.mark.parametrize("name", WRITES)
async def test_only_the_newest_epoch_writes(ledger: Ledger, name: str, epoch: int) -> None:
    """Under a past epoch, or one that nobody issued, nothing is written; under the newest the same goes through."""
    await ledger.persist([KNOWN], EPOCH)
    before = [balance async for balance in ledger.balances()]
    assert await ledger.issue_epoch("rebuild") == EPOCH + 1
    with pytest.raises(Fenced, match=rf"at epoch {EPOCH + 1}, the stock acted under {epoch}.*Nothing was written"):
        await WRITES[name](ledger, epoch)
    assert [balance async for balance in ledger.balances()] == before
    assert await ledger.lookup([key(accepted(2))]) == {}
    assert await ledger.promotions() == []
    await WRITES[name](ledger, EPOCH + 1)
    assert [balance async for balance in ledger.balances()] != before


async def test_what_the_stock_has_no_part_in_needs_no_epoch(ledger: Ledger) -> None:
    """What is asked for is written under any epoch; the stock has not acted yet."""
    await ledger.issue_epoch("rebuild")
    await ledger.save_promotion(PromotionRecord(promotion(), PromotionState.OPENING))
    assert (await ledger.promotions())[0].state is PromotionState.OPENING


async def test_nothing_to_write_is_not_refused(ledger: Ledger) -> None:
    """An empty call tells a token, whatever the epoch."""
    assert (await ledger.persist([], 99)).token
    assert (await ledger.take_steps([], 99))[0]


async def failing(ledger: Ledger) -> None:
    """A rebuild that ends in an error."""
    async with ledger.rebuilding() as mine:
        assert mine
        raise ZeroDivisionError


async def waits(other: "asyncpg.Connection[asyncpg.Record]", mode: str) -> bool:
    """Whether somebody waits for a lock."""
    count = await other.fetchval("SELECT count(*) FROM pg_locks WHERE mode = $1 AND NOT granted", mode)
    await asyncio.sleep(0.01)
    return bool(count)


async def test_one_rebuilds_at_a_time(ledger: Ledger) -> None:
    """The second is told at once, and has its turn when the first has ended, or failed."""
    async with ledger.rebuilding() as first:
        async with ledger.rebuilding() as second:
            assert (first, second) == (True, False)
        async with ledger.rebuilding() as second:
            assert not second
    with pytest.raises(ZeroDivisionError):
        await failing(ledger)
    for _ in range(50):  # a connection that was cut is noticed by the server in a moment
        async with ledger.rebuilding() as again:
            if again:
                return
        await asyncio.sleep(0.02)
    pytest.fail("the right to rebuild was not given back")


async def test_an_epoch_waits_for_writes_and_writes_wait_for_it(
    postgres: PostgresLedger, admin: "asyncpg.Connection[asyncpg.Record]", servers: tuple[Server, Server]
) -> None:
    """A transaction under the old epoch ends before a newer one is issued; one that waited meanwhile is refused.

    The latter must look after its wait, not before: else it would write under an epoch that is past.
    """
    other = await asyncpg.connect(servers[0].dsn())
    try:
        async with under_epoch(admin, EPOCH):
            issuing = asyncio.create_task(postgres.issue_epoch("rebuild"))
            while not await waits(other, "ExclusiveLock"):
                pass
            writing = asyncio.create_task(postgres.persist([accepted(1)], EPOCH))
            while not await waits(other, "RowShareLock"):
                pass
            assert not issuing.done()
        assert await issuing == EPOCH + 1
        with pytest.raises(Fenced):
            await writing
        assert await postgres.lookup([key(accepted(1))]) == {}
    finally:
        await other.close()


async def test_a_refused_write_leaves_no_transaction_behind(postgres: PostgresLedger) -> None:
    """The connection goes back to its pool as it came: all of them work on, and an epoch can be issued."""
    for _ in range(10):
        with pytest.raises(Fenced):
            await postgres.persist([accepted(1)], EPOCH + 1)
    assert await postgres.issue_epoch("rebuild") == EPOCH + 1
    assert (await postgres.persist([accepted(1)], EPOCH + 1)).stored == {}


async def test_the_right_to_rebuild_ends_with_its_process(
    postgres: PostgresLedger, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A rebuilder whose connection breaks has lost it; the next one gets it."""

    async def cut() -> None:
        async with postgres.rebuilding() as mine:
            assert mine
            await admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'")

    with pytest.raises(LedgerUnavailable):
        await cut()
    async with postgres.rebuilding() as next_one:
        assert next_one
