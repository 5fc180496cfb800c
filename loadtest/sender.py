"""Kafka's producing side for a generator: record batches filled by hand, one request under way for each partition."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.stores.kafka_access import Brokers, access_to
from streams.stores.kafka_faults import explain, why_unreachable

BATCH_BYTES = 900_000
"""One produce request's records of a partition; under the topics' `max.message.bytes` of 1 MiB."""
TIMEOUT_S = 60.0


@dataclass(slots=True)
class _Lane:
    """One partition: a batch that fills, full ones behind it, and the task that sends them in order.

    Beside each batch stand the intended times of its records.
    """

    filling: Any
    intended_ms: list[int] = field(default_factory=list)
    full: list[tuple[Any, list[int]]] = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None


class Sender:
    """Sends to one topic. What gathers while a request is under way goes with the next."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._lanes: dict[int, _Lane] = {}
        self._acknowledged = asyncio.Event()
        self.unacknowledged = 0
        """Records handed over and not yet confirmed by Kafka."""
        self.acknowledged_after_ms: Counter[int] = Counter()
        """Records that Kafka has confirmed, by how long after their intended time; whoever reads it may clear it."""

    @classmethod
    async def connect(cls, brokers: Brokers, topic: str) -> "Sender":
        """Connect to the brokers; raises `LogUnavailable`, or `LogRefused` when they do not want us."""
        brokers = access_to(brokers)
        producer = AIOKafkaProducer(
            **brokers.options(),
            enable_idempotence=brokers.idempotent,
            acks="all",
            max_batch_size=BATCH_BYTES,
            max_request_size=12 * BATCH_BYTES,
            linger_ms=0,
            request_timeout_ms=int(TIMEOUT_S * 1000),
        )
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await producer.stop()
            raise await why_unreachable(brokers, error) from error
        return cls(producer, topic)

    def put(self, rows: "list[tuple[int, int, bytes | None, bytes]]", malformed: int, at_ms: int, tail: bytes) -> int:
        """Add records, each `(kind, partition, key, head)`, to their batches; returns how many were malformed.

        `tail` completes a head; records of the kind `malformed` are sent as they are.
        """
        lanes, bad = self._lanes, 0
        for kind, partition, key, head in rows:
            if kind == malformed:
                value = head
                bad += 1
            else:
                value = head + tail
            lane = lanes.get(partition) or self._lane(partition)
            if lane.filling.append(timestamp=at_ms, key=key, value=value) is None:
                lane.full.append((lane.filling, lane.intended_ms))
                lane.filling, lane.intended_ms = self._producer.create_batch(), []
                if lane.filling.append(timestamp=at_ms, key=key, value=value) is None:
                    raise AssertionError(f"a record exceeds {BATCH_BYTES} bytes")
            lane.intended_ms.append(at_ms)
        self.unacknowledged += len(rows)
        return bad

    def flush(self) -> None:
        """Start a request for each partition that has records and none under way. Raises what a request ended with."""
        for partition, lane in self._lanes.items():
            if lane.task is not None and lane.task.done():
                lane.task.result()
                lane.task = None
            if lane.task is None and (lane.full or lane.filling.record_count()):
                lane.task = asyncio.create_task(self._drain(partition, lane))

    async def wait_below(self, records: int) -> None:
        """Wait until fewer records than that are unacknowledged."""
        while self.unacknowledged >= records:
            self.flush()  # raises if a request has failed: then nothing more would be acknowledged
            self._acknowledged.clear()
            await self._acknowledged.wait()

    async def close(self) -> None:
        """Give the connections back."""
        await self._producer.stop()

    def _lane(self, partition: int) -> _Lane:
        lane = self._lanes[partition] = _Lane(self._producer.create_batch())
        return lane

    async def _drain(self, partition: int, lane: _Lane) -> None:
        try:
            while lane.full or lane.filling.record_count():
                if lane.full:
                    batch, intended_ms = lane.full.pop(0)
                else:
                    batch, intended_ms = lane.filling, lane.intended_ms
                    lane.filling, lane.intended_ms = self._producer.create_batch(), []
                batch.close()
                await (await self._producer.send_batch(batch, self._topic, partition=partition))
                self.unacknowledged -= batch.record_count()
                now_ms = time.time_ns() // 1_000_000
                for at_ms, records in Counter(intended_ms).items():
                    self.acknowledged_after_ms[now_ms - at_ms] += records
                self._acknowledged.set()
        except KafkaError as error:
            raise explain(error, f"confirm records of {self._topic}-{partition}") from error
        finally:
            self._acknowledged.set()
