"""Reading from the replica: readers see their own writes, and a replica in trouble costs a bounded wait."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest
from ledger_server import REPLICA_WAIT_S, Server
from ledger_values import EPOCH, accepted, key, rejected, step

from streams.errors import LedgerUnavailable
from streams.stores.ledger_connections import REPLICA_ANSWER_S
from streams.stores.ledger_postgres import PostgresLedger

pytest_plugins = ["ledger_fixtures"]

SLACK_S = 1.0
"""For a machine that is busy with other things."""


@pytest.fixture
async def standby(
    servers: tuple[Server, Server], postgres: PostgresLedger
) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A connection to the replica, once it has caught up with the emptied primary."""
    connection = await asyncpg.connect(servers[1].dsn())
    await caught_up(connection, (await postgres.persist([], EPOCH)).token)
    yield connection
    await connection.execute("SELECT pg_wal_replay_resume()")
    await connection.close()


async def caught_up(replica: "asyncpg.Connection[asyncpg.Record]", token: str) -> None:
    """Wait until the replica has replayed a token."""
    for _ in range(1_000):
        if await replica.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", token):
            return
        await asyncio.sleep(0.01)
    pytest.fail("the replica did not catch up within ten seconds")


async def test_a_token_lets_its_reader_see_the_write(
    postgres: PostgresLedger, standby: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A hundred times written and read at once: never an answer from before the write."""
    for number in range(100):
        made = accepted(number)
        token = (await postgres.persist([made], EPOCH)).token
        assert await postgres.find_order(made.order_id, token=token) is not None
        token, _ = await postgres.take_steps([step(made.order_id, "e1")], EPOCH)
        assert len(await postgres.steps(made.order_id, token=token)) == 1


async def test_without_a_token_the_replica_answers_as_far_as_it_is(
    postgres: PostgresLedger, standby: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Reads do go to the replica: while its replay is paused, a read without token is stale."""
    await standby.execute("SELECT pg_wal_replay_pause()")
    made = accepted(1)
    token = (await postgres.persist([made], EPOCH)).token
    assert await postgres.find_order(made.order_id) is None
    assert await postgres.find_decision(key(made)) is None
    await standby.execute("SELECT pg_wal_replay_resume()")
    await caught_up(standby, token)
    assert await postgres.find_order(made.order_id) is not None
    assert await postgres.find_decision(made.order_id) is not None


async def test_a_replica_that_lags_is_waited_for_within_the_bound(
    postgres: PostgresLedger, standby: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Paused replay: the reader waits REPLICA_WAIT_S, no longer, and gets the primary's answer."""
    await standby.execute("SELECT pg_wal_replay_pause()")
    paid, refused = accepted(1), rejected(2)
    token = (await postgres.persist([paid, refused], EPOCH)).token
    started = time.monotonic()
    assert await postgres.find_order(paid.order_id, token=token) is not None
    assert REPLICA_WAIT_S <= time.monotonic() - started < REPLICA_WAIT_S + SLACK_S
    found = await asyncio.gather(
        postgres.find_decision(refused.order_id, token=token),
        postgres.find_decision(key(paid), token=token),
        *(postgres.find_order(paid.order_id, token=token) for _ in range(20)),
    )
    assert all(found)
    assert time.monotonic() - started < 2 * REPLICA_WAIT_S + SLACK_S


async def test_a_replica_that_catches_up_in_time_answers(
    postgres: PostgresLedger, standby: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A lag shorter than the bound is waited out."""
    await standby.execute("SELECT pg_wal_replay_pause()")
    made = accepted(1)
    token = (await postgres.persist([made], EPOCH)).token
    reading = asyncio.create_task(postgres.find_order(made.order_id, token=token))
    await asyncio.sleep(REPLICA_WAIT_S / 3)
    assert not reading.done()
    await standby.execute("SELECT pg_wal_replay_resume()")
    assert await reading is not None


async def test_a_token_from_the_future_is_answered_by_the_primary(
    postgres: PostgresLedger, standby: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A position that no server has reached, as after a restore, costs the wait and nothing else."""
    made = accepted(1)
    await postgres.persist([made], EPOCH)
    assert await postgres.find_order(made.order_id, token="FFFFFFFF/FFFFFFFF") is not None


async def test_a_replica_that_stopped_is_done_without(servers: tuple[Server, Server], postgres: PostgresLedger) -> None:
    """Stopped before or between reads: the primary answers; started again, the replica is read again."""
    _, replica = servers
    made = accepted(1)
    token = (await postgres.persist([made], EPOCH)).token
    assert await postgres.find_order(made.order_id, token=token) is not None
    replica.stop()
    try:
        for _ in range(5):
            assert await postgres.find_order(made.order_id, token=token) is not None
            assert await postgres.find_order(made.order_id) is not None
    finally:
        replica.start()
    connection = await asyncpg.connect(replica.dsn())
    await caught_up(connection, token)
    await connection.close()
    assert await postgres.find_order(made.order_id, token=token) is not None


async def test_a_frozen_replica_costs_a_bounded_wait(
    servers: tuple[Server, Server], postgres: PostgresLedger, standby: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A server that takes connections and never answers holds a reader up for a bounded time, and not the next one."""
    made = accepted(1)
    token = (await postgres.persist([made], EPOCH)).token
    assert await postgres.find_order(made.order_id, token=token) is not None
    frozen = servers[1].pids()
    for pid in frozen:
        signal_process(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert await postgres.find_order(made.order_id, token=token) is not None
        assert time.monotonic() - started < REPLICA_WAIT_S + REPLICA_ANSWER_S + SLACK_S
        started = time.monotonic()
        assert await postgres.find_order(made.order_id, token=token) is not None
        assert time.monotonic() - started < 0.5
    finally:
        for pid in frozen:
            signal_process(pid, signal.SIGCONT)


def signal_process(pid: int, which: signal.Signals) -> None:
    """Send a signal to a server process that may have ended meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, which)


async def test_without_a_replica_the_primary_is_read(servers: tuple[Server, Server], postgres: PostgresLedger) -> None:
    """No replica set: all reads are current, with and without token."""
    alone = await PostgresLedger.connect(servers[0].dsn(), None)
    made = accepted(1)
    token = (await alone.persist([made], EPOCH)).token
    assert await alone.find_order(made.order_id) == await alone.find_order(made.order_id, token=token)
    assert await alone.find_decision(made.order_id) is not None
    await alone.close()


async def test_a_primary_named_as_replica_is_not_waited_for(
    servers: tuple[Server, Server], postgres: PostgresLedger
) -> None:
    """Both addresses may point at one server, as in small set-ups: its own position counts."""
    primary = servers[0].dsn()
    one = await PostgresLedger.connect(primary, primary, replica_wait_s=5.0)
    token = (await one.persist([accepted(1)], EPOCH)).token
    started = time.monotonic()
    assert await one.find_order(accepted(1).order_id, token=token) is not None
    assert time.monotonic() - started < SLACK_S
    await one.close()


async def test_a_primary_that_is_away_is_an_outage(servers: tuple[Server, Server]) -> None:
    """Nobody listening: `LedgerUnavailable` with the cause and what to do, at once."""
    nobody = f"postgresql://floodway@127.0.0.1:{servers[0].port + 1 if servers[0].port < 65_000 else 1}/postgres"
    with pytest.raises(LedgerUnavailable, match="check that the server is up") as caught:
        await PostgresLedger.connect(nobody)
    assert isinstance(caught.value.__cause__, OSError)
