"""Reads whole topics without a consumer group: for checks, for waiting on decisions, for people."""

from collections.abc import AsyncIterator, Mapping
from time import monotonic
from typing import Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from streams.chunks import Record
from streams.errors import FloodwayError, LogUnavailable, UnknownThing
from streams.stores import kafka_resets, lenient_records
from streams.stores.kafka_access import Brokers, KafkaAccess, access_to
from streams.stores.kafka_faults import explain, why_unreachable

FETCH_WAIT_MS = 20
"""How long the broker may hold back an empty fetch: one that watches is told within so much, where the embedded broker
sleeps half of it; 50 ms made the 99th percentile at 3,200 orders a second 86 ms, 20 make it 78."""

LAST_BATCH_WAIT_S = 30.0
"""So long a broker may take to hand over a last batch; the end that is told without it may lie before the true one."""
LOOK_BACK_FACTOR = 8

lenient_records.install()
kafka_resets.install()

Positions = dict[int, int]
"""Next offset by partition."""


class TopicReader:
    """Reads one topic, all partitions. Make it with `open`, give it back with `close`."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, ends: Positions) -> None:
        self._consumer = consumer
        self.topic = topic
        self.ends = ends
        """Behind the last record of each partition when the reader was opened."""
        self.beginnings: Positions = {}
        """The first offset that each partition still has."""

    @classmethod
    async def open(
        cls, brokers: Brokers, topic: str, *, start: Literal["beginning", "end"] | Positions
    ) -> "TopicReader":
        """Start at the first record kept, behind the last, or at these offsets of these partitions, and read no others.

        Raises `LogUnavailable` or `UnknownThing`.
        """
        brokers = access_to(brokers)
        consumer = _consumer(brokers, fetch_max_wait_ms=FETCH_WAIT_MS, max_partition_fetch_bytes=1_048_576)
        try:
            await consumer.start()
            partitions = await _partitions(consumer, topic)
            if isinstance(start, dict):
                partitions = [partition for partition in partitions if partition.partition in start]
            consumer.assign(partitions)
            beginnings = await consumer.beginning_offsets(partitions)
            ends = await true_ends(consumer, beginnings, await consumer.end_offsets(partitions))
            for partition in partitions:
                first = start.get(partition.partition, 0) if isinstance(start, dict) else 0
                consumer.seek(partition, ends[partition] if start == "end" else max(first, beginnings[partition]))
        except (KafkaError, OSError) as error:
            await consumer.stop()
            raise await explained(brokers, error, f"let {topic} be read") from error
        except FloodwayError:
            await consumer.stop()
            raise
        made = cls(consumer, topic, {p.partition: offset for p, offset in ends.items()})
        made.beginnings = {p.partition: offset for p, offset in beginnings.items()}
        return made

    async def next(self, *, timeout_s: float = 0.2, max_records: int = 5_000) -> Mapping[int, list[Record]]:
        """What has arrived, by partition; empty when nothing did in time."""
        try:
            got = await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        except KafkaError as error:
            raise explain(error, f"go on with {self.topic}") from error
        return {p.partition: records for p, records in got.items()}

    async def until_end(self) -> AsyncIterator[tuple[int, list[Record]]]:
        """All records up to where the topic ended when the reader was opened."""
        left = dict(self.ends)
        await self._drop_read(left)
        while left:
            for partition, records in (await self.next()).items():
                wanted = [r for r in records if r.offset < self.ends[partition]]
                if wanted:
                    yield partition, wanted
            await self._drop_read(left)

    async def _drop_read(self, left: Positions) -> None:
        """Take out partitions that are read to their end: by position, which also passes what holds no records."""
        for partition, end in list(left.items()):
            if await self._consumer.position(TopicPartition(self.topic, partition)) >= end:
                del left[partition]

    async def close(self) -> None:
        """Give the connection back."""
        await self._consumer.stop()


def _consumer(brokers: KafkaAccess, **options: object) -> AIOKafkaConsumer:
    # What a producer aborted was never submitted; a transaction still open is waited for, as its records' order wants.
    return AIOKafkaConsumer(**brokers.options(), enable_auto_commit=False, isolation_level="read_committed", **options)


def group_consumer(brokers: KafkaAccess, group: str) -> AIOKafkaConsumer:
    """A consumer that is no member of its group: to read and write the group's offsets."""
    return _consumer(brokers, group_id=group)


