"""A broker that keeps records and committed offsets, and the consumers that read chunks from it.

The book of chunks is the transport's own (`agents.transport.offsets`); around it stands what Kafka promises and no
more: a partition has one owner by generation, whoever lost it may not know yet, commits come late or never.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from agents.transport.offsets import OffsetTracker, Ticket

CHUNKS_IN_FLIGHT = 4
"""Chunks of one partition that a consumer hands over before the first is acknowledged."""


@dataclass(frozen=True, slots=True)
class SimulatedRecord:
    """One raw record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class SimulatedChunk:
    """Records of one partition, as handed to the stages."""

    __slots__ = ("_consumer", "_ticket", "partition", "records", "topic")

    def __init__(
        self, topic: str, partition: int, records: Sequence[SimulatedRecord], consumer: "Consumer", ticket: Ticket
    ) -> None:
        self.topic, self.partition, self.records = topic, partition, records
        self._consumer, self._ticket = consumer, ticket

    def acknowledge(self) -> bool:
        """See `streams.chunks.Chunk`; void once the partition was taken away."""
        return self._consumer.acknowledged(self._ticket)


@dataclass(slots=True)
class Topic:
    """A topic that is read by one consumer group, with the group's state."""

    name: str
    partitions: list[list[SimulatedRecord]]
    committed: list[int] = field(init=False)
    generation: int = 0
    owners: dict[int, "Consumer"] = field(default_factory=dict)
    members: list["Consumer"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.committed = [0] * len(self.partitions)

    def produce(self, partition: int, timestamp_ms: int, key: bytes | None, value: bytes | None) -> SimulatedRecord:
        """Append a record and wake whoever reads the partition."""
        records = self.partitions[partition]
        record = SimulatedRecord(len(records), timestamp_ms, key, value)
        records.append(record)
        for member in self.members:
            member.wake()
        return record

    @property
    def lag(self) -> int:
        """Records that are not committed."""
        return sum(len(records) for records in self.partitions) - sum(self.committed)

    def rebalance(self, rng: Random, *, unaware: "Consumer | None" = None) -> None:
        """Deal the partitions out to the members anew. `unaware` has lost its own, and goes on as if it had not."""
        members = [m for m in self.members if m is not unaware]
        self.generation += 1
        self.owners = {p: rng.choice(members) for p in range(len(self.partitions))} if members else {}
        for member in members:
            member.assign([p for p, owner in self.owners.items() if owner is member], self.generation)


class Consumer:
    """One member of a group: hands over chunks of random size, remembers what was acknowledged."""

    def __init__(self, topic: Topic, rng: Random, chunk_max: int) -> None:
        self.offsets = OffsetTracker()
        self.generation = 0
        self._topic, self._rng, self._chunk_max = topic, rng, chunk_max
        self._positions: dict[int, int] = {}
        self._something = asyncio.Event()
        self._acknowledgement = asyncio.Event()
        self._done = False

    @property
    def partitions(self) -> frozenset[int]:
        """Those that it believes to have."""
        return frozenset(self._positions)

    def wake(self) -> None:
        """There may be something to read."""
        self._something.set()

    def close(self) -> None:
        """Its process is dead: acknowledgements count no more."""
        self._done = True

    def assign(self, partitions: Sequence[int], generation: int) -> None:
        """Start anew from the committed offsets, as the transport does in a rebalance; what is in flight is void."""
        self.offsets.reset()
        self.generation = generation
        self._positions = {p: self._topic.committed[p] for p in partitions}
        self.wake()

    async def next_chunk(self) -> SimulatedChunk:
        """The next records of a partition that has any, and room for them."""
        while True:
            ready = [
                p for p, at in self._positions.items() if at < len(self._topic.partitions[p]) and self._has_room(p)
            ]
            if ready:
                return self._read(self._rng.choice(ready))
            self._something.clear()
            await self._something.wait()

    def acknowledged(self, ticket: Ticket) -> bool:
        """Enter an acknowledgement."""
        if self._done or not self.offsets.acked(ticket):
            return False
        self.wake()
        self._acknowledgement.set()
        return True

    async def next_acknowledgement(self) -> None:
        """Wait until another chunk is acknowledged."""
        self._acknowledgement.clear()
        await self._acknowledgement.wait()

    def to_commit(self) -> list[tuple[int, int]]:
        """Partitions with the offset to commit, where that is ahead of what is committed."""
        found = []
        for tp in self.offsets.partitions():
            offset = self.offsets.committable(tp)
            if offset is not None and offset > self._topic.committed[tp[1]]:
                found.append((tp[1], offset))
        return found

    def _has_room(self, partition: int) -> bool:
        return self.offsets.chunks((self._topic.name, partition)) < CHUNKS_IN_FLIGHT

    def _read(self, partition: int) -> SimulatedChunk:
        first = self._positions[partition]
        records = self._topic.partitions[partition][first : first + self._rng.randint(1, self._chunk_max)]
        end = first + len(records)
        self._positions[partition] = end
        ticket = self.offsets.delivered((self._topic.name, partition), first, end, len(records))
        return SimulatedChunk(self._topic.name, partition, records, self, ticket)


Commit = Callable[[Topic, int, int], None]
"""Told of a topic, a partition and the offset that is being committed there, before it is."""


def commit(topic: Topic, generation: int, offsets: Sequence[tuple[int, int]], check: Commit) -> bool:
    """Commit for a member of this generation; a former one is refused, as the group coordinator does."""
    if generation != topic.generation:
        return False
    for partition, offset in offsets:
        check(topic, partition, offset)
        topic.committed[partition] = offset
    return True
