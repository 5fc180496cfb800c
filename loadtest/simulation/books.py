"""What must hold at the end, when nothing breaks any more and nobody has anything left to do."""

from collections import Counter, defaultdict
from uuid import UUID

from loadtest.simulation.network import listed, run_at_once
from loadtest.simulation.oracle import Oracle
from loadtest.simulation.trace import Trace
from loadtest.simulation.workload import PROMOTION, Sends
from loadtest.simulation.world import World
from streams.core.books import OrderRecord, PromotionState, State
from streams.core.stock import promo_pool
from streams.messages import Change, Outcome, Reason, ReportType

_SAID = {
    State.CONFIRMED: {Change.CONFIRMED, Change.CONFIRMED_LATE},
    State.CANCELLED: {Change.CANCELLED},
    State.EXPIRED: {Change.EXPIRED},
    State.REFUND_DUE: {Change.REFUND_DUE},
}
_Place = tuple[str, str]
_Accounts = tuple[int, int, int]


class Books:
    """The last judgement."""

    def __init__(self, world: World, oracle: Oracle, sends: Sends, trace: Trace) -> None:
        self._world, self._oracle, self._sends, self._trace = world, oracle, sends, trace

    def waiting_for(self) -> str:
        """What is still to be done; empty when all is quiet."""
        world = self._world
        if self._sends.waiting:
            return f"{self._sends.waiting} records to come"
        for topic in (world.submitted, world.reported):
            if topic.lag:
                return f"{topic.lag} records of {topic.name} are not committed"
        if world.review.lag:
            return f"{world.review.lag} submissions are under review"
        if not world.stock_is_sound():
            return f"the stock carries {run_at_once(world.stock.carried())}, not the ledger's newest epoch"
        unsettled = run_at_once(world.stock.unsettled())
        if unsettled:
            return f"{unsettled} expired holds are not settled"
        if world.ledger.outbox:
            return f"{len(world.ledger.outbox)} batches stand in the outbox"
        if open_ := world.ledger.claims.keys() - world.ledger.restocked:
            return f"{len(open_)} orders' units are to be put back on the shelf"
        now_ms = world.clock.now_ms()
        for record in world.ledger.saved_promotions.values():
            half_way = record.state in {PromotionState.OPENING, PromotionState.CLOSING}
            if half_way or (record.state is PromotionState.OPEN and record.promotion.closes_at_ms <= now_ms):
                return f"promotion {record.promotion.promotion_id} is {record.state}"
        return ""

    def live_holds(self) -> int:
        """Holds that have not ended."""
        return len(listed(self._world.stock.holds()))

    def check(self) -> None:
        """Everything, in the order in which it is best read."""
        self._submissions()
        self._reports()
        self._shelves()
        self._holds()
        by_order = self._movements()
        for order in self._world.ledger.accepted.values():
            self._order(order, by_order[order.order_id])
        self._limit(by_order)

    def _fail(self, invariant: str, detail: str) -> None:
        self._trace.fail(invariant, detail)

    def _submissions(self) -> None:
        """One decision a key, made on the first of it; an answer to each; all answers the same."""
        for (partition, offset), sent in self._sends.submissions.items():
            missing = self._oracle.undone(self._world.submitted, partition, offset)
            if missing:
                self._fail("undone", f"submission at {partition}:{offset}: {missing}")
            stored = self._oracle.stored(sent)
            if stored is None:
                continue
            answers = {(d.order_id, d.outcome, d.reason) for d in self._oracle.answers[partition, offset]}
            if len(answers) != 1:
                self._fail("answers_agree", f"{sent.key} at {partition}:{offset} was answered {answers}")
        for key, first in self._sends.first.items():
            if all(d.replay for d in self._oracle.answers[first.partition, first.offset]):
                self._fail("replay_mark", f"{key}: its first submission was answered as a repeat only")
            stored = self._world.ledger.decisions[key]
            if (stored.partition, stored.offset) != (first.partition, first.offset):
                self._fail("first_comes_first", f"{key}: decided was offset {stored.offset}, not {first.offset}")
            if stored.reason is Reason.UNKNOWN_SKU and b'"NONE"' not in (first.value or b""):
                self._fail("unjust_refusal", f"{key}: all its SKUs are known, and it was refused as {stored.reason}")
            if (stored.outcome is Outcome.ACCEPTED) != (stored.order_id in self._world.ledger.accepted):
                self._fail("orders_are_decisions", f"{key}: {stored}")
        surplus = self._world.ledger.decisions.keys() - self._sends.first.keys()
        if surplus:
            self._fail("decided_unasked", f"{surplus}")

    def _reports(self) -> None:
        for partition, offset in self._sends.reports:
            missing = self._oracle.undone(self._world.reported, partition, offset)
            if missing:
                self._fail("undone", f"report at {partition}:{offset}: {missing}")

    def _shelves(self) -> None:
        """Stock and ledger say the same to the unit, and the ledger has all that was received."""
        shelves = {
            (p.sku, p.pool): (p.free, p.held, p.sold)
            for p in listed(self._world.stock.pools())
            if p.free or p.held or p.sold
        }
        booked: dict[_Place, _Accounts] = {}
        units: Counter[str] = Counter()
        for b in listed(self._world.ledger.balances()):
            units[b.sku] += b.free + b.held + b.sold
            if b.free or b.held or b.sold:
                booked[b.sku, b.pool] = (b.free, b.held, b.sold)
        if any(min(accounts) < 0 for accounts in shelves.values()):
            self._fail("below_zero", f"{shelves}")
        for record in self._world.ledger.saved_promotions.values():
            pool = promo_pool(record.promotion.promotion_id)
            left = {place: units for place, units in booked.items() if place[1] == pool and units[0]}
            if left and record.state is PromotionState.CLOSED:
                self._fail("swept_clean", f"left for nobody to sell: {left}")
        for place in sorted(shelves.keys() | booked.keys()):
            if shelves.get(place) != booked.get(place):
                self._fail("stock_is_ledger", f"{place}: stock {shelves.get(place)}, ledger {booked.get(place)}")
        if +units != +self._oracle.received:
            self._fail("ledger_conserves", f"booked {dict(units)}, received {dict(self._oracle.received)}")

    def _holds(self) -> None:
        """Each hold has its order, and each order that is held has its hold."""
        found = {UUID(bytes=hold.order_id) for hold in listed(self._world.stock.holds())}
        meant = {order.order_id for order in self._world.ledger.accepted.values() if order.state is State.HELD}
        if found != meant:
            self._fail("holds_are_orders", f"leaked {found - meant}, lost {meant - found}")

    def _movements(self) -> dict[UUID, dict[_Place, list[int]]]:
        by_order: dict[UUID, dict[_Place, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
        names = {str(order_id): order_id for order_id in self._world.ledger.accepted}
        for m in self._world.ledger.movements.values():
            if m.ref in names:
                accounts = by_order[names[m.ref]][m.sku, m.pool]
                for i, moved in enumerate((m.free, m.held, m.sold)):
                    accounts[i] += moved
        return by_order

    def _order(self, order: OrderRecord, moved: dict[_Place, list[int]]) -> None:
        """An order's movements add up to its state, and its state follows from what was reported."""
        held = sum(accounts[1] for accounts in moved.values())
        sold = sum(accounts[2] for accounts in moved.values())
        qty = sum(units for _, units in order.quantities)
        right = {
            State.HELD: held == qty and sold == 0,
            State.CONFIRMED: held == 0 and sold == qty,
            State.CANCELLED: held == sold == 0,
            State.EXPIRED: held == sold == 0,
            State.REFUND_DUE: held == 0 and sold in {0, qty},
        }
        if not right[order.state]:
            self._fail("contradictory", f"{order.state} with {held} held and {sold} sold of {qty}: {order}")
        kinds = {report.type for report in self._sends.by_order.get(order.order_id, ())}
        due = order.held_until.timestamp() * 1000 <= self._world.clock.now_ms() + self._world.plan.skew_ms
        allowed = {
            frozenset(): {State.EXPIRED if due else State.HELD, State.HELD},
            frozenset({ReportType.PAYMENT_SUCCEEDED}): {State.CONFIRMED, State.REFUND_DUE},
            frozenset({ReportType.ORDER_CANCELLED}): {State.CANCELLED},
        }.get(frozenset(kinds), {State.REFUND_DUE})
        if order.state not in allowed:
            self._fail("state_follows_reports", f"{order.state} after {sorted(kinds)}: {order}")
        silent = order.order_id in self._oracle.unsaid and not self._world.plan.silent_expiry
        said = _SAID.get(order.state, set()) & set(self._oracle.changes[order.order_id])
        if order.state is not State.HELD and not said and not (silent and order.state is State.EXPIRED):
            self._fail("change_announced", f"nobody was told that {order.order_id} is {order.state}")

    def _limit(self, by_order: dict[UUID, dict[_Place, list[int]]]) -> None:
        """No buyer has more of a promotion than its limit."""
        record = self._world.ledger.saved_promotions.get(PROMOTION)
        if record is None or not record.promotion.buyer_limit:
            return
        pool = promo_pool(PROMOTION)
        bought: Counter[str] = Counter()
        for order in self._world.ledger.accepted.values():
            for (_, where), (_, held, sold) in by_order[order.order_id].items():
                if where == pool:
                    bought[order.buyer_id] += held + sold
        for buyer, units in bought.items():
            if units > record.promotion.buyer_limit:
                self._fail("buyer_limit", f"{buyer} has {units} of at most {record.promotion.buyer_limit}")
