"""Reports on orders, and holds whose time is up: ask the stock, write the ledger, tell the world.

Chunk-wise like intake. Every step is idempotent, so a chunk that is read again does nothing twice; the announcement
alone may be repeated, and carries the order's id.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from streams import dead_letters
from streams.chunks import Chunk, Record
from streams.core import lifecycle
from streams.core.books import OrderRecord, State, StepResult
from streams.core.decode import MessageDecoder, Undecodable, instant_out_of_range
from streams.core.stock import End, Expired
from streams.dead_letters import Dead
from streams.guard import StockGuard
from streams.instants import to_datetime, to_ms
from streams.messages import OrderChanged, Report, ReportType
from streams.parts import Parts
from streams.retry import until_available
from streams.stores.ledger_rules import past
from streams.stores.log import Entry
from streams.stores.stock import MAX_BATCH
from streams.topics import CHANGED, REPORTED_DLQ, Topic

_Reported = tuple[Record, Report]

FORGOTTEN_RETENTIONS = 2
"""Redis remembers a decision for two retentions at the most."""

RETAKES_AT_ONCE = 8
"""Late payments that are asked for side by side: rare, one script call each, and few connections to share."""

logger = logging.getLogger(__name__)

_decoder = MessageDecoder(Report)
_LOST = Undecodable(
    "hold_lost", "the ledger says held, the stock knows neither hold nor end", fix="run `floodway verify`, then replay"
)
_REPEATED = StepResult.REPEATED
_encode = msgspec.json.Encoder().encode


class _Ended(NamedTuple):
    """What one look for expired holds came to: how many the ledger took, what may be settled, what is to be said."""

    written: int
    settled: list[bytes]
    said: list[OrderChanged]


class Lifecycle:
    """Carries orders from their decision on."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._max_delay_s = parts.settings.retry_max_delay_s
        self._guard = StockGuard(parts.ledger, max_delay_s=self._max_delay_s, recover=parts.recover)
        self._cap = dead_letters.DeadLetterCap(parts.settings.dead_letter_max_share)
        self._unwritten = 0
        self._retakes = asyncio.Semaphore(RETAKES_AT_ONCE)

    async def take(self, chunk: Chunk) -> None:
        """Apply a chunk of reports, in order for each order, and acknowledge it. Raises `TooManyDeadLetters`."""
        await self._parts.let_in()
        reports, dead = _decode(chunk)
        self._cap.count(len(chunk.records), len(dead))
        orders = await self._orders({r.order_id for _, r in reports})
        known: list[_Reported] = []
        for record, report in reports:
            if report.order_id in orders:
                known.append((record, report))
            else:
                why = Undecodable(
                    "unknown_order", f"no accepted order {report.order_id}", "$.order_id", "send the announced order id"
                )
                dead.append(dead_letters.bury(chunk, record, why))
        for wave in _waves(known):
            lost = await self._apply(wave, orders)
            dead += [dead_letters.bury(chunk, record, _LOST) for record in lost]
        await self._bury(dead, chunk.partition)
        chunk.acknowledge()

    async def expire_due(self) -> int:
        """End the holds that are due, one bounded batch; returns how many the ledger took."""
        found = await self._guard.call("expire", self._expire_under)
        await self._announce(found.said)
        if found.settled:
            stock = self._parts.stock
            # The ledger has these, so under any epoch nobody waits for them.
            await self._guard.call("settle", lambda epoch: stock.settle(epoch, found.settled))
        return found.written

    async def _expire_under(self, epoch: int) -> _Ended:
        parts = self._parts
        now_ms = parts.clock.now_ms()
        limit = min(MAX_BATCH, parts.settings.expiry_batch + self._unwritten)
        found = await parts.stock.expire_due(epoch, now_ms=now_ms, limit=limit)
        if not found:  # then nothing is written that would be refused if this stock were past
            await self._check_newest(epoch)
            return _Ended(0, [], [])
        orders = await parts.ledger.orders(list({UUID(bytes=hold.order_id) for hold in found}))
        # A hold that the ledger does not know yet is on its way there: it stays unsettled and comes again.
        written = [hold for hold in found if UUID(bytes=hold.order_id) in orders]
        unwritten = [hold for hold in found if UUID(bytes=hold.order_id) not in orders]
        forgotten = self._forgotten(unwritten, now_ms)
        self._unwritten = len(unwritten) - len(forgotten)
        mine = [hold for hold in written if _is_of(hold, orders[UUID(bytes=hold.order_id)])]
        now = to_datetime(now_ms)
        outcomes = [lifecycle.expired(hold, orders[UUID(bytes=hold.order_id)], now) for hold in mine]
        said = await self._take_steps(epoch, outcomes, orders)
        return _Ended(len(written), [hold.order_id for hold in [*written, *forgotten]], said)

    def _forgotten(self, unwritten: Sequence[Expired], now_ms: int) -> list[Expired]:
        """Those whose submission nobody will bring any more.

        Redis has forgotten the decision by then, so a submission that still came would be decided anew. Their units
        are free again; what remains is an entry that would wait for ever and take room from others.
        """
        oldest_ms = now_ms - int(FORGOTTEN_RETENTIONS * self._parts.settings.dedupe_retention_s * 1000)
        forgotten = [hold for hold in unwritten if hold.due_ms < oldest_ms]
        if forgotten:
            logger.warning("%d expired holds were of orders that never reached the ledger", len(forgotten))
        return forgotten

    async def _orders(self, order_ids: Iterable[UUID]) -> dict[UUID, OrderRecord]:
        ids = list(order_ids)
        if not ids:
            return {}
        return await until_available("orders", lambda: self._parts.ledger.orders(ids), max_delay_s=self._max_delay_s)

    async def _apply(self, wave: Sequence[_Reported], orders: dict[UUID, OrderRecord]) -> list[Record]:
        """Apply reports that are on different orders; returns the records that the stock could not make sense of.

        The stock acts and the ledger writes under one epoch; under a new one, and after any outage, both do it again.
        """
        tries = 0

        async def call(epoch: int) -> tuple[set[UUID], list[OrderChanged]]:
            nonlocal tries
            tries += 1
            if tries > 1:  # it may have taken long, and much may have happened meanwhile
                orders.update(await self._parts.ledger.orders([report.order_id for _, report in wave]))
            return await self._apply_under(epoch, [report for _, report in wave], orders)

        lost, said = await self._guard.call("reports", call)
        await self._announce(said)
        return [record for record, report in wave if report.order_id in lost]

    async def _apply_under(
        self, epoch: int, reports: Sequence[Report], orders: dict[UUID, OrderRecord]
    ) -> tuple[set[UUID], list[OrderChanged]]:
        """Returns the orders that the stock has lost, and what to announce of the others."""
        stock = self._parts.stock
        payments = [r for r in reports if r.type is ReportType.PAYMENT_SUCCEEDED]
        cancels = [r for r in reports if r.type is ReportType.ORDER_CANCELLED]
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
            await self._check_newest(epoch)
        now = to_datetime(self._parts.clock.now_ms())
        clear = [
            lifecycle.apply(r, orders[r.order_id], ends[r.order_id], now) for r in reports if r.order_id not in lost
        ]
        return lost, await self._take_steps(epoch, clear, orders)

    async def _check_newest(self, epoch: int) -> None:
        """Raise `Fenced` under a past epoch: a stock of that may live on, cut off, and know nothing of later orders."""
        newest = await self._parts.ledger.epoch()
        if newest != epoch:
            raise past(epoch, newest)

    async def _retake_if_late(self, epoch: int, order: OrderRecord, end: End) -> End:
        pools = lifecycle.late_pools(order, end)
        if not pools:
            return end
        async with self._retakes:
            return await self._parts.stock.retake(epoch, order.order_id.bytes, pools, order.quantities)

    async def _take_steps(
        self, epoch: int, outcomes: Sequence[lifecycle.Outcome], orders: dict[UUID, OrderRecord]
    ) -> list[OrderChanged]:
        """Write steps of different orders, bring `orders` up to date with them, and return what to announce."""
        if not outcomes:
            return []
        steps = [outcome.step for outcome in outcomes]
        token, results = await self._parts.ledger.take_steps(steps, epoch)
        # Repeated may be this very call, whose first answer was lost: then what was read before it is out of date.
        orders.update(await self._orders(s.order_id for s, r in zip(steps, results, strict=True) if r is _REPEATED))
        said: list[OrderChanged] = []
        for outcome, result in zip(outcomes, results, strict=True):
            step, order = outcome.step, orders[outcome.step.order_id]
            if result is StepResult.TAKEN:
                orders[step.order_id] = order._replace(state=step.state)
            # A repeated step is announced again: whoever took it first may have died before saying so. But not once
            # the order has gone on from there, or the last that is heard of it would be a state that is past.
            if result is StepResult.TAKEN or (result is _REPEATED and order.state is step.state):
                said.append(lifecycle.announcement(outcome, order, token))
        return said

    async def _announce(self, changes: Sequence[OrderChanged]) -> None:
        if not changes:
            return
        now_ms = self._parts.clock.now_ms()
        count = await self._partitions(CHANGED)
        by_partition: dict[int, list[Entry]] = defaultdict(list)
        for change in changes:
            partition = change.order_id.int % count
            by_partition[partition].append(Entry(str(change.order_id).encode(), _encode(change), now_ms))
        for partition, entries in by_partition.items():
            await self._append(CHANGED, partition, entries)

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


def _decode(chunk: Chunk) -> tuple[list[_Reported], list[Dead]]:
    reports: list[_Reported] = []
    dead: list[Dead] = []
    for record in chunk.records:
        found = _decoder.decode(record.value)
        if not isinstance(found, Undecodable):
            wrong = instant_out_of_range(found.occurred_at.timestamp(), "$.occurred_at")
            if wrong is None:
                reports.append((record, found))
                continue
            found = wrong
        dead.append(dead_letters.bury(chunk, record, found))
    return reports, dead


def _waves(reported: Sequence[_Reported]) -> list[list[_Reported]]:
    """Split so that no wave has two reports of one order, and each order's reports keep their order."""
    waves: list[list[_Reported]] = []
    depth: dict[UUID, int] = defaultdict(int)
    for record, report in reported:
        at = depth[report.order_id]
        depth[report.order_id] += 1
        if at == len(waves):
            waves.append([])
        waves[at].append((record, report))
    return waves


def _is_of(hold: Expired, order: OrderRecord) -> bool:
    """Whether the hold is the one in the ledger, not a second one taken for a repeat that Redis had forgotten."""
    return hold.due_ms == to_ms(order.held_until)
