"""Stock and decisions of whoever is measured, so that each outcome is verified by what its own stores say."""

from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import asyncpg
from redis.asyncio import Redis

from loadtest.bench.orders import Order
from loadtest.bench.peers.job import TABLES
from loadtest.bench.rig import Rig
from streams.messages import Outcome
from streams.receiving import receive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Shelf(NamedTuple):
    """Units free over all SKUs, and of the SKU that has least."""

    free: int
    least: int


class Books(Protocol):
    """What can be asked of the stores of one contender."""

    async def provide(self, units: Mapping[str, int]) -> None:
        """Put units on the shelf."""
        ...

    async def decided(self, orders: Sequence[Order]) -> tuple[int, int]:
        """How many of the orders have a decision, and the units of those that were accepted."""
        ...

    async def shelf(self) -> Shelf:
        """What is free now."""
        ...


class OurBooks:
    """Floodway's own stock and ledger."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    async def provide(self, units: Mapping[str, int]) -> None:
        """See `Books`."""
        await receive(self._rig.parts, f"peers {','.join(sorted(units))[:40]}", units.items())

    async def decided(self, orders: Sequence[Order]) -> tuple[int, int]:
        """See `Books`."""
        outcomes = await self._rig.outcomes(orders)
        accepted = (order.units for order in orders if outcomes.get(order.submission_key) is Outcome.ACCEPTED)
        return len(outcomes), sum(accepted)

    async def shelf(self) -> Shelf:
        """See `Books`."""
        free = [pool.free async for pool in self._rig.parts.stock.pools()]
        return Shelf(sum(free), min(free))


class PeerBooks:
    """A peer's tables in a schema of its own, its stock there or in Redis."""

    def __init__(self, rig: Rig, name: str, *, in_redis: bool) -> None:
        self._rig, self._schema, self._in_redis = rig, f"peer_{name}", in_redis
        self._free_key = f"peer:{name}:free"

    async def create(self) -> None:
        """Make the tables."""
        async with self._postgres() as connection:
            await connection.execute(f"CREATE SCHEMA {self._schema}")
            await connection.execute(TABLES)

    async def provide(self, units: Mapping[str, int]) -> None:
        """See `Books`."""
        if self._in_redis:
            async with Redis.from_url(self._rig.settings.redis_url) as redis:
                pairs = [part for pair in units.items() for part in pair]
                await redis.hset(self._free_key, items=pairs)
        else:
            async with self._postgres() as connection:
                await connection.executemany("INSERT INTO stock (sku, free) VALUES ($1, $2)", list(units.items()))
                await connection.execute("ANALYZE stock")

    async def decided(self, orders: Sequence[Order]) -> tuple[int, int]:
        """See `Books`."""
        keys = [order.submission_key[1] for order in orders]
        async with self._postgres() as connection:
            decided = await connection.fetchval(
                "SELECT count(*) FROM decisions WHERE submission_id = ANY ($1::text[])", keys
            )
            units = await connection.fetchval(
                "SELECT coalesce(sum(l.qty), 0) FROM orders o JOIN order_lines l USING (order_id)"
                " WHERE o.submission_id = ANY ($1::text[])",
                keys,
            )
        return int(decided), int(units)

    async def shelf(self) -> Shelf:
        """See `Books`."""
        if self._in_redis:
            async with Redis.from_url(self._rig.settings.redis_url) as redis:
                free = [int(units) for units in await redis.hvals(self._free_key)]
            return Shelf(sum(free), min(free))
        async with self._postgres() as connection:
            row = await connection.fetchrow("SELECT sum(free)::bigint AS free, min(free) AS least FROM stock")
        return Shelf(row["free"], row["least"])

    @asynccontextmanager
    async def _postgres(self) -> "AsyncIterator[Any]":
        connection = await asyncpg.connect(
            self._rig.settings.postgres_dsn, server_settings={"search_path": self._schema}
        )
        try:
            yield connection
        finally:
            await connection.close()
