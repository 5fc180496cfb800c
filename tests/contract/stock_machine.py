"""Any actions in any order: each acts on a stock and on the plain model, and compares what they say."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from stock_kit import EPOCH, NOW_MS, oid, order
from stock_model import Model

from streams.core.stock import End, Pool, Promotion, Restock, promo_pool
from streams.errors import Refused, UnknownThing
from streams.stores.stock import Stock

_T = TypeVar("_T")
NUMBERS = st.integers(0, 15)
SKUS = st.sampled_from(["A", "B", "Z"])
POOLS = st.sampled_from(["main", "promo:p", "promo:q"])
PICKS = st.lists(st.integers(0, 7), max_size=3)
# Mostly what can be had, or nothing would come to life; what cannot be is a rare last choice.
LINES = st.lists(st.tuples(st.sampled_from([*"AAAAABBBBBZ"]), st.integers(1, 3)), min_size=1, max_size=2)
ORDERS = st.builds(
    lambda number, lines, alias, body, promotion, buyer: order(
        number,
        *lines,
        key=bytes((number, alias)) + bytes(14),
        fingerprint=bytes((body,)) * 8,
        promotion=promotion,
        buyer=buyer,
    ),
    NUMBERS,
    LINES,
    st.sampled_from([0, 0, 0, 1, 2]),
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([None, None, None, "p", "p", "p", "q", "q", "nowhere"]),
    st.sampled_from(["ann", "bob"]),
)
PROMOTIONS = st.builds(
    lambda name, opens_s, open_for_s, limit, quota: Promotion(
        name, NOW_MS + 1_000 * opens_s, NOW_MS + 1_000 * (opens_s + open_for_s), limit, quota
    ),
    st.sampled_from(["p", "q"]),
    st.sampled_from([0, 0, 0, 5]),
    st.sampled_from([20, 200, 200]),
    st.sampled_from([0, 4]),
    st.sampled_from([(("A", 6),), (("A", 4), ("B", 5)), (("B", 6), ("A", 5)), (("B", 60),)]),
)


class StockMachine(RuleBasedStateMachine):
    """Hypothesis draws the actions, or a walk calls them; `make` says which stock they judge."""

    def make(self) -> Stock:
        """The stock to judge."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stock = self.make()
        self.model = Model()
        self.now_ms = NOW_MS

    def run(self, call: Coroutine[Any, Any, _T]) -> _T:
        """Wait for a call."""
        return self.loop.run_until_complete(call)

    def teardown(self) -> None:
        """Give connections back."""
        self.run(self.stock.close())
        self.loop.close()

    @initialize(promotions=st.lists(PROMOTIONS, max_size=3))
    def install(self, promotions: list[Promotion]) -> None:
        """Begin with an epoch, some stock and maybe promotions."""
        self.run(self.stock.install_epoch(EPOCH))
        self.receive("first", 16, 14)
        for promotion in promotions:
            self.open_promotion(promotion)

    def picked(self, picks: list[int]) -> list[bytes]:
        """Ids of some of the last orders, or of ones that there are not."""
        lives = self.model.lives[-7:]
        return [lives[pick].reservation.order_id if pick < len(lives) else oid(100 + pick) for pick in picks]

    @rule(batch=st.lists(ORDERS, max_size=5), ttl_s=st.sampled_from([2, 5, 30]))
    def reserve(self, batch: list[Any], ttl_s: int) -> None:
        """A batch, with repeats, conflicts and ids that hold already."""
        until_ms = self.now_ms + 1_000 * ttl_s
        told = self.run(self.stock.reserve(EPOCH, batch, now_ms=self.now_ms, held_until_ms=until_ms))
        assert told == [self.model.reserve(reservation, self.now_ms, until_ms) for reservation in batch]

    @rule(picks=PICKS)
    def confirm(self, picks: list[int]) -> None:
        """Some are paid."""
        ids = self.picked(picks)
        assert self.run(self.stock.confirm(EPOCH, ids)) == [self.model.finish(one, End.CONFIRMED) for one in ids]

    @rule(picks=PICKS)
    def release(self, picks: list[int]) -> None:
        """Some are cancelled."""
        ids = self.picked(picks)
        assert self.run(self.stock.release(EPOCH, ids)) == [self.model.finish(one, End.RELEASED) for one in ids]

    @rule(seconds=st.integers(0, 8), limit=st.sampled_from([1, 2, 50]))
    def expire_due(self, seconds: int, limit: int) -> None:
        """Time goes by and is up for some."""
        self.now_ms += 1_000 * seconds
        found = self.run(self.stock.expire_due(EPOCH, now_ms=self.now_ms, limit=limit))
        self.model.check_expired(found, self.now_ms, limit)

    @rule(picks=PICKS)
    def settle(self, picks: list[int]) -> None:
        """The ledger has some of the expired."""
        ids = self.picked(picks)
        self.run(self.stock.settle(EPOCH, ids))
        for life in self.model.lives:
            life.unsettled = life.unsettled and life.reservation.order_id not in ids

    @rule(pick=st.integers(0, 7), or_main=st.booleans(), only_expired=st.sampled_from([True, True, False]))
    def retake(self, pick: int, or_main: bool, only_expired: bool) -> None:
        """A payment comes late."""
        expired = [life for life in self.model.lives if life.end in (End.EXPIRED, End.EXPIRED_TO_MAIN)]
        (order_id,) = self.picked([pick])
        if expired and only_expired:
            order_id = expired[pick % len(expired)].reservation.order_id
        life = self.model.latest(order_id)
        pools = [life.pool if life else "main"]
        pools += ["main"] if or_main and pools != ["main"] else []
        quantities = life.reservation.quantities if life else (("A", 1),)
        told = self.run(self.stock.retake(EPOCH, order_id, pools, quantities))
        assert told == self.model.retake(order_id, pools)

    @rule(pick=st.integers(0, 7), name=st.integers(0, 9), take=st.sampled_from([0, 0, 1]))
    def restock(self, pick: int, name: int, take: int) -> None:
        """Sold units go back on the shelf: all that is left of an order, or some; some again."""
        sold = [life for life in self.model.lives if life.sold_from is not None]
        if not sold:
            return
        life = sold[pick % len(sold)]
        restock_id = bytes((255, name)) + bytes(14)
        left = [(sku, min(take or units, units)) for sku, units in self.model.left(life) if units]
        if restock_id not in self.model.restocks and not left:
            return
        asked = Restock(restock_id, life.sold_from or "", tuple(left) or (("A", 1),))
        (told,) = self.run(self.stock.restock(EPOCH, [asked]))
        assert told == self.model.restock(life, asked)

    @rule(ref=st.sampled_from(["r1", "r2", "r3", "r4", "r5", "r6"]), a=st.integers(-3, 6), b=st.integers(-3, 6))
    def receive(self, ref: str, a: int, b: int) -> None:
        """Deliveries and what is taken off, some repeated."""
        fits = min(self.model.free(("A", "main")) + a, self.model.free(("B", "main")) + b) >= 0
        repeated = f"receive {ref}" in self.model.refs
        try:
            assert self.run(self.stock.receive(EPOCH, ref, [("A", a), ("B", b)])) is not repeated
        except Refused:
            assert not fits
            assert not repeated
            return
        if not repeated:
            self.model.refs[f"receive {ref}"] = True
            self.model.received.update({"A": a, "B": b})
            self.model.places |= {("A", "main"), ("B", "main")}

    @rule(ref=st.integers(0, 30), sku=SKUS, source=POOLS, into=POOLS, qty=st.integers(1, 5))
    def move(self, ref: int, sku: str, source: str, into: str, qty: int) -> None:
        """Units change pools."""
        if source == into:
            return
        told = self.model.move(str(ref), sku, source, into, qty)
        try:
            assert self.run(self.stock.move(EPOCH, str(ref), sku, source, into, qty)) == told
        except (UnknownThing, Refused):
            assert told is None

    @rule(promotion=PROMOTIONS)
    def open_promotion(self, promotion: Promotion) -> None:
        """A promotion opens, again, or under other terms."""
        told = self.model.open(promotion)
        try:
            assert self.run(self.stock.open_promotion(EPOCH, promotion)) == told
        except Refused:
            assert told is None

    @rule(name=st.sampled_from(["p", "q"]), really=st.sampled_from([False, False, True]))
    def close_promotion(self, name: str, really: bool) -> None:
        """A promotion closes; not every time that it could, or none would live long."""
        if not really:
            return
        told = self.model.close(name)
        try:
            assert self.run(self.stock.close_promotion(EPOCH, name)) == told
        except UnknownThing:
            assert told is None

    @invariant()
    def books_agree(self) -> None:
        """Every account of every pool is the model's; no unit is lost, made, or sold twice."""
        pools = self.run(self._pools())
        assert all(pool.free >= 0 and pool.held >= 0 and pool.sold >= 0 for pool in pools)
        for sku in ("A", "B"):
            parts = [pool.free + pool.held + pool.sold for pool in pools if pool.sku == sku]
            assert sum(parts) == self.model.received[sku]
        told = {(pool.sku, pool.pool): (pool.free, pool.held, pool.sold) for pool in pools}
        model = self.model
        assert told == {place: (model.free(place), model.held(place), model.sold(place)) for place in model.places}

    @invariant()
    def holds_agree(self) -> None:
        """Live holds and unsettled ones are the model's."""
        live = [life for life in self.model.lives if life.end is None]
        told = self.run(self._holds())
        assert told == {
            life.reservation.order_id: (life.pool, life.due_ms, life.reservation.quantities) for life in live
        }
        unsettled = {life.reservation.order_id for life in self.model.lives if life.unsettled}
        assert self.run(self.stock.unsettled()) == len(unsettled)

    @invariant()
    def limits_hold(self) -> None:
        """No buyer has more of an open promotion than its limit."""
        for name, promotion in self.model.promotions.items():
            for buyer in ("ann", "bob"):
                bought = self.model.bought(name, buyer)
                assert not promotion.buyer_limit or bought <= promotion.buyer_limit, promo_pool(name)

    async def _pools(self) -> list[Pool]:
        return [pool async for pool in self.stock.pools()]

    async def _holds(self) -> dict[bytes, tuple[str, int, tuple[tuple[str, int], ...]]]:
        return {hold.order_id: (hold.pool, hold.due_ms, hold.quantities) async for hold in self.stock.holds()}
