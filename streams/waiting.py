"""When this process last waited for a dependency that is down: standing still then is right, and nobody's fault."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

BEAT_S = 2.0

_last_s = -math.inf


def note_wait() -> None:
    """Say that this process is waiting for a dependency, now."""
    global _last_s  # noqa: PLW0603 - one process, one answer
    _last_s = monotonic()


@asynccontextmanager
async def waiting() -> AsyncIterator[None]:
    """All the time inside is spent waiting for a dependency, however long it takes."""

    async def beat() -> None:
        while True:
            note_wait()
            await asyncio.sleep(BEAT_S)

    beating = asyncio.create_task(beat(), name="waiting")
    try:
        yield
    finally:
        beating.cancel()


def last_wait_s() -> float:
    """When somebody last said so, by `time.monotonic`; minus infinity before the first time."""
    return _last_s
