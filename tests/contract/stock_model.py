"""The stock as plainly as it can be said: every order's life in a list, every number counted anew from there.

It shares no code with the stocks it judges. Slow on purpose: nothing is kept that can be counted.
"""

from collections import Counter
from dataclasses import dataclass, field

from streams.core.stock import (
    MAIN,
    Code,
    End,
    Expired,
    MoveResult,
    Promotion,
    Reservation,
    Restock,
    Verdict,
    promo_pool,
)

Place = tuple[str, str]


@dataclass
class Life:
    """What one accepted order holds, or how that ended; `sold_from` is where its units were sold."""

    reservation: Reservation
    decided_at_ms: int
    due_ms: int
    end: End | None = None
    sold_from: str | None = None
    unsettled: bool = False
    restocked: Counter[str] = field(default_factory=Counter)

    @property
    def pool(self) -> str:
        """Where it was held."""
        promotion = self.reservation.promotion_id
        return MAIN if promotion is None else promo_pool(promotion)

    @property
    def units(self) -> int:
        """All its units."""
        return sum(units for _, units in self.reservation.quantities)


@dataclass
class Model:
    """What happened so far."""

    received: Counter[str] = field(default_factory=Counter)
    moved: Counter[Place] = field(default_factory=Counter)
    places: set[Place] = field(default_factory=set)
    refs: dict[str, bool | MoveResult] = field(default_factory=dict)
    decided: dict[bytes, tuple[bytes, Verdict]] = field(default_factory=dict)
    lives: list[Life] = field(default_factory=list)
    promotions: dict[str, Promotion] = field(default_factory=dict)
    swept: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    restocks: dict[bytes, End] = field(default_factory=dict)
    carried_back: Counter[Place] = field(default_factory=Counter)

    def held(self, place: Place) -> int:
        """Units of all live holds there."""
        return sum(self._of(life, place[0]) for life in self.lives if life.end is None and life.pool == place[1])

    def sold(self, place: Place) -> int:
        """Units of all that was sold from there."""
        sold = (
            self._of(life, place[0]) - life.restocked[place[0]] for life in self.lives if life.sold_from == place[1]
        )
        return sum(sold)

    def free(self, place: Place) -> int:
        """What came to this place and is neither held nor sold nor gone to main."""
        came = self.moved[place] + (self.received[place[0]] if place[1] == MAIN else 0)
        for life in self.lives:
            if life.end in (End.RELEASED_TO_MAIN, End.EXPIRED_TO_MAIN):
                came += self._of(life, place[0]) * ((place[1] == MAIN) - (life.pool == place[1]))
        # What went back to another pool than it was sold from has changed places.
        return came + self.carried_back[place] - self.held(place) - self.sold(place)

    def bought(self, promotion_id: str, buyer_id: str) -> int:
        """Units of a promotion that a buyer holds or has got from its pool."""
        pool = promo_pool(promotion_id)
        return sum(
            life.units
            for life in self.lives
            if life.pool == pool
            and life.reservation.buyer_id == buyer_id
            and (life.end is None or life.sold_from == pool)
        )

    def latest(self, order_id: bytes) -> Life | None:
        """The last life of an order."""
        return next((life for life in reversed(self.lives) if life.reservation.order_id == order_id), None)

    def reserve(self, order: Reservation, now_ms: int, held_until_ms: int) -> Verdict:
        """Decide one."""
        if order.key in self.decided:
            fingerprint, first = self.decided[order.key]
            return first._replace(replay=True, conflict=fingerprint != order.fingerprint)
        code = self._decide(order, now_ms)
        life = self.latest(order.order_id)
        if code is Code.ACCEPTED and life is not None and life.end is None:
            verdict = Verdict(Code.ACCEPTED, True, False, order.order_id, life.decided_at_ms, life.due_ms)
        else:
            until_ms = held_until_ms if code is Code.ACCEPTED else 0
            verdict = Verdict(code, False, False, order.order_id, now_ms, until_ms)
            if code is Code.ACCEPTED:
                units = Counter[str]()
                for sku, qty in order.quantities:
                    units[sku] += qty
                added_up = order._replace(quantities=tuple(units.items()))
                self.lives.append(Life(added_up, now_ms, held_until_ms))
        self.decided[order.key] = (order.fingerprint, verdict)
        return verdict

    def finish(self, order_id: bytes, end: End) -> End:
        """Confirm or release one."""
        life = self.latest(order_id)
        if life is None:
            return End.UNKNOWN
        if life.end is None:
            to_main = end is End.RELEASED and life.reservation.promotion_id in self.swept
            life.end = End.RELEASED_TO_MAIN if to_main else end
            life.sold_from = life.pool if end is End.CONFIRMED else None
        return life.end

    def check_expired(self, found: list[Expired], now_ms: int, limit: int) -> None:
        """Judge what `expire_due` returned: all unsettled ones, and the oldest of those due, up to the limit."""
        old = {life.reservation.order_id for life in self.lives if life.unsettled}
        due = {life.reservation.order_id: life for life in self.lives if life.end is None and life.due_ms <= now_ms}
        fresh = [one for one in found if one.order_id in due and one.due_ms == due[one.order_id].due_ms]
        assert {one.order_id for one in found} == old | {one.order_id for one in fresh}
        oldest = sorted(life.due_ms for life in due.values())[: max(0, limit - len(old))]
        assert sorted(one.due_ms for one in fresh) == oldest
        for one in fresh:
            life = due[one.order_id]
            to_main = life.reservation.promotion_id in self.swept
            life.end = End.EXPIRED_TO_MAIN if to_main else End.EXPIRED
            for earlier in self.lives:
                # One entry per order: an earlier life that is not settled yet makes way.
                earlier.unsettled = earlier.unsettled and earlier.reservation.order_id != one.order_id
            life.unsettled = True
            assert one == (one.order_id, life.end, life.pool, life.reservation.quantities, life.due_ms)
        assert [one.due_ms for one in found] == sorted(one.due_ms for one in found)

    def retake(self, order_id: bytes, pools: list[str]) -> End:
        """Sell late."""
        life = self.latest(order_id)
        if life is None or life.end is None:
            return End.UNKNOWN
        if life.end not in (End.EXPIRED, End.EXPIRED_TO_MAIN):
            return life.end
        self._settle_place(life)
        life.end = End.LATE_REFUSED
        for pool, end in zip(pools, (End.LATE_FROM_POOL, End.LATE_FROM_MAIN), strict=False):
            if self._may_sell_late(life, pool):
                life.end, life.sold_from = end, pool
                break
        return life.end

    def left(self, life: Life) -> list[tuple[str, int]]:
        """Units of a sold order that are not back."""
        return [(sku, units - life.restocked[sku]) for sku, units in life.reservation.quantities]

    def restock(self, life: Life, asked: Restock) -> End:
        """Put units back."""
        if asked.restock_id not in self.restocks:
            to_main = asked.pool.removeprefix("promo:") in self.swept
            self.restocks[asked.restock_id] = End.RESTOCKED_TO_MAIN if to_main else End.RESTOCKED
            for sku, units in asked.quantities:
                life.restocked[sku] += units
                if to_main:
                    self.carried_back[sku, asked.pool] -= units
                    self.carried_back[sku, MAIN] += units
        return self.restocks[asked.restock_id]

    def move(self, ref: str, sku: str, source: str, target: str, qty: int) -> bool | MoveResult | None:
        """Move units; None where that raises."""
        if ref in self.refs:
            return self.refs[ref]
        if not {(sku, source), (sku, target)} <= self.places or target.removeprefix("promo:") in self.swept:
            return None
        self.refs[ref] = MoveResult.NOT_ENOUGH
        if self.free((sku, source)) >= qty:
            self.refs[ref] = MoveResult.MOVED
            self._carry(sku, source, target, qty)
        return self.refs[ref]

    def open(self, promotion: Promotion) -> list[tuple[str, int]] | None:
        """Open; None where that raises."""
        name = promotion.promotion_id
        if name in self.promotions:
            return [] if self.promotions[name] == promotion and name not in self.swept else None
        short = [(sku, units - self.free((sku, MAIN))) for sku, units in promotion.quota]
        short = [(sku, units) for sku, units in short if units > 0]
        if not short:
            self.promotions[name] = promotion
            for sku, units in promotion.quota:
                self.places.add((sku, promo_pool(name)))
                self._carry(sku, MAIN, promo_pool(name), units)
        return short

    def close(self, name: str) -> list[tuple[str, int]] | None:
        """Close; None where that raises."""
        if name in self.promotions and name not in self.swept:
            free = [(sku, self.free((sku, promo_pool(name)))) for sku, _ in self.promotions[name].quota]
            self.swept[name] = [(sku, units) for sku, units in free if units]
            for sku, units in self.swept[name]:
                self._carry(sku, promo_pool(name), MAIN, units)
        return self.swept.get(name)

    def _decide(self, order: Reservation, now_ms: int) -> Code:
        promotion = None
        if order.promotion_id is not None:
            promotion = self.promotions.get(order.promotion_id)
            if promotion is None:
                return Code.UNKNOWN_PROMOTION
            if order.promotion_id in self.swept or now_ms >= promotion.closes_at_ms:
                return Code.PROMOTION_CLOSED
            if now_ms < promotion.opens_at_ms:
                return Code.PROMOTION_NOT_OPEN
        pool = Life(order, 0, 0).pool
        if any((sku, pool) not in self.places for sku, _ in order.quantities):
            return Code.NOT_IN_PROMOTION if promotion else Code.UNKNOWN_SKU
        if promotion and promotion.buyer_limit:
            units = sum(units for _, units in order.quantities)
            if self.bought(promotion.promotion_id, order.buyer_id) + units > promotion.buyer_limit:
                return Code.BUYER_LIMIT
        return Code.ACCEPTED if self._has(Life(order, 0, 0), pool) else Code.OUT_OF_STOCK

    def _may_sell_late(self, life: Life, pool: str) -> bool:
        if pool != MAIN:
            name = pool.removeprefix("promo:")
            limit = self.promotions[name].buyer_limit
            if name in self.swept or (limit and self.bought(name, life.reservation.buyer_id) + life.units > limit):
                return False
        return self._has(life, pool)

    def _has(self, life: Life, pool: str) -> bool:
        return all(self.free((sku, pool)) >= self._of(life, sku) for sku, _ in life.reservation.quantities)

    def _carry(self, sku: str, source: str, target: str, qty: int) -> None:
        self.moved[sku, source] -= qty
        self.moved[sku, target] += qty

    def _settle_place(self, life: Life) -> None:
        """Book for good that its units went to main: its end, from which that is seen, is about to change."""
        if life.end is End.EXPIRED_TO_MAIN:
            for sku, units in life.reservation.quantities:
                self._carry(sku, life.pool, MAIN, units)

    @staticmethod
    def _of(life: Life, sku: str) -> int:
        return sum(units for name, units in life.reservation.quantities if name == sku)
