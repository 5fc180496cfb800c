"""Moments as aware datetimes and as milliseconds since 1970, exact both ways. Pure."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1024)
def to_datetime(ms: int) -> datetime:
    """Milliseconds since 1970 as an aware UTC datetime, exact. A batch shares its moments, so few are made anew."""
    return _EPOCH + timedelta(milliseconds=ms)


def to_ms(moment: datetime) -> int:
    """An aware datetime as milliseconds since 1970, rounded down; exact for what `to_datetime` made."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)
