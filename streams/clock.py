"""Time as a part that can be swapped: wall-clock milliseconds since 1970, UTC."""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Tells the time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        ...


class SystemClock:
    """The machine's clock; keep it in step with NTP, holds and promotion windows are measured by it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._now_ms

    def advance(self, seconds: float) -> None:
        """Move forward."""
        self._now_ms += int(seconds * 1000)


@lru_cache(maxsize=1024)
def to_datetime(ms: int) -> datetime:
    """Milliseconds since 1970 as an aware UTC datetime, exact. A batch shares its moments, so few are made anew."""
    return _EPOCH + timedelta(milliseconds=ms)


def to_ms(moment: datetime) -> int:
    """An aware datetime as milliseconds since 1970, rounded down; exact for what `to_datetime` made."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)
