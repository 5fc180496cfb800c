"""What intake asks of the queue of submissions under review, `orders.review.v1`.

It is kept by partition, in the order in which the submissions were diverted. How far it was decided is kept beside it,
by partition too, so that whoever gets the partition goes on from there.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from streams.chunks import Record


class ReviewQueue(Protocol):
    """Kafka, or its fake. Raises `LogUnavailable` when it does not answer."""

    def waiting(self, partitions: frozenset[int]) -> AsyncIterator[tuple[int, Sequence[Record]]]:
        """What waits in these partitions and may be decided, in the order of each, up to where it ended at the call."""
        ...

    async def done(self, offsets: Mapping[int, int]) -> None:
        """Remember that all before these offsets is decided."""
        ...
