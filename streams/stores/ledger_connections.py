"""Connections to the primary and its replica, bounded in number and time, and the choice between the two."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from streams.stores.ledger_errors import NotReplicated, is_outage, may_be_replaced, outages
from streams.stores.ledger_hosts import Hosts
from streams.stores.ledger_rows import decode_timestamp, encode_timestamp
from streams.stores.queries import load

if TYPE_CHECKING:  # generic for the type checker only
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]

T = TypeVar("T")
SQL = load("ledger.sql")

LOCK_TIMEOUT_S = 10.0
REPLICA_ANSWER_S = 1.0
"""What a replica gets to answer, beside the time to catch up; a frozen one must not keep a reader waiting."""
REPLICA_REST_S = 1.0
"""A replica that failed is left alone for so long, so that not every reader pays for finding out."""
_POLL_FIRST_S, _POLL_LONGEST_S = 0.002, 0.05


async def open_pool(dsn: str, *, size: int, statement_timeout_s: float, writes: bool, at_once: bool = True) -> "Pool":
    """Open up to `size` connections. With `writes` to the primary among the hosts, the first one `at_once`."""
    connect: Any = Hosts(dsn).connect if writes else asyncpg.connect
    with outages():
        return await asyncpg.create_pool(
            dsn,
            connect=connect,
            min_size=1 if writes and at_once else 0,
            max_size=size,
            timeout=min(10.0, statement_timeout_s),
            # The server's own timeout comes first; this one is for a server that no longer answers at all.
            command_timeout=statement_timeout_s + 2.0,
            init=_prepare,
            reset=_leave_as_is,
            server_settings={
                "application_name": "floodway",
                "TimeZone": "UTC",
                "statement_timeout": str(int(statement_timeout_s * 1000)),
                "lock_timeout": str(int(min(LOCK_TIMEOUT_S, statement_timeout_s) * 1000)),
                "idle_in_transaction_session_timeout": str(int(statement_timeout_s * 1000)),
                "jit": "off",
            },
        )


async def _prepare(connection: "Connection") -> None:
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=encode_timestamp, decoder=decode_timestamp, format="tuple"
    )
    # A decision is announced because it is durable. A server that commits first and writes later, or does not wait for
    # a synchronous standby, would break that; another level (remote_write, remote_apply) is the operator's choice.
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )


async def _leave_as_is(_: "Connection") -> None:
    """Spare the round trip of a reset: the ledger changes settings inside of transactions only."""


@asynccontextmanager
async def under_epoch(connection: "Connection", epoch: int) -> AsyncIterator[None]:
    """A transaction that writes what the stock did under `epoch`; refused by the server when a newer one was issued.

    One round trip before and one behind, where `connection.transaction()` and a query would take three.
    """
    async with replicated(connection, f"SELECT under_epoch({epoch:d})"):
        yield


@asynccontextmanager
async def replicated(connection: "Connection", first: str = "") -> AsyncIterator[None]:
    """A transaction whose end is known to be on a standby, where those are waited for; `first` is a statement.

    It covers what was committed before it, too.
    """
    try:
        await connection.execute(f"BEGIN; {first}")
        yield
        await _commit(connection)
    except BaseException:
        try:
            await connection.execute("ROLLBACK")
        except Exception:
            connection.terminate()
        raise


async def _commit(connection: "Connection") -> None:
    """Commit; raises `NotReplicated` for what was committed here and is on no standby.

    Whoever waits for a synchronous standby and is cancelled, by a person or a shutdown, is told that it committed, with
    a warning. Then it can be lost.
    """
    warnings: list[str] = []

    def heed(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.severity_en == "WARNING":
            warnings.append(str(message))

    connection.add_log_listener(heed)
    try:
        await connection.execute("COMMIT")
    finally:
        connection.remove_log_listener(heed)
    if warnings:
        raise NotReplicated(f"committed with a warning: {'; '.join(warnings)}")


@asynccontextmanager
async def primary(pool: "Pool", *, timeout_s: float) -> "AsyncIterator[Connection]":
    """A connection to the primary. After an error that a replaced primary may cause, all are looked up anew."""
    try:
        async with pool.acquire(timeout=timeout_s) as connection:
            yield connection
    except Exception as error:
        if may_be_replaced(error):
            await pool.expire_connections()
        raise


class Reader:
    """Reads from the replica when it is there and has come far enough, else from the primary."""

    def __init__(self, primary: "Pool", replica: "Pool | None", *, wait_s: float, timeout_s: float) -> None:
        self._primary, self._replica = primary, replica
        self._wait_s, self._timeout_s = wait_s, timeout_s
        self._rests_until = 0.0

    async def read(self, work: "Callable[[Connection], Awaitable[T]]", token: str | None) -> T:
        """Run `work` on a server that has reached `token`. Raises `LedgerUnavailable` when the primary is away too."""
        loop = asyncio.get_running_loop()
        if self._replica is not None and loop.time() >= self._rests_until:
            try:
                async with asyncio.timeout(self._wait_s + REPLICA_ANSWER_S):
                    if token is None or await self._reaches(self._replica, token):
                        return await self._on(self._replica, work)
            except Exception as error:
                if not is_outage(error):
                    raise
                self._rests_until = loop.time() + REPLICA_REST_S
        with outages():
            return await self._on(self._primary, work)

    async def _on(self, pool: "Pool", work: "Callable[[Connection], Awaitable[T]]") -> T:
        async with pool.acquire(timeout=self._timeout_s) as connection:
            try:
                return await work(connection)
            except asyncio.CancelledError:
                # Given up on: the pool would wait for the server to confirm, and a frozen one never does.
                connection.terminate()
                raise

    async def _reaches(self, replica: "Pool", token: str) -> bool:
        """Wait, within the bound, until the replica has replayed `token`; the connection is free in between."""
        loop = asyncio.get_running_loop()
        give_up, pause_s = loop.time() + self._wait_s, _POLL_FIRST_S

        async def ask(connection: "Connection") -> Any:
            return await connection.fetchval(SQL["replica_reached"], token)

        while not await self._on(replica, ask):
            left_s = give_up - loop.time()
            if left_s <= 0:
                return False
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, _POLL_LONGEST_S)
        return True
