"""Takes a connection to Kafka that was reset for an outage, also when uvloop says so by a bare RuntimeError.

A transport of asyncio's ignores what is written after the other side has reset the connection, and tells when it is
read or drained; uvloop's raises RuntimeError at once. aiokafka expects an OSError: its fetcher's task then ends for
good, and the consumer never fetches again. aiokafka has no hook for that, so its connections' two ways to write are
replaced (decision 0018); `tests/unit/test_kafka_resets.py` notices when that is needed no more.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

from streams.stores.resets import is_reset

WRITING = ("send", "_send_sasl_token")


def install() -> None:
    """Make all connections of this process do so. Idempotent."""
    for name in WRITING:
        method = getattr(AIOKafkaConnection, name)
        if not hasattr(method, "__wrapped__"):
            setattr(AIOKafkaConnection, name, _explaining(method))


def _explaining(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def write(connection: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(connection, *args, **options)
        except RuntimeError as error:
            if not is_reset(error):
                raise
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            where = f"{connection.host}:{connection.port}"
            raise KafkaConnectionError(f"Connection at {where} was reset: {error}") from error

    return write
