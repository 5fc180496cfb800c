"""How far consumer groups are behind, seen from outside: committed offsets against true ends, by one long-lived look.

No member of any group. Ends are looked up by their last records (`true_ends`), and anew only where the end that Kafka
tells has moved; a lag's age is that of the first record that is not committed, read once for each committed offset.
Between two looks every partition is paused, so that nothing is fetched.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.errors import FloodwayError, UnknownThing
from streams.stores.kafka_access import KafkaAccess
from streams.stores.reader_kafka import explained, true_ends

FIRST_WAIT_S = 5.0
"""What reading the first uncommitted records may take; what has not come by then is asked for at the next look."""
FETCH_WAIT_MS = 200

Followed = tuple[str, str]
"""A consumer group, and a topic that it reads."""


class Place(NamedTuple):
    """How a group stands in a partition. `committed` is None before the first time; `first_ms` without lag."""

    committed: int | None
    end: int
    oldest: int
    first_ms: int | None

    @property
    def read_to(self) -> int:
        """Where it goes on; what retention has taken is no longer waited for."""
        return max(self.committed or 0, self.oldest)

    @property
    def lag(self) -> int:
        """Records that are not committed."""
        return max(0, self.end - self.read_to)


class Lags(NamedTuple):
    """One look. `kept` counts what topics have, by their ends; `members` are untold where the broker does not say."""

    groups: Mapping[Followed, Mapping[int, Place]]
    kept: Mapping[str, int]
    members: Mapping[str, int]
    seconds: float


class LagWatch:
    """Looks at groups and topics. It connects when it first looks, and anew after an error."""

    def __init__(self, brokers: KafkaAccess, followed: Sequence[Followed], kept: Collection[str]) -> None:
        self._brokers, self._followed, self._kept = brokers, followed, kept
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._partitions: list[TopicPartition] = []
        self._ends: dict[TopicPartition, tuple[int, int]] = {}  # what Kafka told, and what is true
        self._firsts: dict[TopicPartition, tuple[int, int]] = {}  # an offset, and its record's time

    async def look(self) -> Lags:
        """How all stand now. Raises `Unavailable`, or `UnknownThing` for topics that are not there."""
        began = monotonic()
        try:
            consumer, admin = await self._connected()
            oldest = await consumer.beginning_offsets(self._partitions)
            asked_s = monotonic() - began
            # Committed first: an end that is read later is never behind it.
            committed = {group: await self._committed(admin, group) for group, _ in self._followed}
            ends = await self._true_ends(consumer, oldest)
            groups = {}
            for group, topic in self._followed:
                at = {tp: committed[group].get(tp) for tp in self._partitions if tp.topic == topic}
                groups[group, topic] = {tp.partition: Place(at[tp], ends[tp], oldest[tp], None) for tp in at}
            await self._date(consumer, groups)
            members = await self._members(admin)
        except (KafkaError, OSError) as error:
            await self.close()
            raise await explained(self._brokers, error, "tell how far its groups are") from error
        except FloodwayError:
            await self.close()
            raise
        kept = {topic: sum(ends[tp] - oldest[tp] for tp in ends if tp.topic == topic) for topic in self._kept}
        return Lags({key: self._dated(key[1], places) for key, places in groups.items()}, kept, members, asked_s)

    async def close(self) -> None:
        """Give connections back."""
        consumer, admin = self._consumer, self._admin
        self._consumer = self._admin = None
        with suppress(Exception):
            if consumer is not None:
                await consumer.stop()
        with suppress(Exception):
            if admin is not None:
                await admin.close()

    async def _connected(self) -> tuple[AIOKafkaConsumer, AIOKafkaAdminClient]:
        if self._consumer is not None and self._admin is not None:
            return self._consumer, self._admin
        self._admin = AIOKafkaAdminClient(**self._brokers.options())
        await self._admin.start()
        self._consumer = AIOKafkaConsumer(
            **self._brokers.options(),
            enable_auto_commit=False,
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=65_536,
        )
        await self._consumer.start()
        known = await self._consumer.topics()
        topics = sorted({topic for _, topic in self._followed} | set(self._kept))
        missing = [topic for topic in topics if topic not in known]
        if missing:
            raise UnknownThing(f"Topics {', '.join(missing)} do not exist; create them with `floodway init`.")
        self._partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(await self._consumer._client._wait_on_metadata(topic))
        ]
        self._consumer.assign(self._partitions)
        self._consumer.pause(*self._partitions)
        self._ends.clear()
        return self._consumer, self._admin

    async def _committed(self, admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
        topics = {topic for name, topic in self._followed if name == group}
        mine = [tp for tp in self._partitions if tp.topic in topics]
        # The partitions are named: the embedded broker closes the connection of who asks for all.
        found = await admin.list_consumer_group_offsets(group, partitions=mine)
        return {tp: told.offset for tp, told in found.items() if told.offset >= 0}

    async def _true_ends(
        self, consumer: AIOKafkaConsumer, oldest: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        told = await consumer.end_offsets(self._partitions)
        moved = [tp for tp in told if self._ends.get(tp, (-1, 0))[0] != told[tp]]
        if moved:
            consumer.resume(*moved)
            try:
                found = await true_ends(consumer, oldest, {tp: told[tp] for tp in moved})
            finally:
                consumer.pause(*moved)
            for tp, end in found.items():
                self._ends[tp] = told[tp], end
        return {tp: self._ends[tp][1] for tp in told}

    async def _date(self, consumer: AIOKafkaConsumer, groups: Mapping[Followed, Mapping[int, Place]]) -> None:
        """Read the first uncommitted record of each partition with lag, where that has not been done."""
        wanted = {
            TopicPartition(topic, number): place.read_to
            for (_, topic), places in groups.items()
            for number, place in places.items()
            if place.lag
        }
        self._firsts = {tp: first for tp, first in self._firsts.items() if wanted.get(tp) == first[0]}
        left = [tp for tp in wanted if tp not in self._firsts]
        if not left:
            return
        for tp in left:
            consumer.seek(tp, wanted[tp])
        consumer.resume(*left)
        deadline = monotonic() + FIRST_WAIT_S
        try:
            while left and monotonic() < deadline:
                for tp, records in (await consumer.getmany(*left, timeout_ms=FETCH_WAIT_MS)).items():
                    self._firsts[tp] = wanted[tp], records[0].timestamp
                    consumer.pause(tp)
                left = [tp for tp in left if tp not in self._firsts]
        finally:
            consumer.pause(*self._partitions)

    def _dated(self, topic: str, places: Mapping[int, Place]) -> dict[int, Place]:
        found = {}
        for number, place in places.items():
            offset, at_ms = self._firsts.get(TopicPartition(topic, number), (None, None))
            found[number] = place._replace(first_ms=at_ms if place.lag and offset == place.read_to else None)
        return found

    async def _members(self, admin: AIOKafkaAdminClient) -> dict[str, int]:
        """Members by group; nothing from the embedded broker, which cannot be asked."""
        if not self._brokers.idempotent:
            return {}
        names = sorted({group for group, _ in self._followed})
        answers = await admin.describe_consumer_groups(names)
        return {told[1]: len(told[5]) for answer in answers for told in answer.groups}
