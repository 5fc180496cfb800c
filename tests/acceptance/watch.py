"""Watches a topic from where it ended when the watch began, as any consumer would."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Generic, TypeVar

import msgspec

from streams.chunks import Record
from streams.messages import Decision, OrderChanged
from streams.parts import Parts
from streams.stores.reader_kafka import TopicReader
from streams.topics import CHANGED, DECIDED

K = TypeVar("K")
T = TypeVar("T")


class Watch(Generic[K, T]):
    """What was announced, by key in order of arrival."""

    def __init__(self, reader: TopicReader, kind: type[T], key: Callable[[T], K]) -> None:
        self._reader = reader
        self._decode = msgspec.json.Decoder(kind).decode
        self._key = key
        self.heard: dict[K, list[T]] = defaultdict(list)
        self.count = 0

    async def look(self, *, timeout_s: float = 0.1) -> None:
        """Take in what has arrived."""
        for records in (await self._reader.next(timeout_s=timeout_s)).values():
            for record in records:
                self._take(record)

    async def until(self, enough: Callable[[], bool], *, within_s: float) -> None:
        """Look until it is enough; fails the test when it is not in time."""
        deadline = monotonic() + within_s
        while not enough():
            assert monotonic() < deadline, f"gave up after {self.count} announcements on {len(self.heard)} keys"
            await self.look()

    def _take(self, record: Record) -> None:
        assert record.value is not None
        found = self._decode(record.value)
        self.heard[self._key(found)].append(found)
        self.count += 1


@asynccontextmanager
async def decisions(parts: Parts) -> AsyncIterator[Watch[tuple[str, str], Decision]]:
    """Decisions by channel and submission id."""
    reader = await TopicReader.open(parts.settings.kafka_bootstrap, DECIDED.name, start="end")
    try:
        yield Watch(reader, Decision, lambda d: (d.channel, d.submission_id))
    finally:
        await reader.close()


@asynccontextmanager
async def changes(parts: Parts) -> AsyncIterator[Watch[object, OrderChanged]]:
    """Changes by order id."""
    reader = await TopicReader.open(parts.settings.kafka_bootstrap, CHANGED.name, start="end")
    try:
        yield Watch(reader, OrderChanged, lambda c: c.order_id)
    finally:
        await reader.close()
