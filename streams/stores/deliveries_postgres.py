"""The book of deliveries on PostgreSQL. A target's lane is an advisory lock of a session of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Self

from streams.stores.deliveries import Deliveries, Done, Due, Lane, Standing, ToDeliver
from streams.stores.ledger_connections import open_pool, primary
from streams.stores.ledger_errors import outages
from streams.stores.ledger_rules import check_batch
from streams.stores.queries import load

if TYPE_CHECKING:
    from streams.stores.ledger_connections import Connection, Pool

SQL = load("deliveries.sql")
LANES_LOCK = 0x666C6F77
"""Beside the locks of the ledger; the target's hash is the other half."""
SPARE = 2
"""Connections beside those of the lanes: for what is read, and what is entered."""


class PostgresDeliveries(Deliveries):
    """See `Deliveries`. Every outage is raised as `LedgerUnavailable`."""

    def __init__(self, pool: "Pool", timeout_s: float) -> None:
        self._pool, self._timeout_s = pool, timeout_s

    @classmethod
    async def connect(
        cls, primary_dsn: str, *, lanes: int, statement_timeout_s: float = 30.0, at_once: bool = True
    ) -> Self:
        """Connect now, or when first asked. A lane holds a connection. Raises `LedgerUnavailable`."""
        pool = await open_pool(
            primary_dsn, size=lanes + SPARE, statement_timeout_s=statement_timeout_s, writes=True, at_once=at_once
        )
        return cls(pool, statement_timeout_s)

    async def close(self) -> None:
        """See `Deliveries`; connections still at work after the timeout are cut."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def add(self, messages: Sequence[ToDeliver], at: datetime) -> None:
        """See `Deliveries`."""
        check_batch(len(messages), "deliveries")
        if not messages:
            return
        columns = [list(column) for column in zip(*messages, strict=True)]
        with outages():
            async with primary(self._pool, timeout_s=self._timeout_s) as connection:
                await connection.execute(SQL["add_due"], *columns, at)

    @asynccontextmanager
    async def lane(self, target: str) -> AsyncIterator[Lane | None]:
        """See `Deliveries`. The lock goes with the connection, when that breaks or the process dies."""
        with outages():
            async with primary(self._pool, timeout_s=self._timeout_s) as connection:
                mine = await connection.fetchval(SQL["own"], LANES_LOCK, target)
                try:
                    yield PostgresLane(connection, target) if mine else None
                    if mine:
                        await connection.fetchval(SQL["disown"], LANES_LOCK, target)
                except BaseException:
                    connection.terminate()  # given back to the pool it would keep the lock
                    raise

    async def enter(self, target: str, done: Sequence[Done]) -> None:
        """See `Deliveries`."""
        check_batch(len(done), "deliveries")
        if not done:
            return
        columns = [list(column) for column in zip(*done, strict=True)]
        with outages():
            async with primary(self._pool, timeout_s=self._timeout_s) as connection:
                await connection.execute(SQL["enter"], target, *columns)

    async def forget(self, before: datetime) -> int:
        """See `Deliveries`."""
        with outages():
            async with primary(self._pool, timeout_s=self._timeout_s) as connection:
                status: str = await connection.execute(SQL["forget"], before)
                return int(status.rpartition(" ")[2])

    async def standing(self) -> list[Standing]:
        """See `Deliveries`."""
        with outages():
            async with primary(self._pool, timeout_s=self._timeout_s) as connection:
                return [Standing(*row) for row in await connection.fetch(SQL["standing"])]

    async def of_message(self, delivery_id: str) -> list[tuple[str, Done]]:
        """See `Deliveries`."""
        with outages():
            async with primary(self._pool, timeout_s=self._timeout_s) as connection:
                rows = await connection.fetch(SQL["of_message"], delivery_id)
        return [(row["target"], Done(delivery_id, row["tries"], row["at"], row["failed"])) for row in rows]


class PostgresLane(Lane):
    """See `Lane`: reads on the connection that has the lock, so whoever has lost it cannot read."""

    def __init__(self, connection: "Connection", target: str) -> None:
        self._connection, self._target = connection, target

    async def due(self, limit: int, without: Sequence[bytes] = ()) -> list[Due]:
        """See `Lane`."""
        with outages():
            rows = await self._connection.fetch(SQL["due"], self._target, limit, list(without))
        return [
            Due(
                row["due_at"],
                ToDeliver(
                    self._target,
                    row["delivery_id"],
                    row["topic"],
                    row["log_partition"],
                    row["log_offset"],
                    row["key"],
                    row["value"],
                ),
            )
            for row in rows
        ]
