"""The primary is lost and its standby promoted: who writes finds the new one; nothing counts that it may not have."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import asyncpg
import pytest
from ledger_server import Server, primary_and_replica
from ledger_values import EPOCH, accepted, key

from streams.errors import Fenced, LedgerUnavailable
from streams.stores.ledger import FAILED_OVER
from streams.stores.ledger_hosts import OTHERS_S, Hosts, OldPrimary, single_hosts
from streams.stores.ledger_postgres import PostgresLedger

pytestmark = pytest.mark.timeout(240)

TIMEOUT_S = 3.0
SECOND_TIMELINE = 1_000_001
"""The first epoch after the first failover."""
LATER = datetime(2027, 1, 1, tzinfo=UTC)
LEFT_IN_OUTBOX = """
    INSERT INTO outbox VALUES ('2026-11-11 00:02+00', 'a:changed:shipped',
        '{"topic":"orders.changed.v1","key":"a","id":"a:changed:shipped","value":{"x":1}}')"""


@pytest.fixture
def synchronous() -> Iterator[tuple[Server, Server]]:
    """A primary whose commits wait for its standby."""
    with primary_and_replica(synchronous_standby_names="*") as both:
        yield both


@pytest.fixture
def asynchronous() -> Iterator[tuple[Server, Server]]:
    """A primary that waits for nobody."""
    with primary_and_replica() as both:
        yield both


def both_hosts(one: Server, two: Server) -> str:
    """An address that names both."""
    return f"postgresql://floodway@127.0.0.1:{one.port},127.0.0.1:{two.port}/postgres?target_session_attrs=read-write"


async def connected(one: Server, two: Server) -> PostgresLedger:
    """A ledger by that address, under its first epoch."""
    ledger = await PostgresLedger.connect(both_hosts(one, two), two.dsn(), statement_timeout_s=TIMEOUT_S)
    await ledger.migrate()
    if await ledger.epoch() is None:
        assert await ledger.issue_epoch("first") == EPOCH
    return ledger


async def eventually(call: Callable[[], Awaitable[object]], *, within_s: float = 20.0) -> object:
    """What `call` returns, tried again while the ledger is unavailable."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return await call()
        except LedgerUnavailable:
            assert time.monotonic() < deadline, "the ledger did not come back"
            await asyncio.sleep(0.1)


async def until_true(server: "asyncpg.Connection[asyncpg.Record]", sql: str) -> None:
    """Ask until the answer is something; a standby that lags may not even have the tables yet."""
    for _ in range(400):
        with suppress(asyncpg.UndefinedTableError):
            if await server.fetchval(sql):
                return
        await asyncio.sleep(0.05)
    pytest.fail(f"not within 20 s: {sql}")


async def test_writers_find_the_promoted_server_and_never_go_back(synchronous: tuple[Server, Server]) -> None:
    """What was written before is there, writes wait for a new epoch, and the old primary that comes back gets none."""
    old, new = synchronous
    ledger = await connected(old, new)
    await ledger.persist([accepted(1)], EPOCH)
    old.stop(signal.SIGQUIT)
    with pytest.raises(LedgerUnavailable):
        await ledger.persist([accepted(2)], EPOCH)
    new.promote()
    with pytest.raises(Fenced, match=r"Epoch 1 was issued on timeline 1, Postgres is at 2.*Nothing was written"):
        await eventually(lambda: ledger.persist([accepted(2)], EPOCH))
    assert await ledger.failed_over_since(EPOCH)
    async with ledger.rebuilding() as mine:  # whoever had this right on the old server has it no more
        assert mine
        assert await ledger.issue_epoch(FAILED_OVER) == SECOND_TIMELINE
    assert await ledger.failed_over_since(EPOCH)
    assert not await ledger.failed_over_since(SECOND_TIMELINE)
    stored = (await ledger.persist([accepted(1), accepted(2)], SECOND_TIMELINE)).stored
    assert set(stored) == {key(accepted(1))}

    old.start()  # somebody starts it again, and it takes writes
    fresh = await connected(old, new)
    assert await fresh.epoch() == SECOND_TIMELINE  # named first, and answers: but the other one is newer
    new.stop()
    with pytest.raises(LedgerUnavailable):
        await ledger.epoch()
    with pytest.raises(LedgerUnavailable, match="is at timeline 1, and was replaced by one at 2"):
        await ledger.epoch()
    new.start()
    assert await eventually(ledger.epoch) == SECOND_TIMELINE
    for one in (ledger, fresh):
        await one.close()


