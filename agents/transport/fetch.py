"""The consumer's own thread: fetching by partition, with a wait that can be cut short, and commits that may fail.

Relies on aiokafka 0.14: `fetched_records(partitions, timeout=0, max_records)` gives what was prefetched for these
partitions without waiting, and `_create_fetch_waiter` a future that completes when more has come. What was prefetched
stands in `_records`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError, KafkaError, KafkaTimeoutError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types.tuples import TP

from agents.transport.settings import TransportSettings
from streams.chunks import Record
from streams.stores import kafka_resets, lenient_records

lenient_records.install()
kafka_resets.install()

IDLE_FETCH_S = 1.0  # a fetch that finds nothing returns after this, or when it is woken to read more partitions


@dataclass(slots=True, eq=False)
class FetchRequest:
    """One pass over the partitions that have room, the longest unserved first. Made by the main thread.

    `void` is set by the main thread as soon as flow stops, and that is always followed by a seek to the committed
    offsets, or by the end. So what a void request has drained is read again, and may be dropped.
    """

    partitions: Sequence[TP]
    max_chunks: int
    void: bool = False
    woken: bool = False
    waiter: "asyncio.Future[None] | None" = None  # belongs to the consumer's thread

    def wake(self) -> None:
        """Return now with what there is. Only in the consumer's thread."""
        self.woken = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Fetched(NamedTuple):
    """Records of one partition, and the partition's high watermark as the fetch saw it."""

    tp: TP
    records: list[Record]
    highwater: int | None


class ChunkConsumerThread(AIOKafkaConsumerThread):
    """Faust's aiokafka thread with a fetch that serves every ready partition, and a commit that survives a failure."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        settings: TransportSettings = self.consumer.settings
        # Faust hard-codes a wait of 1.5 s and offers no setting for the rest. aiokafka reads them when it starts.
        for name in ("fetch_max_wait_ms", "fetch_min_bytes", "fetch_max_bytes", "max_partition_fetch_bytes"):
            assert hasattr(consumer, f"_{name}"), f"aiokafka keeps {name} elsewhere now"
            setattr(consumer, f"_{name}", getattr(settings, name))
        # What a producer aborted was never submitted. Faust asks for that in its exactly-once mode only.
        assert hasattr(consumer, "_isolation_level"), "aiokafka keeps the isolation level elsewhere now"
        consumer._isolation_level = "read_committed"
        return consumer

    async def on_thread_stop(self) -> None:
        """Leave the group, if a broker answers. With none, aiokafka looks for a coordinator for ever, or lets the
        cancellation of its own fetch escape; either would leave the main thread waiting for this one.
        """
        try:
            async with asyncio.timeout(self.consumer.settings.commit_timeout_s):
                await super().on_thread_stop()
        except (TimeoutError, asyncio.CancelledError):
            self.log.warning("No broker answers: leaving the group without a word, it notices by the session timeout")

    def _stopped_set(self) -> None:
        if not self.thread_loop.is_closed():  # after a crash the thread may have ended before it is told to
            super()._stopped_set()

    def wake(self, request: FetchRequest) -> None:
        """Cut the wait of a fetch short, from the main thread."""
        if not self.thread_loop.is_closed():
            self.thread_loop.call_soon_threadsafe(request.wake)

    async def fetch(self, request: FetchRequest) -> list[Fetched]:
        """At most one chunk for each wanted partition that has records; waits up to `IDLE_FETCH_S` for the first."""
        result: list[Fetched] = await self.call_thread(self._fetch, request)
        return result

    async def _fetch(self, request: FetchRequest) -> list[Fetched]:
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher
        deadline = monotonic() + IDLE_FETCH_S
        with fetcher._subscriptions.fetch_context():  # tells aiokafka that we have not stopped polling
            while True:
                fetched = await self._take(consumer, request)
                remaining = deadline - monotonic()
                if fetched or request.void or request.woken or remaining <= 0:
                    return fetched
                request.waiter = waiter = fetcher._create_fetch_waiter()
                await asyncio.wait([waiter], timeout=remaining)
                if waiter.done():
                    waiter.result()  # raises what the group coordinator could not get over
                else:
                    waiter.cancel()

    async def _take(self, consumer: Any, request: FetchRequest) -> list[Fetched]:
        fetched: list[Fetched] = []
        fetcher = consumer._fetcher
        most = self.consumer.settings.chunk_max_records
        for tp in request.partitions:
            if consumer._closed or fetcher._closed:
                raise ConsumerStoppedError
            # Asked before every partition: past this point nothing is awaited until the records are drained, so a
            # seek, which runs in this thread too, cannot come between.
            if request.void or fetcher._subscriptions.reassignment_in_progress:
                break
            _take_as_parsed(fetcher._records.get(tp))
            drained = await fetcher.fetched_records({tp}, timeout=0, max_records=most)
            for records in drained.values():
                fetched.append(Fetched(tp, records, consumer.highwater(TopicPartition(*tp))))
            if len(fetched) >= request.max_chunks:
                break
        return fetched

    async def ends(self, partitions: Sequence[TP]) -> dict[TP, tuple[int, int]]:
        """Of each partition: the next offset to be fetched, and where it ends. Asks the broker."""
        result: dict[TP, tuple[int, int]] = await self.call_thread(self._ends, partitions)
        return result

    async def _ends(self, partitions: Sequence[TP]) -> dict[TP, tuple[int, int]]:
        consumer = self._ensure_consumer()
        ends = await consumer.end_offsets([TopicPartition(*tp) for tp in partitions])
        return {TP(*tp): (await consumer.position(tp), end) for tp, end in ends.items()}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit; False when it did not happen and may be tried again. Other errors crash the worker.

        Bounded, where aiokafka tries for ever: a call that never ends would keep the thread from stopping.
        """
        consumer = self._ensure_consumer()
        assigned = self.assignment()
        mine = {TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items() if tp in assigned}
        if not mine:
            return False
        try:
            async with asyncio.timeout(self.consumer.settings.commit_timeout_s):
                await consumer.commit(mine)
        except TimeoutError:
            self.log.warning("Commit not answered, trying again at the next interval")
            return False
        except (CommitFailedError, IllegalStateError) as exc:
            # The group moved on: the partitions are, or will be, read from their committed offsets by their new owner.
            self.log.warning("Commit came too late, the group has rebalanced: %s", exc)
            return False
        except KafkaError as exc:
            if exc.retriable or isinstance(exc, KafkaTimeoutError):
                self.log.warning("Commit failed, trying again at the next interval: %r", exc)
                return False
            self.log.error("Commit refused for good: %r", exc)
            await self.crash(exc)
            return False
        now = monotonic()
        self.tp_last_committed_at.update({TP(*tp): now for tp in mine})
        return True


def _take_as_parsed(prefetched: Any) -> None:
    """Let prefetched records be handed out as aiokafka's parser made them, in C.

    It copies each into a dataclass, which costs more than the parsing; topic and partition are known without.
    """
    if isinstance(prefetched, FetchResult) and prefetched.has_more():
        records = prefetched._partition_records
        assert hasattr(records, "_consumer_record"), "aiokafka copies records elsewhere now"
        records._consumer_record = _as_parsed


def _as_parsed(_: TopicPartition, record: Record) -> Record:
    return record
