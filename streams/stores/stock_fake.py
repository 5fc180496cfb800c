"""The stock in plain dicts, for tests and simulation: what the scripts do, without Redis.

It is the same contract (tests/contract/test_stock.py), not the same code; where the two part, one of them is wrong.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from streams.core.books import Action
from streams.core.memory import Carried, KeptHold, Page
from streams.core.stock import (
    MAIN,
    Code,
    End,
    Expired,
    Hold,
    MoveResult,
    Pool,
    Promotion,
    Reservation,
    Restock,
    Verdict,
    added_up,
    pool_of,
    promo_pool,
)
from streams.stores import stock_checks
from streams.stores.stock import Stock
from streams.stores.stock_keys import promotion_of

_Place = tuple[str, str]
"""SKU and pool."""


class _Memo(NamedTuple):
    """A decision that is remembered, and the fingerprint it was made for."""

    fingerprint: bytes
    verdict: Verdict


class _Held(NamedTuple):
    """A live hold; the buyer is None on main."""

    pool: str
    buyer_id: str | None
    decided_at_ms: int
    due_ms: int
    quantities: tuple[tuple[str, int], ...]

    def places(self) -> dict[_Place, int]:
        """Units by place."""
        return _places(self.pool, self.quantities)


class _Ended(NamedTuple):
    """How a hold ended, and whose it was."""

    end: End
    pool: str
    buyer_id: str | None


class FakeStock(Stock):
    """`Stock` in memory."""

    def __init__(self, *, dedupe_retention_s: float = 86_400.0) -> None:
        self._retention_ms = round(dedupe_retention_s * 1000)
        self._installation: UUID | None = None
        self._epoch: int | None = None
        self._rebuilding: int | None = None
        self._runs = 0
        """How often it was restarted; `_stamp` is what that was when the epoch came."""
        self._stamp = 0
        self._forget()

    def _forget(self) -> None:
        self._rotate_at_ms = 0
        self._free: dict[_Place, int] = {}
        self._held: dict[_Place, int] = {}
        self._sold: dict[_Place, int] = {}
        self._seen: tuple[dict[bytes, _Memo], dict[bytes, _Memo]] = ({}, {})
        self._ended: tuple[dict[bytes, _Ended], dict[bytes, _Ended]] = ({}, {})
        self._holds: dict[bytes, _Held] = {}
        self._unsettled: dict[bytes, tuple[End, _Held]] = {}
        self._promotions: dict[str, Promotion] = {}
        self._swept: dict[str, list[tuple[str, int]]] = {}
        self._bought: dict[tuple[str, str], int] = {}
        self._received: set[str] = set()
        self._moved: dict[str, MoveResult] = {}

    async def epoch(self) -> int | None:
        """See `Stock`."""
        return self._epoch

    def restart(self) -> None:
        """What a server's restart or promotion does: the data stand, but nobody knows of when they are."""
        self._runs += 1

    def remembers(self, order_id: bytes) -> bool:
        """Whether it holds an order, or knows how its hold ended."""
        return order_id in self._holds or order_id in self._unsettled or self._ended_as(order_id) is not None

    async def carried(self) -> Carried:
        """See `Stock`."""
        stamped = self._epoch is not None or self._rebuilding is not None
        return Carried(self._epoch, self._installation, self._rebuilding, stamped and self._stamp != self._runs)

    async def begin_rebuild(self, epoch: int, installation: UUID, *, take_over: bool = False) -> None:
        """See `Stock`."""
        if epoch in (self._epoch, self._rebuilding):
            raise stock_checks.fenced(self._epoch, epoch, "rebuilding")
        if not take_over:
            if self._installation not in (None, installation):
                raise stock_checks.fenced(self._epoch, epoch, "foreign")
            for other in (self._epoch, self._rebuilding):
                if other is not None and other > epoch:
                    raise stock_checks.fenced(other, epoch)
        self._forget()
        self._installation, self._epoch, self._rebuilding, self._stamp = installation, None, epoch, self._runs

    async def refill(self, epoch: int, page: Page) -> None:
        """See `Stock`."""
        if self._rebuilding != epoch or self._stamp != self._runs:
            raise stock_checks.fenced(self._epoch, epoch, "rebuilding")
        for promotion, swept in page.promotions:
            self._promotions[promotion.promotion_id] = promotion._replace(quota=stock_checks.check_promotion(promotion))
            if swept is not None:
                self._swept[promotion.promotion_id] = list(swept)
        for pool in page.pools:
            place = (pool.sku, pool.pool)
            self._free[place], self._held[place], self._sold[place] = pool.free, pool.held, pool.sold
        self._bought |= {(kept.promotion_id, kept.buyer_id): kept.units for kept in page.bought}
        for hold in page.holds:
            self._refill_hold(hold)
        for kept in page.decisions:
            order = (kept.order_id, kept.decided_at_ms, kept.held_until_ms)
            self._seen[1][kept.key] = _Memo(kept.fingerprint, Verdict(kept.code, False, False, *order))
        for order_id, end, promotion_id, buyer_id in page.ends:
            buyer = None if promotion_id is None else buyer_id
            self._ended[1][order_id] = _Ended(end, pool_of(promotion_id), buyer)
        self._received |= {kept.ref for kept in page.refs if kept.action is Action.RECEIVE}
        self._moved |= {kept.ref: MoveResult.MOVED for kept in page.refs if kept.action is Action.MOVE}

    def _refill_hold(self, kept: KeptHold) -> None:
        buyer_id = None if kept.promotion_id is None else kept.buyer_id
        hold = _Held(pool_of(kept.promotion_id), buyer_id, kept.decided_at_ms, kept.due_ms, kept.quantities)
        self._holds[kept.order_id] = hold
        if kept.ended is not None:
            end = End.EXPIRED_TO_MAIN if self._give_back(hold) else End.EXPIRED
            self._end(kept.order_id, end if kept.ended is End.EXPIRED else kept.ended)
            self._unsettled[kept.order_id] = (end, hold)

    async def install_epoch(self, epoch: int, *, refilled: bool = False) -> None:
        """See `Stock`."""
        if self._epoch is not None:
            self._fence(epoch)
            return
        if self._rebuilding is None:
            if refilled:
                raise stock_checks.fenced(None, epoch, "rebuilding")
            self._stamp = self._runs
        elif self._stamp != self._runs:
            raise stock_checks.fenced(None, epoch, "restarted")
        elif self._rebuilding != epoch:
            raise stock_checks.fenced(None, epoch)
        self._epoch, self._rebuilding = epoch, None

    async def adopt_epoch(self, epoch: int, before: int) -> None:
        """See `Stock`."""
        if self._epoch is not None and self._stamp != self._runs:
            raise stock_checks.fenced(self._epoch, epoch, "restarted")
        if self._epoch not in (epoch, before):
            raise stock_checks.fenced(self._epoch, epoch)
        self._epoch = epoch

    async def reserve(
        self, epoch: int, batch: Sequence[Reservation], *, now_ms: int, held_until_ms: int
    ) -> list[Verdict]:
        """See `Stock`."""
        stock_checks.check_batch(batch)
        for order in batch:
            stock_checks.check_order_units([units for _, units in order.quantities])
        lines = [tuple(stock_checks.distinct_lines(order.quantities).items()) for order in batch]
        self._fence(epoch)
        self._rotate(now_ms)
        orders = [order._replace(quantities=quantities) for order, quantities in zip(batch, lines, strict=True)]
        return [self._reserve(order, now_ms, held_until_ms) for order in orders]

    async def confirm(self, epoch: int, order_ids: Sequence[bytes]) -> list[End]:
        """See `Stock`."""

        def confirm(hold: _Held) -> End:
            _add(self._held, hold.places(), -1)
            _add(self._sold, hold.places(), 1)
            return End.CONFIRMED

        return self._end_all(epoch, order_ids, confirm)

    async def release(self, epoch: int, order_ids: Sequence[bytes]) -> list[End]:
        """See `Stock`."""
        return self._end_all(
            epoch, order_ids, lambda hold: End.RELEASED_TO_MAIN if self._give_back(hold) else End.RELEASED
        )

    async def expire_due(self, epoch: int, *, now_ms: int, limit: int) -> list[Expired]:
        """See `Stock`."""
        stock_checks.check_limit(limit)
        self._fence(epoch)
        self._rotate(now_ms)
        due = sorted((hold.due_ms, order_id) for order_id, hold in self._holds.items() if hold.due_ms <= now_ms)
        for _, order_id in due[: max(0, limit - len(self._unsettled))]:
            hold = self._holds[order_id]
            end = End.EXPIRED_TO_MAIN if self._give_back(hold) else End.EXPIRED
            self._end(order_id, end)
            self._unsettled[order_id] = (end, hold)
        listed = [
            Expired(order_id, end, hold.pool, hold.quantities, hold.due_ms)
            for order_id, (end, hold) in self._unsettled.items()
        ]
        return sorted(listed, key=attrgetter("due_ms"))

    async def settle(self, epoch: int, order_ids: Sequence[bytes]) -> None:
        """See `Stock`."""
        stock_checks.check_order_ids(order_ids)
        self._fence(epoch)
        for order_id in order_ids:
            self._unsettled.pop(order_id, None)

    async def retake(
        self, epoch: int, order_id: bytes, pools: Sequence[str], quantities: Sequence[tuple[str, int]]
    ) -> End:
        """See `Stock`."""
        stock_checks.check_order_ids([order_id])
        stock_checks.check_retake(pools, quantities)
        self._fence(epoch)
        ended = self._ended_as(order_id)
        if ended is None or order_id in self._holds:
            return End.UNKNOWN
        if ended.end not in (End.EXPIRED, End.EXPIRED_TO_MAIN):
            return ended.end
        end = End.LATE_REFUSED
        for pool, late in zip(pools, (End.LATE_FROM_POOL, End.LATE_FROM_MAIN), strict=False):
            if self._sell_late(pool, ended, quantities):
                end = late
                break
        self._ended[0][order_id] = ended._replace(end=end)
        return end

    async def restock(self, epoch: int, restocks: Sequence[Restock]) -> list[End]:
        """See `Stock`."""
        stock_checks.check_restocks(restocks)
        self._fence(epoch)
        ends = []
        for restock_id, pool, quantities in restocks:
            ended = self._ended_as(restock_id)
            if ended is None:
                to_main = promotion_of(pool) in self._swept
                _add(self._sold, _places(pool, quantities), -1)
                _add(self._free, _places(MAIN if to_main else pool, quantities), 1)
                ended = _Ended(End.RESTOCKED_TO_MAIN if to_main else End.RESTOCKED, pool, None)
                self._ended[0][restock_id] = ended
            ends.append(ended.end)
        return ends

    async def receive(self, epoch: int, ref: str, items: Sequence[tuple[str, int]]) -> bool:
        """See `Stock`."""
        changes = added_up(items)
        stock_checks.check_count(len(changes), "SKUs")
        self._fence(epoch)
        if ref in self._received:
            return False
        for sku, units in changes.items():
            free = self._free.get((sku, MAIN), 0)
            if free + units < 0 > units or free + units > stock_checks.MAX_UNITS:
                raise stock_checks.less_than_nothing(sku, free, units)
        _add(self._free, {(sku, MAIN): units for sku, units in changes.items()}, 1)
        self._received.add(ref)
        return True

    async def move(self, epoch: int, ref: str, sku: str, source: str, target: str, qty: int) -> MoveResult:
        """See `Stock`."""
        stock_checks.check_move(source, target, qty)
        self._fence(epoch)
        if ref in self._moved:
            return self._moved[ref]
        for pool in (source, target):
            if (sku, pool) not in self._free:
                raise stock_checks.unknown_pool(sku, pool)
        promotion_id = promotion_of(target)
        if promotion_id in self._swept:
            raise stock_checks.closed(promotion_id)
        self._moved[ref] = MoveResult.NOT_ENOUGH
        if self._free[sku, source] >= qty:
            self._moved[ref] = MoveResult.MOVED
            _add(self._free, {(sku, source): -qty, (sku, target): qty}, 1)
        return self._moved[ref]

    async def open_promotion(self, epoch: int, promotion: Promotion) -> list[tuple[str, int]]:
        """See `Stock`."""
        promotion = promotion._replace(quota=stock_checks.check_promotion(promotion))
        promotion_id, quota = promotion.promotion_id, promotion.quota
        self._fence(epoch)
        if promotion_id in self._swept:
            raise stock_checks.closed(promotion_id)
        known = self._promotions.get(promotion_id)
        if known is not None:
            if known != promotion:
                raise stock_checks.other_terms(promotion_id)
            return []
        missing = [(sku, units - self._free.get((sku, MAIN), 0)) for sku, units in quota]
        short = [(sku, units) for sku, units in missing if units > 0]
        if not short:
            _add(self._free, _places(MAIN, quota), -1)
            _add(self._free, _places(promo_pool(promotion_id), quota), 1)
            self._promotions[promotion_id] = promotion
        return short

    async def close_promotion(self, epoch: int, promotion_id: str) -> list[tuple[str, int]]:
        """See `Stock`."""
        self._fence(epoch)
        if promotion_id not in self._promotions:
            raise stock_checks.unknown_promotion(promotion_id)
        if promotion_id not in self._swept:
            pool = promo_pool(promotion_id)
            free = [(sku, self._free[sku, pool]) for sku, _ in self._promotions[promotion_id].quota]
            swept = [(sku, units) for sku, units in free if units]
            for sku, units in swept:  # what a rebuilt stock owes is main's to give
                self._free[sku, pool] -= units
                self._free[sku, MAIN] += units
            self._swept[promotion_id] = swept
            self._bought = {owner: units for owner, units in self._bought.items() if owner[0] != promotion_id}
        return list(self._swept[promotion_id])

    async def promotion(self, promotion_id: str) -> Promotion | None:
        """See `Stock`."""
        return self._promotions.get(promotion_id)

    async def pools(self, skus: Sequence[str] | None = None) -> AsyncIterator[Pool]:
        """See `Stock`."""
        wanted = None if skus is None else set(skus)
        for place, free in list(self._free.items()):
            if wanted is None or place[0] in wanted:
                yield Pool(*place, free, self._held.get(place, 0), self._sold.get(place, 0))

    async def holds(self) -> AsyncIterator[Hold]:
        """See `Stock`."""
        for order_id, hold in list(self._holds.items()):
            yield Hold(order_id, hold.pool, hold.due_ms, hold.quantities)

    async def held(self, order_ids: Sequence[bytes]) -> set[bytes]:
        """See `Stock`."""
        stock_checks.check_order_ids(order_ids)
        return {order_id for order_id in order_ids if order_id in self._holds or order_id in self._unsettled}

    async def unsettled(self) -> int:
        """See `Stock`."""
        return len(self._unsettled)

    async def close(self) -> None:
        """See `Stock`."""

    def _fence(self, epoch: int) -> None:
        if self._epoch != epoch:
            raise stock_checks.fenced(self._epoch, epoch)
        if self._stamp != self._runs:
            raise stock_checks.fenced(self._epoch, epoch, "restarted")

    def _rotate(self, now_ms: int) -> None:
        """Drop the older generation of memory when the younger has been written to for the retention."""
        if now_ms < self._rotate_at_ms <= now_ms + 2 * self._retention_ms:
            return
        if 0 < self._rotate_at_ms <= now_ms:
            self._seen = ({}, self._seen[0])
            self._ended = ({}, self._ended[0])
        self._rotate_at_ms = now_ms + self._retention_ms

    def _reserve(self, order: Reservation, now_ms: int, held_until_ms: int) -> Verdict:
        memo = self._seen[0].get(order.key) or self._seen[1].get(order.key)
        if memo is not None:
            return memo.verdict._replace(replay=True, conflict=memo.fingerprint != order.fingerprint)
        code = self._decide(order, now_ms)
        hold = self._holds.get(order.order_id)
        if code is Code.ACCEPTED and hold is not None:
            # The key is forgotten but the hold lives: to take again would lose the units held.
            verdict = Verdict(Code.ACCEPTED, True, False, order.order_id, hold.decided_at_ms, hold.due_ms)
        else:
            if code is Code.ACCEPTED:
                self._take(order, now_ms, held_until_ms)
            until_ms = held_until_ms if code is Code.ACCEPTED else 0
            verdict = Verdict(code, False, False, order.order_id, now_ms, until_ms)
        self._seen[0][order.key] = _Memo(order.fingerprint, verdict)
        return verdict

    def _decide(self, order: Reservation, now_ms: int) -> Code:
        limit = 0
        if order.promotion_id is not None:
            promotion = self._promotions.get(order.promotion_id)
            if promotion is None:
                return Code.UNKNOWN_PROMOTION
            if order.promotion_id in self._swept or now_ms >= promotion.closes_at_ms:
                return Code.PROMOTION_CLOSED
            if now_ms < promotion.opens_at_ms:
                return Code.PROMOTION_NOT_OPEN
            limit = promotion.buyer_limit
        wanted = _places(_pool(order), order.quantities)
        if any(place not in self._free for place in wanted):
            return Code.UNKNOWN_SKU if order.promotion_id is None else Code.NOT_IN_PROMOTION
        bought = self._bought.get((order.promotion_id or "", order.buyer_id), 0)
        if limit and bought + sum(wanted.values()) > limit:
            return Code.BUYER_LIMIT
        return Code.ACCEPTED if self._has(wanted) else Code.OUT_OF_STOCK

    def _take(self, order: Reservation, now_ms: int, held_until_ms: int) -> None:
        buyer_id = order.buyer_id if order.promotion_id is not None else None
        hold = _Held(_pool(order), buyer_id, now_ms, held_until_ms, order.quantities)
        _add(self._free, hold.places(), -1)
        _add(self._held, hold.places(), 1)
        self._count(hold.pool, buyer_id, hold.quantities, 1)
        self._holds[order.order_id] = hold

    def _end_all(self, epoch: int, order_ids: Sequence[bytes], how: Callable[[_Held], End]) -> list[End]:
        stock_checks.check_order_ids(order_ids)
        self._fence(epoch)
        ends = []
        for order_id in order_ids:
            if order_id in self._holds:
                self._end(order_id, how(self._holds[order_id]))
            ended = self._ended_as(order_id)
            ends.append(End.UNKNOWN if ended is None else ended.end)
        return ends

    def _end(self, order_id: bytes, end: End) -> None:
        hold = self._holds.pop(order_id)
        self._ended[0][order_id] = _Ended(end, hold.pool, hold.buyer_id)

    def _ended_as(self, order_id: bytes) -> _Ended | None:
        return self._ended[0].get(order_id) or self._ended[1].get(order_id)

    def _give_back(self, hold: _Held) -> bool:
        """Free the units again; returns whether they went to main because the hold's promotion has closed."""
        to_main = promotion_of(hold.pool) in self._swept
        _add(self._held, hold.places(), -1)
        _add(self._free, _places(MAIN, hold.quantities) if to_main else hold.places(), 1)
        if not to_main:
            self._count(hold.pool, hold.buyer_id, hold.quantities, -1)
        return to_main

    def _sell_late(self, pool: str, ended: _Ended, quantities: Sequence[tuple[str, int]]) -> bool:
        promotion_id = promotion_of(pool)
        buyer_id = ended.buyer_id if ended.pool == pool else None
        if promotion_id is not None:
            promotion = self._promotions.get(promotion_id)
            if promotion is None or promotion_id in self._swept:
                return False
            if buyer_id is not None and promotion.buyer_limit:
                bought = self._bought.get((promotion_id, buyer_id), 0)
                if bought + sum(units for _, units in quantities) > promotion.buyer_limit:
                    return False
        wanted = _places(pool, quantities)
        if not self._has(wanted):
            return False
        _add(self._free, wanted, -1)
        _add(self._sold, wanted, 1)
        self._count(pool, buyer_id, quantities, 1)
        return True

    def _count(self, pool: str, buyer_id: str | None, quantities: Iterable[tuple[str, int]], sign: int) -> None:
        """Count towards the buyer's limit, if the pool's promotion has one."""
        promotion_id = promotion_of(pool)
        if promotion_id is None or buyer_id is None or not self._promotions[promotion_id].buyer_limit:
            return
        owner = (promotion_id, buyer_id)
        self._bought[owner] = self._bought.get(owner, 0) + sign * sum(units for _, units in quantities)

    def _has(self, wanted: dict[_Place, int]) -> bool:
        return all(self._free.get(place, 0) >= units for place, units in wanted.items())


def _pool(order: Reservation) -> str:
    return pool_of(order.promotion_id)


def _places(pool: str, quantities: Iterable[tuple[str, int]]) -> dict[_Place, int]:
    return {(sku, pool): units for sku, units in added_up(quantities).items()}


def _add(account: dict[_Place, int], places: dict[_Place, int], sign: int) -> None:
    for place, units in places.items():
        account[place] = account.get(place, 0) + sign * units
        # A rebuilt stock may owe: what was given back and sold again before anybody had booked the giving back.
        assert account[place] >= 0 or sign * units >= 0, f"less than nothing of {place}"
