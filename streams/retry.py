"""Try again while a dependency is down: for ever, with growing pauses and jitter, never in a busy loop.

An order waits in Kafka meanwhile; giving up would lose it, so only the caller's cancellation ends the tries.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from streams.errors import Unavailable
from streams.waiting import note_wait

T = TypeVar("T")

logger = logging.getLogger(__name__)


async def until_available(what: str, call: Callable[[], Awaitable[T]], *, max_delay_s: float) -> T:
    """The result of `call`, tried again after each `Unavailable`; other errors pass through at once."""
    async for attempt in stamina.retry_context(
        on=Unavailable, attempts=None, timeout=None, wait_initial=0.05, wait_max=max_delay_s, wait_jitter=0.2
    ):
        with attempt:
            if attempt.num > 1:
                note_wait()
                logger.warning("%s: try %d", what, attempt.num)
            return await call()
    raise AssertionError("a retry without a limit ends with a result or an error")