async def test_a_frozen_old_primary_delays_nobody_for_long(asynchronous: tuple[Server, Server]) -> None:
    """A machine that takes connections and never answers costs a new connection OTHERS_S, not its timeout."""
    old, new = asynchronous
    ledger = await connected(old, new)
    token = (await ledger.persist([accepted(1)], EPOCH)).token
    assert await ledger.find_order(accepted(1).order_id, token=token) is not None
    pids = old.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        new.promote()
        with pytest.raises(LedgerUnavailable):  # on the connection that it has, it waits for the answer
            await ledger.epoch()
        began = time.monotonic()
        assert await eventually(ledger.epoch) == EPOCH
        assert await ledger.failed_over_since(EPOCH)
        assert time.monotonic() - began < OTHERS_S + TIMEOUT_S
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        await ledger.close()


async def test_what_the_standby_has_not_is_not_told(synchronous: tuple[Server, Server]) -> None:
    """A commit that was cancelled while it waited is visible, and may be lost: it is an outage, and so is its repeat.

    Only when the standby has it, the ledger says that the decision is known.
    """
    old, new = synchronous
    ledger = await connected(old, new)
    admin = await asyncpg.connect(old.dsn())
    await admin.execute(LEFT_IN_OUTBOX)
    assert len((await ledger.unsaid(LATER, 5))[1]) == 1
    new.stop()
    writing = asyncio.create_task(ledger.persist([accepted(1)], EPOCH))
    cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    await until_true(admin, cancel)
    with pytest.raises(LedgerUnavailable, match=r"committed with a warning: .*canceling wait for synchronous"):
        await writing
    assert await admin.fetchval("SELECT count(*) FROM decisions") == 1
    with pytest.raises(LedgerUnavailable):
        await ledger.persist([accepted(1)], EPOCH)
    with pytest.raises(LedgerUnavailable):
        await ledger.persist([], EPOCH)
    with pytest.raises(LedgerUnavailable):  # what others left to be announced, too
        await ledger.unsaid(LATER, 5)
    new.start()
    found = await eventually(lambda: ledger.persist([accepted(1)], EPOCH))
    assert set(found.stored) == {key(accepted(1))}  # type: ignore[attr-defined]
    await admin.close()
    await ledger.close()


async def test_an_epoch_that_was_lost_is_not_issued_again(asynchronous: tuple[Server, Server]) -> None:
    """Issued on the old primary, never replicated: whoever acts under it is refused, its number is not reused."""
    old, new = asynchronous
    ledger = await connected(old, new)
    await ledger.persist([accepted(1)], EPOCH)
    reader = await asyncpg.connect(new.dsn())
    await until_true(reader, "SELECT count(*) > 0 FROM decisions")
    await reader.close()
    new.stop()
    lost = await ledger.issue_epoch("a rebuild")
    await ledger.persist([accepted(2)], lost)
    old.stop(signal.SIGQUIT)
    new.start()
    new.promote()
    assert await eventually(ledger.epoch) == EPOCH
    with pytest.raises(Fenced):
        await ledger.persist([accepted(3)], lost)
    assert await ledger.failed_over_since(lost)
    assert await ledger.issue_epoch(FAILED_OVER) == SECOND_TIMELINE > lost
    with pytest.raises(Fenced):
        await ledger.persist([accepted(3)], lost)
    assert await ledger.lookup([key(accepted(2))]) == {}
    # Steps keep their order: the sequence is ahead of all that was replicated.
    await ledger.persist([accepted(3)], SECOND_TIMELINE)
    await ledger.close()


async def test_a_standby_alone_is_no_primary(asynchronous: tuple[Server, Server]) -> None:
    """With nobody to write to the error says what to do, and the old primary is refused by name of its timeline."""
    old, new = asynchronous
    old.stop()
    with pytest.raises(LedgerUnavailable, match="each host that answers is a standby: promote one"):
        await PostgresLedger.connect(both_hosts(old, new))
    assert issubclass(OldPrimary, OSError)
    old.start()
    connection = await Hosts(both_hosts(new, old)).connect(both_hosts(new, old), timeout=TIMEOUT_S)
    assert await connection.fetchval("SELECT NOT pg_is_in_recovery()")
    await connection.close()


def test_each_host_has_an_address_of_its_own() -> None:
    """User, password, database and options stay; an address of one host stays as it is."""
    both = "postgresql://me:a%2Cb@one:1,[::1]:2/books?sslmode=require"
    assert single_hosts(both) == [
        "postgresql://me:a%2Cb@one:1/books?sslmode=require",
        "postgresql://me:a%2Cb@[::1]:2/books?sslmode=require",
    ]
    assert single_hosts("postgresql://one/books") == ["postgresql://one/books"]
