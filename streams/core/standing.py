"""Where an order stands on each axis, and the one status that people are shown. Pure.

The stock's axis is what the ledger says (`State`); the others follow from the milestones that were reached, part by
part: a shipment, a line in a shipment, or the whole order. What is said of the whole order holds for each part.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from streams.core.books import State
from streams.core.vocabulary import BY_NAME, WHOLE, Axis, Milestone, Part, stands

Reached = Mapping[Part, frozenset[int]]
"""Codes of the milestones that each part has reached."""

_NOTHING: frozenset[int] = frozenset()


class Status(StrEnum):
    """What people are shown."""

    RETURNED = "returned"
    RETURNING = "returning"
    REFUNDED = "refunded"
    REFUND_DUE = "refund_due"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    DELIVERED = "delivered"
    PARTLY_DELIVERED = "partly_delivered"
    DELIVERY_PROBLEM = "delivery_problem"
    OUT_FOR_DELIVERY = "out_for_delivery"
    SHIPPED = "shipped"
    PARTLY_SHIPPED = "partly_shipped"
    EXPIRED = "expired"
    PROCESSING = "processing"
    PAID = "paid"
    PAYMENT_PENDING = "payment_pending"
    AWAITING_PAYMENT = "awaiting_payment"


class Standing(NamedTuple):
    """Where an order is on each axis. `fulfilment` is what all its parts have reached, `furthest` what one has."""

    state: State
    payment: Milestone
    stock: Milestone
    fulfilment: Milestone
    furthest: Milestone
    returning: Milestone

    @property
    def rule(self) -> "Rule":
        """The first of RULES that holds."""
        return next(rule for rule in RULES if rule.holds(self))

    @property
    def status(self) -> Status:
        """What people are shown."""
        return self.rule.status


class Rule(NamedTuple):
    """A status, what it takes in words, and as a test of the axes; with its names."""

    status: Status
    when: str
    holds: Callable[[Standing], bool]
    zh: str
    en: str
    schema_org: str


def _between(milestone: Milestone, first: str, last: str) -> bool:
    return BY_NAME[first].rank <= milestone.rank <= BY_NAME[last].rank


_PROBLEMS = frozenset({"lost", "sent_back", "delivery_failed", "warehouse_refused"})
_RETURNING = frozenset({"return_requested", "return_approved", "return_sent", "return_received", "return_inspected"})

RULES: tuple[Rule, ...] = (
    Rule(Status.RETURNED, "the return is closed", lambda s: s.returning.final, "退货完成", "Returned", "OrderReturned"),
    Rule(Status.RETURNING, "a return is under way", lambda s: s.returning.name in _RETURNING, "退货中",
         "Being returned", "OrderReturned"),
    Rule(Status.REFUNDED, "the money is back", lambda s: s.payment.name == "refunded", "已退款", "Refunded",
         "OrderCancelled"),
    Rule(Status.REFUND_DUE, "the money has to go back", lambda s: s.state is State.REFUND_DUE, "待退款", "Refund due",
         "OrderCancelled"),
    Rule(Status.CANCELLED, "cancelled and not paid", lambda s: s.state is State.CANCELLED, "已取消", "Cancelled",
         "OrderCancelled"),
    Rule(Status.COMPLETED, "all parts are completed", lambda s: s.fulfilment.name == "completed", "交易完成",
         "Completed", "OrderDelivered"),
    Rule(Status.DELIVERED, "all parts are delivered", lambda s: s.fulfilment.rank >= BY_NAME["delivered"].rank,
         "已签收", "Delivered", "OrderDelivered"),
    Rule(Status.PARTLY_DELIVERED, "some parts are delivered", lambda s: s.furthest.rank >= BY_NAME["delivered"].rank,
         "部分签收", "Partly delivered", "OrderInTransit"),
    Rule(Status.DELIVERY_PROBLEM, "a part is refused, lost, sent back or could not be delivered, and got no further",
         lambda s: bool({s.furthest.name, s.fulfilment.name} & _PROBLEMS), "配送异常", "Problem with the delivery",
         "OrderProblem"),
    Rule(Status.OUT_FOR_DELIVERY, "all parts are out for delivery or can be fetched",
         lambda s: _between(s.fulfilment, "ready_for_pickup", "out_for_delivery"), "派送中", "Out for delivery",
         "OrderInTransit"),
    Rule(Status.SHIPPED, "all parts are shipped", lambda s: s.fulfilment.rank >= BY_NAME["shipped"].rank, "已发货",
         "Shipped", "OrderInTransit"),
    Rule(Status.PARTLY_SHIPPED, "some parts are shipped", lambda s: s.furthest.rank >= BY_NAME["shipped"].rank,
         "部分发货", "Partly shipped", "OrderInTransit"),
    Rule(Status.EXPIRED, "not paid in time", lambda s: s.state is State.EXPIRED, "超时未付", "Not paid in time",
         "OrderCancelled"),
    Rule(Status.PROCESSING, "the warehouse is at work", lambda s: s.furthest.rank > 0, "处理中", "Being processed",
         "OrderProcessing"),
    Rule(Status.PAID, "paid", lambda s: s.state is State.CONFIRMED or s.payment.name == "paid", "已付款", "Paid",
         "OrderProcessing"),
    Rule(Status.PAYMENT_PENDING, "a payment is under way", lambda s: s.payment.rank > BY_NAME["payment_failed"].rank,
         "支付中", "Payment under way", "OrderPaymentDue"),
    Rule(Status.AWAITING_PAYMENT, "else", lambda _: True, "待付款", "Awaiting payment", "OrderPaymentDue"),
)  # fmt: skip
"""In order: the first that holds is shown."""

STOCK_OF = MappingProxyType(
    {
        State.HELD: BY_NAME["held"],
        State.EXPIRED: BY_NAME["expired"],
        State.CONFIRMED: BY_NAME["sold"],
        State.CANCELLED: BY_NAME["cancelled"],
        State.REFUND_DUE: BY_NAME["cancelled"],
    }
)
"""The stock's axis as the ledger's states tell it; after a payment that was cancelled the sale is off, too."""


def standing(state: State, reached: Reached) -> Standing:
    """Where an order stands whose stock is at `state` and whose parts have reached these milestones."""
    whole = reached.get(WHOLE, _NOTHING)
    everything = frozenset().union(*reached.values())
    if state is State.REFUND_DUE:
        everything |= {BY_NAME["refund_due"].code}
    least, furthest = _fulfilment(reached, stands(Axis.FULFILMENT, whole))
    return Standing(
        state, stands(Axis.PAYMENT, everything), STOCK_OF[state], least, furthest, stands(Axis.RETURN, everything)
    )


def _fulfilment(reached: Reached, whole: Milestone) -> tuple[Milestone, Milestone]:
    """What all parts have reached, and what the furthest of them has."""
    parts = {part: stands(Axis.FULFILMENT, codes) for part, codes in reached.items() if part != WHOLE}
    in_lines = {shipment for shipment, sku in parts if sku}
    leaves = [
        max(whole, place, parts.get((shipment, ""), place), key=_rank)
        for (shipment, sku), place in parts.items()
        if sku or shipment not in in_lines
    ] or [whole]
    return min(leaves, key=_rank), max(leaves, key=_rank)


def _rank(milestone: Milestone) -> int:
    return milestone.rank
