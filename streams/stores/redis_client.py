"""Clients of Redis or Valkey as all stores here want them: bytes, bounded in time and number, tried once."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def redis_client(url: str, *, timeout_s: float, connections: int) -> Redis:
    """A client of `url` (`redis://host:port/db`) that connects when first asked.

    Whatever it does may take `timeout_s`, the wait for one of its connections too. It tries nothing again: callers do,
    who know what may be repeated.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        decode_responses=False,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)
