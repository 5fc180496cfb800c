"""Tells when the last decision was announced, at next to no cost for what is measured."""

import asyncio
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.errors import Unavailable
from streams.stores.kafka_access import Brokers, access_to
from streams.stores.reader_kafka import TopicReader

LOOK_S = 0.02
QUIET_S = 0.2
"""Nothing new for so long: worth counting exactly."""


class Announced:
    """Watches where a topic ends instead of reading it.

    The embedded broker tells the offset behind the first record of the last batch: that changes with every batch, and
    so gives the moment of the last one; how many there are is counted once it is quiet.
    """

    def __init__(
        self, brokers: Brokers, topic: str, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
    ) -> None:
        self._brokers, self._topic = brokers, topic
        self._consumer, self._partitions = consumer, partitions

    @classmethod
    async def open(cls, brokers: Brokers, topic: str, partitions: int) -> "Announced":
        """Connect."""
        consumer = AIOKafkaConsumer(**access_to(brokers).options(), enable_auto_commit=False)
        await consumer.start()
        return cls(brokers, topic, consumer, [TopicPartition(topic, number) for number in range(partitions)])

    async def count(self) -> int:
        """How many records the topic has."""
        reader = await TopicReader.open(self._brokers, self._topic, start="end")
        await reader.close()
        return sum(reader.ends.values())

    async def until(self, wanted: int, *, timeout_s: float) -> float:
        """Wait until the topic has so many records; returns the `time.monotonic` of the last. Raises `Unavailable`.

        Call it before the work begins.
        """
        told, told_at, counted_at = None, monotonic(), 0.0
        deadline = told_at + timeout_s
        while True:
            now_told = await self._consumer.end_offsets(self._partitions)
            now = monotonic()
            if now_told != told:
                told, told_at = now_told, now
            elif now - told_at > QUIET_S and counted_at < told_at:
                counted_at = now
                if await self.count() >= wanted:
                    return told_at
            if now > deadline:
                raise Unavailable(f"{self._topic} has {await self.count()} of {wanted} records after {timeout_s:g} s.")
            await asyncio.sleep(LOOK_S)

    async def close(self) -> None:
        """Give the connection back."""
        await self._consumer.stop()
