"""What a stock must remember, read off a ledger in memory: the contract of `Snapshot`, counted as plainly as can be."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from streams.core.books import Action, Balance, Movement, OrderRecord, PromotionState, State, StepResult
from streams.core.decide import REASON_OF
from streams.core.identity import idempotency_key
from streams.core.memory import (
    ENDING,
    KeptDecision,
    KeptEnd,
    KeptHold,
    KeptPromotion,
    KeptRef,
    KeptUnits,
    end_of_hold,
)
from streams.core.stock import End, promo_pool
from streams.instants import to_ms
from streams.stores.ledger import Snapshot

if TYPE_CHECKING:
    from streams.stores.ledger_fake import FakeLedger

T = TypeVar("T")
PAGE = 7
"""Small, so that what falls on two pages is met in tests."""
_CODE_OF = {reason: code for code, reason in REASON_OF.items()}


class FakeSnapshot(Snapshot):
    """See `Snapshot`."""

    def __init__(self, ledger: "FakeLedger") -> None:
        self._movements = dict(ledger.movements)
        self._orders = dict(ledger.accepted)
        self._decisions = dict(ledger.decisions)
        self._promotions = dict(ledger.saved_promotions)
        self._moved: dict[UUID, list[Movement]] = defaultdict(list)
        for movement in self._movements.values():
            if movement.action in (*ENDING, Action.CONFIRM_LATE):
                self._moved[UUID(movement.ref)].append(movement)
        self._states: dict[UUID, set[State]] = defaultdict(set)
        for step, result in ledger.taken.values():
            if result is StepResult.TAKEN and step.state is not None:
                self._states[step.order_id].add(step.state)

    async def promotions(self) -> list[KeptPromotion]:
        """See `Snapshot`."""
        found = []
        for name, (promotion, state) in sorted(self._promotions.items()):
            if state in (PromotionState.OPEN, PromotionState.CLOSING, PromotionState.CLOSED):
                keys = [(sku, (promo_pool(name), Action.SWEEP, sku, promo_pool(name))) for sku, _ in promotion.quota]
                swept = tuple((sku, -self._movements[key].free) for sku, key in keys if key in self._movements)
                found.append(KeptPromotion(promotion, swept if state is PromotionState.CLOSED else None))
        return found

    async def balances(self) -> AsyncIterator[list[Balance]]:
        """See `Snapshot`."""
        sums: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for m in self._movements.values():
            sums[m.sku, m.pool].update(free=m.free, held=m.held, sold=m.sold)
        found = [Balance(*place, u["free"], u["held"], u["sold"]) for place, u in sorted(sums.items())]
        async for page in _pages(found):
            yield page

    async def bought(self) -> AsyncIterator[list[KeptUnits]]:
        """See `Snapshot`."""
        limited = {p.promotion_id for p, swept in await self.promotions() if p.buyer_limit and swept is None}
        units: Counter[tuple[str, str]] = Counter()
        for m in self._movements.values():
            if m.action in (Action.HOLD, *ENDING, Action.CONFIRM_LATE):
                order = self._orders[UUID(m.ref)]
                if order.promotion_id in limited and m.pool == order.pool:
                    units[order.promotion_id or "", order.buyer_id] += m.held + m.sold
        async for page in _pages([KeptUnits(*owner, count) for owner, count in units.items() if count]):
            yield page

    async def holds(self) -> AsyncIterator[list[KeptHold]]:
        """See `Snapshot`."""
        found = [
            KeptHold(
                order.order_id.bytes,
                order.promotion_id,
                order.buyer_id,
                to_ms(order.decided_at),
                to_ms(order.held_until),
                order.quantities,
                self._end(order, self._moved[order.order_id]),
            )
            for order in sorted(self._orders.values(), key=lambda order: order.held_until)
            if not any(movement.action in ENDING for movement in self._moved[order.order_id])
        ]
        async for page in _pages(found):
            yield page

    async def decisions(self, since_ms: int) -> AsyncIterator[list[KeptDecision]]:
        """See `Snapshot`."""
        found = [
            KeptDecision(
                idempotency_key(*key),
                stored.fingerprint,
                _CODE_OF[stored.reason],
                stored.order_id.bytes,
                to_ms(stored.decided_at),
                0 if stored.held_until is None else to_ms(stored.held_until),
            )
            for key, stored in self._decisions.items()
            if to_ms(stored.decided_at) >= since_ms
        ]
        async for page in _pages(found):
            yield page

    async def ends(self, since_ms: int) -> AsyncIterator[list[KeptEnd]]:
        """See `Snapshot`."""
        found = []
        for order_id, moved in self._moved.items():
            order = self._orders[order_id]
            end = self._end(order, [movement for movement in moved if to_ms(movement.at) >= since_ms])
            if end is not None and any(to_ms(movement.at) >= since_ms for movement in moved):
                found.append(KeptEnd(order_id.bytes, end, order.promotion_id, order.buyer_id))
        async for page in _pages(found):
            yield page

    async def refs(self) -> AsyncIterator[list[KeptRef]]:
        """See `Snapshot`."""
        done = {KeptRef(m.action, m.ref) for m in self._movements.values()}
        async for page in _pages([kept for kept in done if kept.action in (Action.RECEIVE, Action.MOVE)]):
            yield page

    def _end(self, order: OrderRecord, moved: Sequence[Movement]) -> End | None:
        return end_of_hold(
            order.promotion_id, [(m.action, m.pool, m.free) for m in moved], self._states[order.order_id]
        )


async def _pages(found: list[T]) -> AsyncIterator[list[T]]:
    for at in range(0, len(found), PAGE):
        yield found[at : at + PAGE]
