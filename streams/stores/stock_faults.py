"""What redis-py raises, as Floodway's errors.

Everything that passes by itself or by an operator's hand is `StockUnavailable`, so that callers wait and try again:
no connection, no answer in time, a server that loads its data, is out of memory, read-only, cut off or busy.
"""

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from streams.errors import FloodwayError, StockUnavailable
from streams.stores.resets import is_reset
from streams.stores.stock_checks import fenced

_PASSING = frozenset(
    {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN"}
)
"""First words of error replies that are about the server's state, not about what it was asked."""

RAISED = (RedisError, OSError, RuntimeError)
"""What to catch of a call; RuntimeError for what uvloop raises."""


def fault(error: RedisError | OSError | RuntimeError, epoch: int = 0) -> FloodwayError:
    """The error to raise for one of redis-py's; `epoch` is that of the call."""
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError) or is_reset(error):
        return StockUnavailable(f"Redis did not answer ({_text(error)}); it is tried again, check that it runs.")
    if isinstance(error, ResponseError):
        word, _, rest = str(error).partition(" ")
        if word == "FENCED":
            carried, _, why = rest.partition(" ")
            return fenced(None if carried == "none" else int(carried), epoch, why)
        if word in _PASSING or type(error) is not ResponseError:
            return StockUnavailable(f"Redis answered {_text(error)!r}; it is tried again, check the server.")
    return FloodwayError(f"Redis refused a call: {_text(error)}. Nothing was changed; this is a defect, report it.")


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
