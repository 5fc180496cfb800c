"""Reads whole topics without a consumer group: for checks, for waiting on decisions, for people."""

from collections.abc import AsyncIterator, Mapping
from time import monotonic
from typing import Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.chunks import Record
from streams.errors import LogUnavailable, UnknownThing

LAST_BATCH_WAIT_S = 2.0

Positions = dict[int, int]
"""Next offset by partition."""


class TopicReader:
    """Reads one topic, all partitions. Make it with `open`, give it back with `close`."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, ends: Positions) -> None:
        self._consumer = consumer
        self.topic = topic
        self.ends = ends
        """Where each partition ended when the reader was opened."""

    @classmethod
    async def open(cls, bootstrap: str, topic: str, *, start: Literal["beginning", "end"]) -> "TopicReader":
        """Start at the first record kept, or behind the last. Raises `LogUnavailable` or `UnknownThing`."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=1_048_576,
        )
        try:
            await consumer.start()
            partitions = await _partitions(consumer, topic)
            consumer.assign(partitions)
            beginnings = await consumer.beginning_offsets(partitions)
            ends = await _true_ends(consumer, beginnings, await consumer.end_offsets(partitions))
            starts = ends if start == "end" else beginnings
            for partition, offset in starts.items():
                consumer.seek(partition, offset)
        except (KafkaError, OSError) as error:
            await consumer.stop()
            raise LogUnavailable(f"Kafka did not let {topic} be read ({error!r}); is it running?") from error
        except UnknownThing:
            await consumer.stop()
            raise
        return cls(consumer, topic, {p.partition: offset for p, offset in ends.items()})

    async def next(self, *, timeout_s: float = 0.2, max_records: int = 5_000) -> Mapping[int, list[Record]]:
        """What has arrived, by partition; empty when nothing did in time."""
        try:
            got = await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        except KafkaError as error:
            raise LogUnavailable(f"Kafka stopped answering while {self.topic} was read: {error!r}.") from error
        return {p.partition: records for p, records in got.items()}

    async def until_end(self) -> AsyncIterator[tuple[int, list[Record]]]:
        """All records up to where the topic ended when the reader was opened."""
        left = {}
        for partition, end in self.ends.items():
            if await self._consumer.position(TopicPartition(self.topic, partition)) < end:
                left[partition] = end
        while left:
            for partition, records in (await self.next()).items():
                wanted = [r for r in records if r.offset < self.ends[partition]]
                if wanted:
                    yield partition, wanted
                if records and records[-1].offset + 1 >= self.ends[partition]:
                    left.pop(partition, None)

    async def close(self) -> None:
        """Give the connection back."""
        await self._consumer.stop()


async def _true_ends(
    consumer: AIOKafkaConsumer, beginnings: Mapping[TopicPartition, int], told: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Where partitions end, by their last records.

    The embedded broker tells the offset behind the FIRST record of the last batch; a fetch returns the whole batch.
    """
    ends = dict(told)
    asked = {partition for partition, end in told.items() if end > beginnings[partition]}
    for partition in asked:
        consumer.seek(partition, told[partition] - 1)
    deadline = monotonic() + LAST_BATCH_WAIT_S  # behind the last record may stand a transaction's marker, never seen
    while asked and monotonic() < deadline:
        for partition, records in (await consumer.getmany(timeout_ms=100)).items():
            ends[partition] = max(ends[partition], records[-1].offset + 1)
            asked.discard(partition)
    return ends


async def committed(bootstrap: str, group: str, topic: str) -> Positions:
    """What a consumer group has committed; partitions it has not committed are left out."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    try:
        await consumer.start()
        found = {}
        for partition in await _partitions(consumer, topic):
            offset = await consumer.committed(partition)
            if offset is not None and offset >= 0:
                found[partition.partition] = offset
        return found
    except (KafkaError, OSError) as error:
        raise LogUnavailable(f"Kafka did not tell what {group} has committed: {error!r}.") from error
    finally:
        await consumer.stop()


async def lag(bootstrap: str, group: str, topic: str) -> tuple[int, Positions]:
    """How many records of a topic a consumer group has not committed yet, and what it has committed."""
    reader = await TopicReader.open(bootstrap, topic, start="end")
    await reader.close()
    done = await committed(bootstrap, group, topic)
    return sum(end - done.get(partition, 0) for partition, end in reader.ends.items()), done


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    known = await consumer.topics()
    if topic not in known:
        raise UnknownThing(f"Topic {topic} does not exist; create it with `floodway init`.")
    return [TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic) or ())]
