"""Reports on orders, and holds whose time is up: ask the stock, write the ledger, tell the world.

Chunk-wise like intake. Every step is idempotent, so a chunk that is read again does nothing twice. What is to be told
is written with the steps, see `streams.outbox`: a process that dies leaves nothing unsaid.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from streams import dead_letters, quarantine, reports
from streams.agreement import check_newest
from streams.chunks import Chunk, Record
from streams.core import lifecycle
from streams.core.books import OrderRecord, State
from streams.core.decode import Undecodable
from streams.core.lifecycle import MOVING_STOCK, plain_step
from streams.core.normalise import Normaliser
from streams.core.stock import End
from streams.dead_letters import Dead
from streams.expiry import Expiry
from streams.guard import StockGuard
from streams.instants import to_datetime
from streams.messages import Report, ReportType
from streams.outbox import Outbox
from streams.parts import Parts
from streams.quarantine import Quarantine
from streams.reports import Reported, Waiting
from streams.restocking import Restocker
from streams.retry import until_available
from streams.sources import normalisers
from streams.steps import Told, find_orders, take_steps
from streams.stores.log import Entry
from streams.stores.stock import MAX_BATCH
from streams.telemetry import reported, synced
from streams.timing import timed
from streams.topics import REPORTED_DLQ, Topic

RETAKES_AT_ONCE = 8
"""Late payments that are asked for side by side: rare, one script call each, and few connections to share."""

OTHER = "other"
"""In metrics, every source that has no mapping: anybody may name any."""

_LOST = Undecodable(
    "hold_lost", "the ledger says held, the stock knows neither hold nor end", fix="run `floodway verify`, then replay"
)


class Lifecycle:
    """Carries orders from their decision on."""

    def __init__(self, parts: Parts, sources: Mapping[str, Normaliser] | None = None) -> None:
        self._parts = parts
        self._max_delay_s = parts.settings.retry_max_delay_s
        self._guard = StockGuard(parts.ledger, max_delay_s=self._max_delay_s, recover=parts.recover, stock=parts.stock)
        self._cap = dead_letters.DeadLetterCap(parts.settings.dead_letter_max_share)
        self._outbox = Outbox(parts)
        self._sources = normalisers(parts.settings.sources_dir) if sources is None else sources
        self._quarantine = Quarantine(parts, self._sources, self._outbox)
        self._expiry = Expiry(parts, self._guard, self._outbox)
        self._restocker = Restocker(parts, self._guard)
        self._looks_after_ms = 0
        self._retakes = asyncio.Semaphore(RETAKES_AT_ONCE)

    @timed("lifecycle")
    async def take(self, chunk: Chunk) -> None:
        """Apply a chunk of reports, and acknowledge it. Raises `TooManyDeadLetters`.

        Of those that move stock each order's are applied in their order; of all others the order does not matter.
        """
        await self._parts.let_in()
        found = reports.read(chunk, self._sources)
        dead, waiting = found.dead, found.waiting
        self._cap.count(len(chunk.records), len(dead) + len(waiting))
        known = found.reports
        if found.said:
            resolved, unknown = await reports.find_orders(found.said, self._parts)
            known = sorted([*known, *resolved], key=_offset) if known else resolved
            waiting += [Waiting(record, said.source, said.ref) for record, said in unknown]
        reported(report.type for _, report in known)
        lost, strangers = await self._apply_all(known)
        by_source = {record.offset: said for record, said in found.said}
        for record in strangers:
            said = by_source.get(record.offset)
            if said is None:
                dead.append(dead_letters.bury(chunk, record, reports.NO_ORDER))
            else:
                waiting.append(Waiting(record, said.source, said.ref))
        dead += [dead_letters.bury(chunk, record, _LOST) for record in lost]
        await self._quarantine.keep(waiting, chunk.partition)
        await self._bury(dead, chunk.partition)
        chunk.acknowledge()

    async def look_after(self) -> None:
        """See to what was left, no oftener than the outbox's grace: messages unsaid, records that can be taken now."""
        now_ms = self._parts.clock.now_ms()
        if now_ms < self._looks_after_ms:
            return
        await self.send_left()
        await self.put_back_left()
        while await self.take_waiting() >= quarantine.AT_ONCE:
            pass
        self._looks_after_ms = now_ms + int(self._parts.settings.outbox_grace_s * 1000)

    async def send_left(self) -> int:
        """Tell what processes that died have left unsaid; returns how many batches that were."""
        return await self._outbox.send_left()

    async def put_back_left(self) -> int:
        """Finish what processes that died have begun to put back on the shelf; returns how many claims that were."""
        return await self._restocker.take_left()

    async def take_waiting(self) -> int:
        """Take what waited in quarantine and can be taken by now; returns how many records that were."""
        return await self._quarantine.take(self._apply_all)

    async def expire_due(self) -> int:
        """End the holds that are due, one bounded batch; returns how many the ledger took."""
        return await self._expiry.expire_due()

    @timed("apply")
    async def _apply_all(self, reported: Sequence[Reported]) -> tuple[list[Record], list[Record]]:
        """Apply reports on any orders; returns the records that the stock has lost, and those of unknown orders."""
        lost: list[Record] = []
        strangers: list[Record] = []
        for at in range(0, len(reported), MAX_BATCH):
            some = reported[at : at + MAX_BATCH]
            orders = await find_orders(self._parts, {report.order_id for _, report in some})
            known: list[Reported] = []
            for record, report in some:
                order = orders.get(report.order_id)
                if order is None:
                    strangers.append(record)
                else:
                    known.append((record, lifecycle.as_it_counts(report, order)))
            for wave in _waves(known):
                lost += await self._apply(wave, orders)
        return lost, strangers

    async def _apply(self, wave: Sequence[Reported], orders: dict[UUID, OrderRecord]) -> list[Record]:
        """Apply reports of which each order has one that moves stock; returns records the stock made no sense of.

        The stock acts and the ledger writes under one epoch; under a new one, and after any outage, both do it again.
        """
        tries = 0

        async def call(epoch: int) -> tuple[set[UUID], Told]:
            nonlocal tries
            tries += 1
            if tries > 1:  # it may have taken long, and much may have happened meanwhile
                orders.update(await self._parts.ledger.orders(list({report.order_id for _, report in wave})))
            return await self._apply_under(epoch, [report for _, report in wave], orders)

        lost, told = await self._guard.call("reports", call)
        await self._outbox.send(told.messages, told.token)
        self._count_delays(told)
        await self._restocker.after([report for _, report in wave], told.written)
        return [record for record, report in wave if report.order_id in lost and report.type in MOVING_STOCK]

    def _count_delays(self, told: Told) -> None:
        steps = [taken.step for taken in told.written]
        known = self._sources
        synced(
            ((step.source if step.source in known else OTHER, step.occurred_at) for step in steps),
            to_datetime(self._parts.clock.now_ms()),
        )

    async def _apply_under(
        self, epoch: int, reported: Sequence[Report], orders: dict[UUID, OrderRecord]
    ) -> tuple[set[UUID], Told]:
        """Returns the orders that the stock has lost, and what to tell of the others."""
        stock = self._parts.stock
        moving = [r for r in reported if r.type in MOVING_STOCK]
        payments = [r for r in moving if r.type is ReportType.PAYMENT_SUCCEEDED]
        cancels = [r for r in moving if r.type is not ReportType.PAYMENT_SUCCEEDED]
        ends: dict[UUID, End] = {}
        if payments:
            answers = await stock.confirm(epoch, [r.order_id.bytes for r in payments])
            retakes = [
                self._retake_if_late(epoch, orders[r.order_id], e) for r, e in zip(payments, answers, strict=True)
            ]
            ends.update(zip([r.order_id for r in payments], await asyncio.gather(*retakes), strict=True))
        if cancels:
            answers = await stock.release(epoch, [r.order_id.bytes for r in cancels])
            ends.update(zip([r.order_id for r in cancels], answers, strict=True))
        lost = {found for found, end in ends.items() if end is End.UNKNOWN and orders[found].state is State.HELD}
        if lost:
            await check_newest(self._parts.ledger, epoch)
        now = to_datetime(self._parts.clock.now_ms())
        clear = [
            lifecycle.apply(r, orders[r.order_id], ends[r.order_id], now) for r in moving if r.order_id not in lost
        ]
        plain = [plain_step(r, now) for r in reported if r.type not in MOVING_STOCK]
        return lost, await take_steps(self._parts, epoch, clear, plain, orders)

    async def _retake_if_late(self, epoch: int, order: OrderRecord, end: End) -> End:
        pools = lifecycle.late_pools(order, end)
        if not pools:
            return end
        async with self._retakes:
            return await self._parts.stock.retake(epoch, order.order_id.bytes, pools, order.quantities)

    async def _bury(self, dead: Sequence[Dead], source_partition: int) -> None:
        if not dead:
            return
        now_ms = self._parts.clock.now_ms()
        partition = source_partition % await self._partitions(REPORTED_DLQ)
        await self._append(REPORTED_DLQ, partition, [dead_letters.entry(d, failed_at_ms=now_ms) for d in dead])

    async def _partitions(self, topic: Topic) -> int:
        log = self._parts.log
        return await until_available("partitions", lambda: log.partitions(topic.name), max_delay_s=self._max_delay_s)

    async def _append(self, topic: Topic, partition: int, entries: Sequence[Entry]) -> None:
        log = self._parts.log
        await until_available(
            "announce", lambda: log.append(topic.name, partition, entries), max_delay_s=self._max_delay_s
        )


def _waves(reported: Sequence[Reported]) -> list[list[Reported]]:
    """Split so that no wave has two reports of one order that move stock, and each order's of those keep their order.

    All others go with the first wave: for them the order does not matter.
    """
    waves: list[list[Reported]] = []
    depth: dict[UUID, int] = defaultdict(int)
    for record, report in reported:
        at = 0
        if report.type in MOVING_STOCK:
            at = depth[report.order_id]
            depth[report.order_id] += 1
        if at == len(waves):
            waves.append([])
        waves[at].append((record, report))
    return waves


def _offset(reported: Reported) -> int:
    return reported[0].offset
