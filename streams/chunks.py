"""What the stages need of a fetched chunk of records; the Faust transport's chunk has it, so has a test's."""

from collections.abc import Sequence
from typing import Protocol


class Record(Protocol):
    """One raw record. `timestamp` is milliseconds since 1970."""

    @property
    def offset(self) -> int:
        """Position in the partition."""

    @property
    def timestamp(self) -> int:
        """By the producer's or the broker's clock."""

    @property
    def key(self) -> bytes | None:
        """Raw key."""

    @property
    def value(self) -> bytes | None:
        """Raw value; None is a tombstone."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Raw headers, in the producer's order; one may come without a value."""


class Chunk(Protocol):
    """Consecutive records of one partition, at least one, in offset order."""

    @property
    def topic(self) -> str:
        """Where it was read."""

    @property
    def partition(self) -> int:
        """Where it was read."""

    @property
    def records(self) -> Sequence[Record]:
        """The records themselves."""

    def acknowledge(self) -> bool:
        """Allow its offsets to be committed: all effects of all its records are durable and announced."""
        ...
