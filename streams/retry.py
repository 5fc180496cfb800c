"""Try again while a dependency is down: for ever, with growing pauses and jitter, never in a busy loop.

An order waits in Kafka meanwhile; giving up would lose it, so only the caller's cancellation ends the tries. Where a
circuit breaker knows when it makes sense to try again, that is when it is tried.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import uniform
from typing import TypeVar

import stamina

from streams.errors import Unavailable
from streams.telemetry import RETRIES
from streams.waiting import note_wait

T = TypeVar("T")

FIRST_DELAY_S = 0.05
LATER = (1.0, 1.2)
"""A pause that was told, times this: callers that were told the same do not come back together."""

logger = logging.getLogger(__name__)


async def until_available(what: str, call: Callable[[], Awaitable[T]], *, max_delay_s: float) -> T:
    """The result of `call`, tried again after each `Unavailable`; other errors pass through at once."""
    try:
        return await call()  # nearly all end here, and what follows costs more than many a call
    except Unavailable as error:
        logger.warning("%s: %s", what, error)
        told_s = _told_s(error)
    note_wait()
    jittered_s = min(FIRST_DELAY_S, max_delay_s) * uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
    await asyncio.sleep(jittered_s if told_s is None else told_s)
    async for attempt in stamina.retry_context(
        on=_again,
        attempts=None,
        timeout=None,
        wait_initial=2 * FIRST_DELAY_S,
        wait_max=max_delay_s,
        wait_jitter=0.2,
    ):
        with attempt:
            note_wait()
            RETRIES.labels(what).inc()
            logger.warning("%s: try %d", what, attempt.num + 1)
            return await call()
    raise AssertionError("a retry without a limit ends with a result or an error")


def _again(error: Exception) -> bool | float:
    """Whether to try again after this error, and after how many seconds if that was told."""
    if not isinstance(error, Unavailable):
        return False
    told_s = _told_s(error)
    return True if told_s is None else told_s


def _told_s(error: Unavailable) -> float | None:
    return None if error.retry_after_s is None else error.retry_after_s * uniform(*LATER)  # noqa: S311
