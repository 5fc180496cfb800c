"""Reports on orders, and holds whose time is up: ask the stock, write the ledger, tell the world.

Chunk-wise like intake. Every step is idempotent, so a chunk that is read again does nothing twice. What is to be told
is written with the steps, see `streams.outbox`: a process that dies leaves nothing unsaid.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from streams import dead_letters, reports
from streams.chunks import Chunk, Record
from streams.core import lifecycle
from streams.core.books import Message, OrderRecord, State, Step, StepResult, Taken
from streams.core.decode import Undecodable
from streams.core.effects import effects
from streams.core.lifecycle import MOVING_STOCK, plain_step
from streams.core.normalise import Normaliser, Said
from streams.core.stock import End, Expired
from streams.dead_letters import Dead
from streams.guard import StockGuard
from streams.instants import to_datetime, to_ms
from streams.messages import Report, ReportType
from streams.outbox import Outbox
from streams.parts import Parts
from streams.reports import Reported, Waited, Waiting
from streams.retry import until_available
from streams.sources import normalisers
from streams.stores.ledger_rules import past
from streams.stores.log import Entry
from streams.stores.stock import MAX_BATCH
from streams.topics import REPORTED_DLQ, Topic

FORGOTTEN_RETENTIONS = 2
"""Redis remembers a decision for two retentions at the most."""

RETAKES_AT_ONCE = 8
"""Late payments that are asked for side by side: rare, one script call each, and few connections to share."""

logger = logging.getLogger(__name__)

RESOLVED_AT_ONCE = 500
"""Records that are taken from quarantine in one go."""

_LOST = Undecodable(
    "hold_lost", "the ledger says held, the stock knows neither hold nor end", fix="run `floodway verify`, then replay"
)
_REPEATED = StepResult.REPEATED


class _Told:
    """What is to be told of one call to the ledger, made while it is written, and the token that covers it."""

    def __init__(self, outcomes: Sequence[lifecycle.Outcome], orders: Mapping[UUID, OrderRecord]) -> None:
        self._outcomes = {id(outcome.step): outcome for outcome in outcomes}
        self._orders = orders
        self.messages: list[Message] = []
        self.token = ""

    def __call__(self, written: Sequence[Taken]) -> Sequence[Message]:
        outcomes, orders = self._outcomes, self._orders
        self.messages = [
            message
            for taken in written
            for message in effects(taken, orders[taken.step.order_id], outcomes.get(id(taken.step)))
        ]
        return self.messages


class _Ended(NamedTuple):
    """What one look for expired holds came to: how many the ledger took, what may be settled, what is to be told."""

    written: int
    settled: list[bytes]
    told: "_Told"


class Lifecycle:
    """Carries orders from their decision on."""

    def __init__(self, parts: Parts, sources: Mapping[str, Normaliser] | None = None) -> None:
        self._parts = parts
        self._max_delay_s = parts.settings.retry_max_delay_s
        self._guard = StockGuard(parts.ledger, max_delay_s=self._max_delay_s, recover=parts.recover)
        self._cap = dead_letters.DeadLetterCap(parts.settings.dead_letter_max_share)
        self._outbox = Outbox(parts)
        self._sources = normalisers(parts.settings.sources_dir) if sources is None else sources
        self._unwritten = 0
        self._looks_after_ms = 0
        self._retakes = asyncio.Semaphore(RETAKES_AT_ONCE)

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
        lost, strangers = await self._apply_all(known)
        by_source = {record.offset: said for record, said in found.said}
        for record in strangers:
            said = by_source.get(record.offset)
            if said is None:
                dead.append(dead_letters.bury(chunk, record, reports.NO_ORDER))
            else:
                waiting.append(Waiting(record, said.source, said.ref))
        dead += [dead_letters.bury(chunk, record, _LOST) for record in lost]
        await self._quarantine(waiting, chunk.partition)
        await self._bury(dead, chunk.partition)
        chunk.acknowledge()

    async def look_after(self) -> None:
        """See to what was left, no oftener than the outbox's grace: messages unsaid, records that can be taken now."""
        now_ms = self._parts.clock.now_ms()
        if now_ms < self._looks_after_ms:
            return
        await self.send_left()
        while await self.take_resolvable() == RESOLVED_AT_ONCE:
            pass
        self._looks_after_ms = now_ms + int(self._parts.settings.outbox_grace_s * 1000)

    async def send_left(self) -> int:
        """Tell what processes that died have left unsaid; returns how many batches that were."""
        return await self._outbox.send_left()

    async def take_resolvable(self) -> int:
        """Take records that waited for an order or a parcel which is known by now; returns how many were taken."""
        ledger = self._parts.ledger
        found = await until_available(
            "quarantine", lambda: ledger.resolvable(RESOLVED_AT_ONCE), max_delay_s=self._max_delay_s
        )
        if not found:
            return 0
        said = []
        for waiting in found:
            source = self._sources.get(waiting.source)
            one = None if source is None else source.read(waiting.value, waiting.headers)
            if isinstance(one, Said):
                said.append((Waited(waiting), one))
        resolved, unknown = await reports.find_orders(said, self._parts)
        lost, strangers = await self._apply_all(resolved)
        left = {id(record) for record in [*lost, *strangers, *(record for record, _ in unknown)]}
        taken = [record.waiting for record, _ in said if id(record) not in left]
        await until_available("release", lambda: ledger.release(taken), max_delay_s=self._max_delay_s)
        return len(taken)

    async def expire_due(self) -> int:
        """End the holds that are due, one bounded batch; returns how many the ledger took."""
        found = await self._guard.call("expire", self._expire_under)
        await self._outbox.send(found.told.messages, found.told.token)
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
            return _Ended(0, [], _Told([], {}))
        orders = await parts.ledger.orders(list({UUID(bytes=hold.order_id) for hold in found}))
        # A hold that the ledger does not know yet is on its way there: it stays unsettled and comes again.
        written = [hold for hold in found if UUID(bytes=hold.order_id) in orders]
        unwritten = [hold for hold in found if UUID(bytes=hold.order_id) not in orders]
        forgotten = self._forgotten(unwritten, now_ms)
        self._unwritten = len(unwritten) - len(forgotten)
        mine = [hold for hold in written if _is_of(hold, orders[UUID(bytes=hold.order_id)])]
        now = to_datetime(now_ms)
        outcomes = [lifecycle.expired(hold, orders[UUID(bytes=hold.order_id)], now) for hold in mine]
        told = await self._take_steps(epoch, outcomes, [], orders)
        return _Ended(len(written), [hold.order_id for hold in [*written, *forgotten]], told)

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

    async def _apply_all(self, reported: Sequence[Reported]) -> tuple[list[Record], list[Record]]:
        """Apply reports on any orders; returns the records that the stock has lost, and those of unknown orders."""
        lost: list[Record] = []
        strangers: list[Record] = []
        for at in range(0, len(reported), MAX_BATCH):
            some = reported[at : at + MAX_BATCH]
            orders = await self._orders({report.order_id for _, report in some})
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

        async def call(epoch: int) -> tuple[set[UUID], _Told]:
            nonlocal tries
            tries += 1
            if tries > 1:  # it may have taken long, and much may have happened meanwhile
                orders.update(await self._parts.ledger.orders(list({report.order_id for _, report in wave})))
            return await self._apply_under(epoch, [report for _, report in wave], orders)

        lost, told = await self._guard.call("reports", call)
        await self._outbox.send(told.messages, told.token)
        return [record for record, report in wave if report.order_id in lost and report.type in MOVING_STOCK]

    async def _apply_under(
        self, epoch: int, reported: Sequence[Report], orders: dict[UUID, OrderRecord]
    ) -> tuple[set[UUID], _Told]:
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
            await self._check_newest(epoch)
        now = to_datetime(self._parts.clock.now_ms())
        clear = [
            lifecycle.apply(r, orders[r.order_id], ends[r.order_id], now) for r in moving if r.order_id not in lost
        ]
        plain = [plain_step(r, now) for r in reported if r.type not in MOVING_STOCK]
        return lost, await self._take_steps(epoch, clear, plain, orders)

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
        self,
        epoch: int,
        outcomes: Sequence[lifecycle.Outcome],
        plain: Sequence[Step],
        orders: dict[UUID, OrderRecord],
    ) -> _Told:
        """Write steps, bring `orders` up to date with them, and return what to tell."""
        told = _Told(outcomes, orders)
        if not outcomes and not plain:
            return told
        steps = [*(outcome.step for outcome in outcomes), *plain]
        told.token, results = await self._parts.ledger.take_steps(steps, epoch, told)
        # Repeated may be this very call, whose first answer was lost: then what was read before it is out of date.
        orders.update(await self._orders({s.order_id for s, r in zip(steps, results, strict=True) if r is _REPEATED}))
        for step, result in zip(steps, results, strict=True):
            if result is StepResult.TAKEN and step.state is not None:
                orders[step.order_id] = orders[step.order_id]._replace(state=step.state)
        return told

    async def _quarantine(self, waiting: Sequence[Waiting], partition: int) -> None:
        """Keep what has to wait, open tickets for codes that nobody knows, and tell of those."""
        if not waiting:
            return
        now = to_datetime(self._parts.clock.now_ms())
        records = [reports.quarantined(one, partition, now) for one in waiting]
        tickets, ledger = reports.tickets(waiting, now), self._parts.ledger
        opened = await until_available(
            "quarantine", lambda: ledger.quarantine(records, tickets), max_delay_s=self._max_delay_s
        )
        await self._outbox.send(opened)

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


def _is_of(hold: Expired, order: OrderRecord) -> bool:
    """Whether the hold is the one in the ledger, not a second one taken for a repeat that Redis had forgotten."""
    return hold.due_ms == to_ms(order.held_until)