async def explained(brokers: KafkaAccess, error: BaseException, what: str) -> FloodwayError:
    """The error to raise for one of aiokafka's; see `explain`."""
    if isinstance(error, KafkaConnectionError):
        return await why_unreachable(brokers, error)
    return explain(error, what)


async def true_ends(
    consumer: AIOKafkaConsumer, beginnings: Mapping[TopicPartition, int], told: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Where partitions end, by their last records.

    Kafka counts in the marker that ends a transaction, which no reader ever sees: a consumer that waits for the offset
    told would wait for ever. So where nothing stands at the last offset, we look further back, in growing steps. The
    embedded broker tells the offset behind the FIRST record of the last batch; a fetch returns the whole batch.
    Raises `LogUnavailable` when a partition hands nothing over: an end that is guessed would hide records.
    """
    ends, last = dict(told), dict[TopicPartition, int]()
    back = {partition: 1 for partition, end in told.items() if end > beginnings[partition]}
    for partition in back:
        consumer.seek(partition, told[partition] - 1)
    deadline = monotonic() + LAST_BATCH_WAIT_S
    while back:
        if monotonic() > deadline:
            where = ", ".join(f"{partition.topic}-{partition.partition}" for partition in sorted(back))
            raise LogUnavailable(f"Kafka did not tell in {LAST_BATCH_WAIT_S:g} s where {where} ends; try again.")
        for partition, records in (await consumer.getmany(*back, timeout_ms=100)).items():
            last[partition] = records[-1].offset + 1
        for partition in [p for p in back if await consumer.position(p) >= told[p]]:
            looked_from = told[partition] - back[partition]
            if partition in last or looked_from <= beginnings[partition]:
                ends[partition] = last.get(partition, beginnings[partition])
                del back[partition]
            else:
                back[partition] *= LOOK_BACK_FACTOR
                deadline = monotonic() + LAST_BATCH_WAIT_S
                consumer.seek(partition, max(beginnings[partition], told[partition] - back[partition]))
    return ends


async def committed(brokers: Brokers, group: str, topic: str) -> Positions:
    """What a consumer group has committed; partitions it has not committed are left out."""
    brokers = access_to(brokers)
    consumer = group_consumer(brokers, group)
    try:
        await consumer.start()
        found = {}
        for partition in await _partitions(consumer, topic):
            offset = await consumer.committed(partition)
            if offset is not None and offset >= 0:
                found[partition.partition] = offset
        return found
    except (KafkaError, OSError) as error:
        raise await explained(brokers, error, f"tell what {group} has committed") from error
    finally:
        await consumer.stop()


async def commit(brokers: Brokers, group: str, topic: str, offsets: Positions) -> None:
    """Commit for a group that has no members."""
    brokers = access_to(brokers)
    consumer = _consumer(brokers, group_id=group)
    try:
        await consumer.start()
        partitions = {TopicPartition(topic, partition): offset for partition, offset in offsets.items()}
        consumer.assign(list(partitions))
        await consumer.commit(partitions)
    except (KafkaError, OSError) as error:
        raise await explained(brokers, error, f"take what {group} has committed") from error
    finally:
        await consumer.stop()


async def lag(brokers: Brokers, group: str, topic: str) -> tuple[int, Positions]:
    """How many records of a topic a consumer group has not committed yet, and what it has committed.

    An offset stands for a record; those that compaction or transactions leave empty count too, but for the last.
    """
    ends, read_to, done = await standing(brokers, group, topic)
    return sum(max(0, end - read_to[partition]) for partition, end in ends.items()), done


async def standing(brokers: Brokers, group: str, topic: str) -> tuple[Positions, Positions, Positions]:
    """Where a topic's partitions end, from where on a consumer group has them before it, and what it has committed."""
    reader = await TopicReader.open(brokers, topic, start="end")
    await reader.close()
    done = await committed(brokers, group, topic)
    # What retention has taken is no longer waited for.
    read_to = {partition: max(done.get(partition, 0), first) for partition, first in reader.beginnings.items()}
    return reader.ends, read_to, done


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    known = await consumer.topics()
    if topic not in known:
        raise UnknownThing(f"Topic {topic} does not exist; create it with `floodway init`.")
    # A consumer without a subscription knows no partitions, and says so by an empty set, until it is told to look.
    partitions = await consumer._client._wait_on_metadata(topic)
    assert partitions, f"{topic} exists without partitions"
    return [TopicPartition(topic, partition) for partition in sorted(partitions)]
