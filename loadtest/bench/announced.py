"""Tells when the last decision was announced, at little cost for what is measured."""

import contextlib
from collections.abc import AsyncIterator
from time import monotonic

from streams.errors import Unavailable
from streams.stores.kafka_access import Brokers
from streams.stores.reader_kafka import TopicReader

LATE_S = 0.1
"""A record too many comes within so long of the last one."""


class Announced:
    """Counts the records of a topic as they come, undecoded.

    To read them is cheaper than to ask where the topic ends: the embedded broker looks through its records for that.
    """

    def __init__(self, reader: TopicReader) -> None:
        self._reader = reader
        self.seen = 0

    async def until(self, wanted: int, *, timeout_s: float) -> float:
        """Wait until so many have come; returns the `time.monotonic` of the last. Raises `Unavailable`."""
        deadline = monotonic() + timeout_s
        while self.seen < wanted:
            await self._look(0.1)
            if monotonic() > deadline:
                raise Unavailable(f"{self._reader.topic}: {self.seen} of {wanted} records came in {timeout_s:g} s.")
        return monotonic()

    async def all_seen(self) -> int:
        """How many have come, with what should not have come any more."""
        await self._look(LATE_S)
        return self.seen

    async def _look(self, timeout_s: float) -> None:
        self.seen += sum(map(len, (await self._reader.next(timeout_s=timeout_s)).values()))


@contextlib.asynccontextmanager
async def announced(brokers: Brokers, topic: str) -> AsyncIterator[Announced]:
    """Count what is appended to the topic from now on."""
    reader = await TopicReader.open(brokers, topic, start="end")
    try:
        yield Announced(reader)
    finally:
        await reader.close()
