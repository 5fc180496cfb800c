"""What the exporter asks of Redis beside what the stock tells: how quick it is, and what its memory holds."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, NamedTuple, Self

from redis.asyncio import Redis

from streams.stores.redis_client import redis_client
from streams.stores.stock_faults import RAISED, fault
from streams.stores.stock_keys import PREFIX

GENERATIONS = (0, 1)
SAMPLES = 5
"""Fields that `MEMORY USAGE` looks at: an estimate, at a cost that does not grow."""


class StockLook(NamedTuple):
    """One look. `cpu_s` is what the server has used since it started, memory is in bytes."""

    probe_s: float
    cpu_s: float
    memory_bytes: int
    remembered: tuple[tuple[int, int], ...]
    """Submissions and bytes of each generation."""


class StockWatch:
    """Asks the server of the stock."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    @classmethod
    def connect(cls, url: str, *, timeout_s: float, prefix: str = PREFIX) -> Self:
        """It connects when it first looks."""
        return cls(redis_client(url, timeout_s=timeout_s, connections=1), prefix)

    async def look(self) -> StockLook:
        """How things stand now. Raises `StockUnavailable`."""
        execute: Callable[..., Awaitable[Any]] = self._client.execute_command
        try:
            began = monotonic()
            await execute("PING")
            probe_s = monotonic() - began
            # As bytes, so that the client leaves the answer alone; see the stock.
            told = _fields(await execute(b"INFO", "cpu", "memory"))
            remembered = []
            for generation in GENERATIONS:
                key = f"{self._prefix}seen:{generation}"
                size = await execute("MEMORY", "USAGE", key, "SAMPLES", SAMPLES)
                remembered.append((int(await execute("HLEN", key)), int(size or 0)))
        except RAISED as error:
            raise fault(error) from error
        cpu_s = float(told["used_cpu_user"]) + float(told["used_cpu_sys"])
        return StockLook(probe_s, cpu_s, int(told["used_memory"]), tuple(remembered))

    async def close(self) -> None:
        """Give the connection back."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()


def _fields(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode().splitlines())
    return {name: value for name, colon, value in lines if colon}
