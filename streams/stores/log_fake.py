"""Kafka's producing side in memory."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from streams.errors import UnknownThing
from streams.stores.log import Entry, Log


class FakeLog(Log):
    """Keeps what was appended, by topic and partition."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._topics = dict(topics)
        self.appended: dict[tuple[str, int], list[Entry]] = defaultdict(list)

    async def append(self, topic: str, partition: int, entries: Sequence[Entry]) -> None:
        """See `Log`."""
        if partition >= await self.partitions(topic):
            raise UnknownThing(f"{topic} has no partition {partition}.")
        self.appended[topic, partition].extend(entries)

    async def partitions(self, topic: str) -> int:
        """See `Log`."""
        if topic not in self._topics:
            raise UnknownThing(f"Topic {topic} does not exist; create it with `floodway init`.")
        return self._topics[topic]

    async def close(self) -> None:
        """See `Log`."""

    def values(self, topic: str) -> list[bytes]:
        """All values of a topic, partition by partition."""
        return [e.value for (t, _), es in sorted(self.appended.items()) for e in es if t == topic and e.value]
