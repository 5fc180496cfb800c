"""The queue of submissions under review in Kafka: a topic, and two groups without members that keep offsets in it.

One keeps how far it was decided, the other how far an operator has released it. Workers and operators commit offsets
there without joining: the partitions belong to whoever has those of the same number of `orders.submitted.v1`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from streams.chunks import Record
from streams.stores.kafka_access import KafkaAccess
from streams.stores.reader_kafka import Positions, TopicReader, commit, committed
from streams.stores.review import ReviewQueue
from streams.topics import REVIEW

DECIDED_GROUP = "floodway-review"
RELEASED_GROUP = "floodway-review-released"
KEEP_S = 3_600.0
"""How often offsets are committed again: Kafka forgets those of a group without members some days after the last time,
and what stands in the topic for longer would be decided once more."""


class KafkaReview(ReviewQueue):
    """See `ReviewQueue`. With `by_operator` only what was released may be decided."""

    def __init__(self, brokers: KafkaAccess, *, by_operator: bool = False) -> None:
        self._brokers, self._by_operator = brokers, by_operator
        self._kept_at_s = monotonic()

    async def waiting(self, partitions: frozenset[int]) -> AsyncIterator[tuple[int, Sequence[Record]]]:
        """See `ReviewQueue`."""
        decided = await committed(self._brokers, DECIDED_GROUP, REVIEW.name)
        released = await committed(self._brokers, RELEASED_GROUP, REVIEW.name) if self._by_operator else None
        await self._keep({p: offset for p, offset in decided.items() if p in partitions})
        starts = {partition: decided.get(partition, 0) for partition in partitions}
        if released is not None:
            starts = {p: first for p, first in starts.items() if released.get(p, 0) > first}
        if not starts:
            return
        reader = await TopicReader.open(self._brokers, REVIEW.name, start=starts)
        try:
            if released is not None:
                reader.ends = {p: min(end, released.get(p, 0)) for p, end in reader.ends.items()}
            async for partition, records in reader.until_end():
                yield partition, records
        finally:
            await reader.close()

    async def _keep(self, decided: Positions) -> None:
        if decided and monotonic() - self._kept_at_s > KEEP_S:
            self._kept_at_s = monotonic()
            await self.done(decided)

    async def done(self, offsets: Mapping[int, int]) -> None:
        """See `ReviewQueue`."""
        await commit(self._brokers, DECIDED_GROUP, REVIEW.name, dict(offsets))


class Standing(NamedTuple):
    """A record that waits, and whether an operator has released it."""

    partition: int
    record: Record
    released: bool


async def standing(brokers: KafkaAccess) -> AsyncIterator[Standing]:
    """All that waits, partition by partition in its order."""
    decided = await committed(brokers, DECIDED_GROUP, REVIEW.name)
    released = await committed(brokers, RELEASED_GROUP, REVIEW.name)
    reader = await TopicReader.open(brokers, REVIEW.name, start="beginning")
    try:
        async for partition, records in reader.until_end():
            for record in records:
                if record.offset >= decided.get(partition, 0):
                    yield Standing(partition, record, record.offset < released.get(partition, 0))
    finally:
        await reader.close()


async def release(brokers: KafkaAccess) -> Positions:
    """Let all that stands in the queue now be decided; returns how many of each partition waited for that."""
    reader = await TopicReader.open(brokers, REVIEW.name, start="end")
    await reader.close()
    done = await committed(brokers, DECIDED_GROUP, REVIEW.name)
    before = await committed(brokers, RELEASED_GROUP, REVIEW.name)
    await commit(brokers, RELEASED_GROUP, REVIEW.name, reader.ends)
    held = {p: end - max(done.get(p, 0), before.get(p, 0), reader.beginnings[p]) for p, end in reader.ends.items()}
    return {p: count for p, count in held.items() if count > 0}
