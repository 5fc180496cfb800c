"""Kafka's producing side over aiokafka: whole batches per partition, acknowledged by all in-sync replicas.

`send()` costs aiokafka some 25 us a record; a batch filled by hand costs a tenth of that, and carries producer id and
sequence like any other where the broker knows them (decision 0016).
"""

import asyncio
import contextlib
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerClosed, UnknownError

from streams.errors import FloodwayError, LogRefused, UnknownThing
from streams.stores import kafka_resets
from streams.stores.kafka_access import Brokers, KafkaAccess, access_to
from streams.stores.kafka_faults import explain, why_unreachable
from streams.stores.log import Entry, Log

kafka_resets.install()

BATCH_BYTES = 900_000
"""One produce request's records; under the topics' `max.message.bytes` of 1 MiB with room for the envelope."""
CLOSE_S = 5.0


class KafkaLog(Log):
    """A producer. Make it with `connect`.

    An idempotent producer that failed is done with: the broker waits for the sequence number of what was given up, and
    refuses everything behind it. So each failure begins a new one, with a new id; what was on its way to other
    partitions at that moment fails too, and its caller repeats it.
    """

    def __init__(self, brokers: KafkaAccess, producer: AIOKafkaProducer, timeout_s: float) -> None:
        self._brokers = brokers
        self._producer: AIOKafkaProducer | None = producer
        self._timeout_s = timeout_s
        self._renewing = asyncio.Lock()

    @classmethod
    async def connect(cls, brokers: Brokers, *, timeout_s: float = 30.0) -> "KafkaLog":
        """Connect to the brokers; raises `LogUnavailable`, or `LogRefused` when they do not want us."""
        brokers = access_to(brokers)
        return cls(brokers, await _producer(brokers, timeout_s), timeout_s)

    async def append(self, topic: str, partition: int, entries: Sequence[Entry]) -> None:
        """See `Log`."""
        producer = await self._current()
        try:
            async with asyncio.timeout(self._timeout_s):
                pending = []
                batch = producer.create_batch()
                for entry in entries:
                    if not self._append_to(batch, entry):
                        pending.append(await self._send(producer, batch, topic, partition))
                        batch = producer.create_batch()
                        added = self._append_to(batch, entry)
                        assert added, "a batch takes its first record, however large"
                if batch.record_count():
                    pending.append(await self._send(producer, batch, topic, partition))
                await asyncio.gather(*pending)
        except (KafkaError, TimeoutError, OSError) as error:
            raise await self._failed(producer, error, f"confirm records of {topic}-{partition}") from error

    @staticmethod
    def _append_to(batch: object, entry: Entry) -> bool:
        meta = batch.append(  # type: ignore[attr-defined]  # aiokafka has no types
            timestamp=entry.timestamp_ms, key=entry.key, value=entry.value, headers=list(entry.headers)
        )
        return meta is not None

    @staticmethod
    async def _send(producer: AIOKafkaProducer, batch: object, topic: str, partition: int) -> "asyncio.Future[object]":
        batch.close()  # type: ignore[attr-defined]
        future: asyncio.Future[object] = await producer.send_batch(batch, topic, partition=partition)
        return future

    async def partitions(self, topic: str) -> int:
        """See `Log`."""
        producer = await self._current()
        try:
            found = await producer.partitions_for(topic)
        except KafkaError as error:
            raise explain(error, f"tell of topic {topic}") from error
        if not found:
            raise UnknownThing(f"Topic {topic} does not exist; create it with `floodway init`.")
        return len(found)

    async def ping(self) -> None:
        """Ask a broker for metadata; raises `LogUnavailable` when none answers."""
        producer = await self._current()
        try:
            async with asyncio.timeout(self._timeout_s):
                await producer.client.fetch_all_metadata()
        except (KafkaError, TimeoutError, OSError) as error:
            raise explain(error, "answer") from error

    async def close(self) -> None:
        """See `Log`. What is not confirmed within a few seconds is given up."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                await producer.flush()
        except TimeoutError:
            await _abort(producer)
        else:
            await producer.stop()

    async def _current(self) -> AIOKafkaProducer:
        async with self._renewing:
            if self._producer is None:
                self._producer = await _producer(self._brokers, self._timeout_s)
            return self._producer

    async def _failed(self, producer: AIOKafkaProducer, error: BaseException, what: str) -> FloodwayError:
        sender = producer._sender.sender_task  # its end is the producer's: every later call would fail alike
        if self._brokers.idempotent or sender is None or sender.done():
            async with self._renewing:
                if self._producer is producer:
                    self._producer = None
                    await _abort(producer)
        return explain(error, what)


async def _producer(brokers: KafkaAccess, timeout_s: float) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        **brokers.options(),
        acks="all",
        enable_idempotence=brokers.idempotent,
        max_batch_size=BATCH_BYTES,
        max_request_size=BATCH_BYTES + 65_536,
        linger_ms=0,
        request_timeout_ms=int(timeout_s * 1000),
    )
    try:
        await producer.start()
    except UnknownError as error:  # what the embedded broker answers to InitProducerId
        await producer.stop()
        raise LogRefused(
            f"Kafka at {brokers.bootstrap} knows no idempotent producers; set FLOODWAY_KAFKA_IDEMPOTENT=false."
        ) from error
    except (KafkaError, OSError) as error:
        await producer.stop()
        raise await why_unreachable(brokers, error) from error
    return producer


async def _abort(producer: AIOKafkaProducer) -> None:
    """End a producer without a flush, which would wait for a broker that may never come back.

    aiokafka has no call for that. In this order: with the connections gone, what is under way fails at once. The sender
    would then wait for fresh metadata before it lets go of what may be tried again, and nobody fetches any any more.
    """
    producer._closed = True
    producer.client._maybe_wait_metadata = _at_once
    await producer.client.close()
    with contextlib.suppress(Exception):  # it may have died of its own error
        async with asyncio.timeout(CLOSE_S):
            await producer._sender.close()
    producer._message_accumulator.fail_all(ProducerClosed())


async def _at_once() -> None:
    """Wait for nothing."""
