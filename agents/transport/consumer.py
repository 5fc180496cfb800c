"""The consumer that hands each fetched chunk to Faust's conductor as one event, and commits what was acknowledged.

What Faust's own consumer does per record is replaced: reading (`_drain_messages`), acknowledging (`ack`) and finding
the offset to commit (`_new_offset` and around it). What it does per partition and per rebalance is kept: flow control,
pausing, the commit timer, revoke and assign, the monitor.

How nothing is lost: chunks are only dropped here once flow has stopped, and Faust seeks every partition to its
committed offset before it lets flow start again. See `FetchRequest` for why no fetch can slip in between.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from threading import Thread
from time import monotonic, time
from typing import Any

from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted, ImproperlyConfigured
from faust.transport.drivers.aiokafka import Consumer as AIOKafkaConsumer
from faust.types.tuples import TP
from mode import Service

from agents.transport.chunk import Chunk, ChunkMessage
from agents.transport.fetch import ChunkConsumerThread, Fetched, FetchRequest
from agents.transport.offsets import OffsetTracker, Ticket
from agents.transport.settings import TransportSettings
from agents.transport.watchdog import LoopWatch, Partition, Stalled, StallWatch, Standing, end_now

STOP_AFTER_STALL_S = 15.0
ROOM_RECHECK_S = 1.0  # nothing depends on it: whatever makes room says so


@dataclass(slots=True)
class TransportStats:
    """Totals since the consumer was made."""

    chunks_delivered: int = 0
    records_delivered: int = 0
    chunks_acked: int = 0
    records_acked: int = 0
    commits: int = 0
    last_commit_s: float = 0.0  # since 1970
    chunks_returned: int = 0  # handed over, and taken back by a rebalance before they were acknowledged


class ChunkConsumer(AIOKafkaConsumer):
    """Faust consumer of chunks. One agent per topic; its concurrency is free. Not for Faust tables."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.offsets = OffsetTracker()
        self.stats = TransportStats()
        self._inflight: dict[Ticket, ChunkMessage] = {}
        self._held: dict[TP, Fetched] = {}  # fetched just before a pause; handed over after it
        self._served: dict[TP, int] = {}  # per partition, the number of the hand-over that served it last
        self._request: FetchRequest | None = None
        self._room = asyncio.Event()
        self._settled = asyncio.Event()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def settings(self) -> TransportSettings:
        """The app's limits; the defaults for an app that was not made by `chunk_app`."""
        settings: TransportSettings = getattr(self.app, "transport_settings", None) or TransportSettings()
        return settings

    async def on_start(self) -> None:
        """Refuse what chunks cannot feed."""
        await super().on_start()
        if self.app.tables.changelog_topics:
            raise ImproperlyConfigured("Faust tables read records, not chunks: keep state elsewhere, or use kafka://")

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch and hand over until the consumer or the fetcher stops. Started by Faust's `Fetcher` service."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow)
                else:
                    await self._drain_once()
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    async def _drain_once(self) -> None:
        await self._hand_over_held()
        request = self._next_request()
        if request is None:
            self._room.clear()
            await self.wait_first(self._room.wait(), timeout=ROOM_RECHECK_S)
            return
        self._request = request
        try:
            fetched = await self._thread.fetch(request)
            read = sum(len(part.records) for part in fetched)
            for part in fetched:
                if request.void:
                    return
                if part.tp in self._get_active_partitions():
                    await self._hand_over(part)
                else:
                    self._held[part.tp] = part
        finally:
            self._request = None
        # Where little comes at a time, each record would cost a fetch and a batch of its own. In any case agents run
        # between two fetches that were both served from what was prefetched.
        await asyncio.sleep(self.settings.linger_ms / 1000 if 0 < read < self.settings.chunk_max_records // 4 else 0)

    def _next_request(self) -> FetchRequest | None:
        """The partitions that may be read now, the longest unserved first; None when there is no room."""
        limits = self.settings
        held = sum(len(part.records) for part in self._held.values())
        max_chunks = (limits.max_inflight_records - self.offsets.records - held) // limits.chunk_max_records
        ready = [tp for tp in self._get_active_partitions() if tp not in self._held and self._has_room(tp)]
        if not ready or max_chunks < 1:
            return None
        ready.sort(key=lambda tp: self._served.get(tp, 0))
        return FetchRequest(ready, max_chunks)

    def _has_room(self, tp: TP) -> bool:
        return self.offsets.chunks(tp) < self.settings.max_inflight_chunks_per_partition

    async def _hand_over_held(self) -> None:
        for tp in [tp for tp in self._held if tp in self._get_active_partitions() and self._has_room(tp)]:
            part = self._held.pop(tp, None)
            if part is not None and self.flow_active:
                await self._hand_over(part)

    async def _hand_over(self, part: Fetched) -> None:
        tp, records, highwater = part
        ticket = self.offsets.delivered(tp, records[0].offset, records[-1].offset + 1, len(records))
        chunk = Chunk(tp.topic, tp.partition, records, partial(self._acknowledge, ticket))
        message = ChunkMessage.of(chunk, tp, self.app.consumer_generation_id)
        self._inflight[ticket] = message
        self.stats.chunks_delivered += 1
        self.stats.records_delivered += len(records)
        self._served[tp] = self.stats.chunks_delivered
        self._read_offset[tp] = message.offset
        if highwater is not None:
            self.app.monitor.track_tp_end_offset(tp, highwater)
        # The conductor waits for flow control; unless raced with it, a rebalance waits for us and we for the rebalance.
        delivery = self.callback(message)
        ended = await self.wait_first(delivery, self.suspend_flow.wait())
        if delivery in ended.done and not ticket.void and message.refcount != 1:
            raise ImproperlyConfigured(f"{message.refcount} agents read {tp.topic}: a chunk is acknowledged by one")

    # --- watching ----------------------------------------------------------------------------------------------------

    @Service.task
    async def _watch_loop(self) -> None:
        await LoopWatch(self.settings.stall_timeout_s).watch()

    @Service.task
    async def _watch_for_stalls(self) -> None:
        timeout_s = self.settings.stall_timeout_s
        watch = StallWatch(timeout_s, monotonic())
        while not self.should_stop:
            await self.sleep(min(5.0, timeout_s / 4))
            standings = await self._standings()
            excused_at_s = self.settings.last_wait_s()
            stalled = watch.look(monotonic(), standings, flowing=self.flow_active, excused_at_s=excused_at_s)
            if stalled is not None and not self.should_stop:
                # Stopping in order may wait for the very thing that hangs.
                last = Thread(target=end_now, args=(stalled,), kwargs={"after_s": STOP_AFTER_STALL_S}, daemon=True)
                last.start()
                await self.crash(Stalled(stalled))
                return

    async def _standings(self) -> "dict[Partition, Standing] | None":
        """How the assigned partitions stand; None when the client's thread does not answer in time."""
        mine = list(self._get_active_partitions()) if self.flow_active else []
        try:
            async with asyncio.timeout(self.settings.commit_timeout_s):
                ends = await self._thread.ends(mine) if mine else {}
        except TimeoutError:
            return None
        except (KafkaError, ConsumerNotStarted):
            return {}  # it answers; that the broker does not is an outage
        offsets = self.offsets
        return {
            tp: Standing(read_to, offsets.committable(tp), offsets.chunks(tp), end)
            for tp, (read_to, end) in ends.items()
        }

    # --- acknowledging -----------------------------------------------------------------------------------------------

    def ack(self, message: Any) -> bool:
        """Do nothing: Faust acknowledges what failed, too. `Chunk.acknowledge` is the only way; see `ChunkMessage`."""
        return False

    def _acknowledge(self, ticket: Ticket) -> bool:
        if not self.offsets.acked(ticket):
            return False
        self.stats.chunks_acked += 1
        self.stats.records_acked += ticket.records
        self._let_go(ticket)
        self._notice_room(TP(*ticket.tp))
        return True

    def _let_go(self, ticket: Ticket) -> None:
        message = self._inflight.pop(ticket)
        self._unacked_messages.discard(message)
        if message.tracked:  # a stream took it, and told the sensors
            self.app.sensors.on_message_out(message.tp, message.offset, message)
        self._settled.set()

    def _notice_room(self, tp: TP) -> None:
        self._room.set()
        request = self._request
        if request is not None and tp not in request.partitions and self._has_room(tp):
            self._thread.wake(request)

    # --- committing --------------------------------------------------------------------------------------------------

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        tps = [TP(*tp) for tp in self.offsets.partitions()]
        return [tp for tp in tps if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        return self.offsets.committable(tp)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        """Commit; only a commit that happened is remembered, so that one that failed is tried again."""
        await self.app.producer.flush()
        if not await self._commit(offsets):
            return False
        self._committed_offset.update(offsets)
        self.stats.commits += 1
        self.stats.last_commit_s = time()
        self.app.monitor.on_tp_commit(offsets)
        return True

    def committed_to(self, tp: Partition) -> int | None:
        """What was last committed of a partition; None before the first time."""
        offset: int | None = self._committed_offset.get(tp)
        return offset

    async def hand_back(self) -> None:
        """Stop handing over, give agents a moment to finish the chunks they work on, and commit.

        What is unacknowledged after `handback_grace_s` is read again by whoever gets the partition.
        """
        self.stop_flow()
        self.app.flow_control.suspend()  # streams skip the chunks they have not taken yet
        deadline = monotonic() + self.settings.handback_grace_s
        while any(message.tracked for message in self._inflight.values()) and monotonic() < deadline:
            self._settled.clear()
            async with _at_most(deadline - monotonic()):
                await self._settled.wait()
        await self.commit_now()

    async def commit_now(self) -> None:
        """Commit all that is acknowledged at this moment, for `commit_timeout_s` at most."""
        async with _at_most(self.settings.commit_timeout_s):
            await self.maybe_wait_for_commit_to_finish()  # or ours would do nothing, and leave out the latest
            await self.commit()

    async def wait_empty(self) -> None:
        """Bounded, unlike Faust's: an agent that hangs must not keep the group from rebalancing."""
        await self.hand_back()

    async def on_stop(self) -> None:
        """Commit for the last time. After a crash the consumer's thread is gone already, and there is no commit."""
        if not self.crashed:
            await self.commit_now()
        self.transport._topic_waiters.clear()

    # --- flow, pause, rebalance --------------------------------------------------------------------------------------

    def stop_flow(self) -> None:
        """Hand over nothing more; what a running fetch brings is dropped, to be read again after the next seek."""
        super().stop_flow()
        if self._request is not None:
            self._request.void = True
            self._thread.wake(self._request)

    def resume_flow(self) -> None:
        """Hand over again."""
        super().resume_flow()
        self._room.set()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Read these partitions again."""
        resumed = set(tps)
        super().resume_partitions(resumed)
        for tp in resumed:
            self._notice_room(tp)

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: the in-flight limits bound the streams' queues."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing: see `on_buffer_full`. Faust's would also wake a partition that was paused meanwhile."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit the acknowledged prefix while the partitions are still ours, then forget them."""
        if revoked:
            await self.hand_back()
        self._forget_all()
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Move every partition to its committed offset. Whatever was in flight comes again."""
        self._forget_all()
        await super().perform_seek()

    async def seek(self, partition: TP, offset: int) -> None:
        """Not while records flow: what is on its way from this partition would mix with what comes after."""
        if self.flow_active:
            raise ImproperlyConfigured("stop the flow before seeking a partition")
        self._forget_all()
        await super().seek(partition, offset)

    def _forget_all(self) -> None:
        """Faust's assignor revokes all partitions in every rebalance, and seeks all of them afterwards."""
        for ticket in self.offsets.reset():
            if ticket in self._inflight:
                self._let_go(ticket)
                self.stats.chunks_returned += 1
        self._held.clear()
        self._served.clear()


@asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    """End the body after this time, quietly: for waits whose end is only better, not needed."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            yield
    except TimeoutError:
        pass
