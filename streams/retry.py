"""Try again while a dependency is down: for ever, with growing pauses and jitter, never in a busy loop.

An order waits in Kafka meanwhile; giving up would lose it, so only the caller's cancellation ends the tries.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import uniform
from typing import TypeVar

import stamina

from streams.errors import Unavailable
from streams.waiting import note_wait

T = TypeVar("T")

FIRST_DELAY_S = 0.05

logger = logging.getLogger(__name__)


async def until_available(what: str, call: Callable[[], Awaitable[T]], *, max_delay_s: float) -> T:
    """The result of `call`, tried again after each `Unavailable`; other errors pass through at once."""
    try:
        return await call()  # nearly all end here, and what follows costs more than many a call
    except Unavailable as error:
        logger.warning("%s: %s", what, error)
    await asyncio.sleep(min(FIRST_DELAY_S, max_delay_s) * uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
    async for attempt in stamina.retry_context(
        on=Unavailable,
        attempts=None,
        timeout=None,
        wait_initial=2 * FIRST_DELAY_S,
        wait_max=max_delay_s,
        wait_jitter=0.2,
    ):
        with attempt:
            note_wait()
            logger.warning("%s: try %d", what, attempt.num + 1)
            return await call()
    raise AssertionError("a retry without a limit ends with a result or an error")
