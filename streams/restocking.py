"""Carries out what is put back on the shelf: claimed in the ledger, done by the stock, booked in the ledger.

The claim is written first, under the order's lock, so that no two reports put the same units back; whoever dies on the
way leaves an open claim, which another finishes. The stock answers a repeated one with what it did the first time.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from streams.core import restock
from streams.core.books import RestockAsked, RestockClaim, Taken
from streams.guard import StockGuard
from streams.instants import to_datetime
from streams.messages import Report, ReportType
from streams.parts import Parts
from streams.retry import until_available

ASKING = frozenset({ReportType.ORDER_CANCELLED, ReportType.REFUND_SUCCEEDED, ReportType.RETURN_INSPECTED})
"""Reports after which units may be due."""
AT_ONCE = 1_000
"""Claims that are carried out in one go."""


class Restocker:
    """One for each process."""

    def __init__(self, parts: Parts, guard: StockGuard) -> None:
        self._parts, self._guard = parts, guard
        self._grace = timedelta(seconds=parts.settings.outbox_grace_s)

    async def after(self, reported: Iterable[Report], written: Sequence[Taken]) -> int:
        """Put back what is due of these orders now; returns how many claims that were."""
        ids = list(_to_look_at(reported, written))
        if not ids:
            return 0
        ledger, max_delay_s = self._parts.ledger, self._parts.settings.retry_max_delay_s
        positions = await until_available("positions", lambda: ledger.positions_of(ids), max_delay_s=max_delay_s)
        asked = [one for order_id, position in positions.items() for one in restock.due(order_id, position)]
        return await self.put_back(asked)

    async def put_back(self, asked: Sequence[RestockAsked]) -> int:
        """Put back what was asked for, as far as it was sold. Raises `Refused` where more units were named."""
        done = 0
        for at in range(0, len(asked), AT_ONCE):
            some = asked[at : at + AT_ONCE]
            done += len(await self._guard.call("restock", partial(claim_and_do, self._parts, some)))
        return done

    async def take_left(self) -> int:
        """Finish claims that others have left open; returns how many that were."""
        before = to_datetime(self._parts.clock.now_ms()) - self._grace

        async def call(epoch: int) -> int:
            claims = await self._parts.ledger.open_restocks(before, AT_ONCE)
            await _do(self._parts, epoch, claims)
            return len(claims)

        return await self._guard.call("restock", call)


async def claim_and_do(parts: Parts, asked: Sequence[RestockAsked], epoch: int) -> list[RestockClaim]:
    """Put back what was asked for, and what else stands open of these orders; returns all that was put back.

    Raises `Refused` where more units are named than were sold and are not back, `Fenced` and `Unavailable`: what is
    claimed by then is finished by a lifecycle worker.
    """
    claims = await parts.ledger.claim_restocks(asked, to_datetime(parts.clock.now_ms()))
    await _do(parts, epoch, claims)
    return claims


async def _do(parts: Parts, epoch: int, claims: Sequence[RestockClaim]) -> None:
    if claims:
        ends = await parts.stock.restock(epoch, [restock.as_the_stock_has_it(claim) for claim in claims])
        now = to_datetime(parts.clock.now_ms())
        await parts.ledger.book_restocks(list(zip(claims, ends, strict=True)), now, epoch)


def _to_look_at(reported: Iterable[Report], written: Sequence[Taken]) -> set[UUID]:
    """Orders of which units may be due: by what was reported, or because a payment came after all else.

    A payment that was written before may be one whose worker died before it looked.
    """
    payments: set[UUID] = set()
    found: set[UUID] = set()
    for report in reported:
        if report.type in ASKING:
            found.add(report.order_id)
        elif report.type is ReportType.PAYMENT_SUCCEEDED:
            payments.add(report.order_id)
    for taken in written if payments else ():
        order_id = taken.step.order_id
        if order_id in payments and taken.step.kind == ReportType.PAYMENT_SUCCEEDED:
            payments.discard(order_id)
            if restock.is_inspected(taken.after):
                found.add(order_id)
    return found | payments
