"""What the pipeline asks of Kafka's producing side: append records, and know when they are safe."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes | None], ...]


class Entry(NamedTuple):
    """One record to append. `timestamp_ms` is milliseconds since 1970."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers = ()


class Log(Protocol):
    """Kafka, or its fake."""

    async def append(self, topic: str, partition: int, entries: Sequence[Entry]) -> None:
        """Append in order to one partition and return when all in-sync replicas have them.

        Raises `LogUnavailable` when that is not known; then some of the records may stand there, and a second try
        repeats them. Readers are told apart by key, so a repeat is harmless.
        """
        ...

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has; raises `UnknownThing` for a topic that does not exist."""
        ...

    async def close(self) -> None:
        """Flush and give connections back."""
        ...
