"""Holds whose time is up: end them in the stock, book that, tell it."""

import logging
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from streams.agreement import check_newest
from streams.core import lifecycle
from streams.core.books import OrderRecord
from streams.core.stock import Expired
from streams.guard import StockGuard
from streams.instants import to_datetime, to_ms
from streams.outbox import Outbox
from streams.parts import Parts
from streams.steps import Told, take_steps
from streams.stores.stock import MAX_BATCH
from streams.telemetry import EXPIRED
from streams.timing import timed

FORGOTTEN_RETENTIONS = 2
"""Redis remembers a decision for two retentions at the most."""

logger = logging.getLogger(__name__)


class _Ended(NamedTuple):
    """What one look for expired holds came to: how many the ledger took, what may be settled, what is to be told."""

    written: int
    settled: list[bytes]
    told: Told


class Expiry:
    """Looks for holds that are due. One for each process."""

    def __init__(self, parts: Parts, guard: StockGuard, outbox: Outbox) -> None:
        self._parts, self._guard, self._outbox = parts, guard, outbox
        self._unwritten = 0

    @timed("expire")
    async def expire_due(self) -> int:
        """End the holds that are due, one bounded batch; returns how many the ledger took."""
        found = await self._guard.call("expire", self._expire_under)
        EXPIRED.inc(found.written)
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
            await check_newest(parts.ledger, epoch)
            return _Ended(0, [], Told([], {}))
        orders = await parts.ledger.orders(list({UUID(bytes=hold.order_id) for hold in found}))
        # A hold that the ledger does not know yet is on its way there: it stays unsettled and comes again.
        written = [hold for hold in found if UUID(bytes=hold.order_id) in orders]
        unwritten = [hold for hold in found if UUID(bytes=hold.order_id) not in orders]
        forgotten = self._forgotten(unwritten, now_ms)
        self._unwritten = len(unwritten) - len(forgotten)
        mine = [hold for hold in written if _is_of(hold, orders[UUID(bytes=hold.order_id)])]
        now = to_datetime(now_ms)
        outcomes = [lifecycle.expired(hold, orders[UUID(bytes=hold.order_id)], now) for hold in mine]
        told = await take_steps(parts, epoch, outcomes, [], orders)
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


def _is_of(hold: Expired, order: OrderRecord) -> bool:
    """Whether the hold is the one in the ledger, not a second one taken for a repeat that Redis had forgotten."""
    return hold.due_ms == to_ms(order.held_until)
