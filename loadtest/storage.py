"""How much the servers store: what an order leaves behind in Redis' memory and in Postgres' log."""

from collections.abc import Mapping

import asyncpg
from redis.asyncio import Redis

from streams.settings import Settings


async def stored_bytes(settings: Settings) -> dict[str, int]:
    """Redis' memory in use, and how much Postgres has ever written to its log. Both only grow during a surge."""
    redis = Redis.from_url(settings.redis_url)
    postgres = await asyncpg.connect(settings.postgres_dsn, timeout=settings.postgres_timeout_s)
    try:
        memory = (await redis.info("memory"))["used_memory"]
        written = await postgres.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
    finally:
        await redis.aclose()
        await postgres.close()
    return {"redis_memory": memory, "postgres_wal": written}


def per_order(before: Mapping[str, int], after: Mapping[str, int], orders: int) -> dict[str, float]:
    """What one of so many orders added to each."""
    return {name: round((after[name] - before[name]) / orders, 1) for name in before}
