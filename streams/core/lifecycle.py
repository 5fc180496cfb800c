"""What a report, or an expired hold, does to an order. Pure.

The stock has been asked first (`End` is its answer); from that and from what the ledger knows follow the order's new
state, the movements to write and the change to announce.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from msgspec import structs

from streams.core.books import Action, Movement, OrderRecord, State, Step
from streams.core.stock import MAIN, End, Expired
from streams.core.vocabulary import BY_NAME, EVENTS, WHOLE, Axis, Part
from streams.messages import Change, DecidedLine, Report, ReportType

KEEPER = "floodway-keeper"
"""Source of steps that nobody reported: time did it."""


class LatePayment(StrEnum):
    """What to do with a payment that comes after the hold has ended."""

    SELL = "from the order's own pool if that has all of it, else from main, else refund"
    REFUND = "refund and tell a person"


LATE_PAYMENT_POLICY: dict[End, LatePayment] = {
    # Nobody said no, time did. From the pool of a promotion that has closed the stock sells nothing: that leaves main.
    End.EXPIRED: LatePayment.SELL,
    End.EXPIRED_TO_MAIN: LatePayment.SELL,
    # Somebody cancelled it: a payment does not undo that.
    End.RELEASED: LatePayment.REFUND,
    End.RELEASED_TO_MAIN: LatePayment.REFUND,
}
"""By the end that the hold has come to."""


MOVING_STOCK = frozenset({ReportType.PAYMENT_SUCCEEDED, ReportType.ORDER_CANCELLED, ReportType.REFUND_SUCCEEDED})
"""Reports for which the stock is asked first; all others only tell what was reached."""

_IN_PARTS = frozenset({Axis.FULFILMENT, Axis.RETURN})
"""Axes on which shipments and lines stand apart; paid or cancelled is the whole order."""


class Outcome(NamedTuple):
    """A step to take, and how to announce it."""

    step: Step
    change: Change
    lines: tuple[DecidedLine, ...]


def late_pools(order: OrderRecord, end: End) -> tuple[str, ...]:
    """The pools that a late payment may draw from, in order; empty: only a refund is left."""
    # A cancellation that found the hold expired leaves no mark in the stock: of that the ledger alone knows.
    if LATE_PAYMENT_POLICY.get(end) is not LatePayment.SELL or order.state not in {State.HELD, State.EXPIRED}:
        return ()
    # The order's own pool always stands first: by the place in this list the stock says which of them it sold from.
    return (MAIN,) if order.pool == MAIN else (order.pool, MAIN)


def paid(report: Report, order: OrderRecord, end: End, now: datetime) -> Outcome:
    """The outcome of a payment, `end` being what confirm or, after it, retake has answered."""
    if end is End.CONFIRMED:
        moved = _moves(order, Action.CONFIRM, order.pool, now, held=-1, sold=+1)
        return _reported(report, (State.HELD,), State.CONFIRMED, Change.CONFIRMED, moved, _lines(order), now)
    if end in {End.LATE_FROM_POOL, End.LATE_FROM_MAIN}:
        pool = order.pool if end is End.LATE_FROM_POOL else MAIN
        moved = _moves(order, Action.CONFIRM_LATE, pool, now, free=-1, sold=+1)
        expected = (State.HELD, State.EXPIRED)  # HELD: the keeper may not have written the expiry yet
        return _reported(report, expected, State.CONFIRMED, Change.CONFIRMED_LATE, moved, _lines(order, pool), now)
    unpaid = (State.HELD, State.EXPIRED, State.CANCELLED)
    return _reported(report, unpaid, State.REFUND_DUE, Change.REFUND_DUE, (), (), now)


def cancelled(report: Report, order: OrderRecord, end: End, now: datetime) -> Outcome:
    """The outcome of a cancellation, `end` being what release has answered.

    The buyer is owed the money at once; what becomes of a paid order's units, `streams.core.restock` says.
    """
    paid_for = end in {End.CONFIRMED, End.LATE_FROM_POOL, End.LATE_FROM_MAIN}
    # The stock forgets how a hold ended, and a duplicate that outlives that memory leaves another end under the same
    # id. What the ledger has settled stands: only what it still has as held can have been given back.
    if paid_for or order.state is State.CONFIRMED:
        return _reported(report, (State.CONFIRMED,), State.REFUND_DUE, Change.REFUND_DUE, (), (), now)
    if end in {End.RELEASED, End.RELEASED_TO_MAIN} and order.state in {State.HELD, State.CANCELLED}:
        target = MAIN if end is End.RELEASED_TO_MAIN else order.pool
        moved = _returns(order, Action.RELEASE, target, now) if order.state is State.HELD else ()
        return _reported(report, (State.HELD,), State.CANCELLED, Change.CANCELLED, moved, _lines(order, target), now)
    return _reported(report, (State.HELD, State.EXPIRED), State.CANCELLED, Change.CANCELLED, (), (), now)


def expired(hold: Expired, order: OrderRecord, now: datetime) -> Outcome:
    """The outcome of a hold whose time was up."""
    target = MAIN if hold.end is End.EXPIRED_TO_MAIN else order.pool
    step = Step(
        order_id=order.order_id,
        source=KEEPER,
        event_id="expired",
        kind="hold.expired",
        expected=(State.HELD,),
        state=State.EXPIRED,
        movements=_returns(order, Action.EXPIRE, target, now),
        occurred_at=order.held_until,
        at=now,
        note=None,
        milestone=BY_NAME["expired"].code,
    )
    return Outcome(step, Change.EXPIRED, _lines(order, target))


def apply(report: Report, order: OrderRecord, end: End, now: datetime) -> Outcome:
    """The outcome of a report of MOVING_STOCK; of a cancellation that of a full refund, too: both end the sale."""
    if report.type is ReportType.PAYMENT_SUCCEEDED:
        return paid(report, order, end, now)
    return cancelled(report, order, end, now)


def plain_step(report: Report, now: datetime) -> Step:
    """The step of a report that moves no stock: what it says was reached is kept, whatever the state."""
    return _step(report, (), None, (), now)


def as_it_counts(report: Report, order: OrderRecord) -> Report:
    """A refund of less than the order's total is a partial one, whatever its source calls it."""
    if report.type is ReportType.REFUND_SUCCEEDED and report.amount is not None and report.amount < order.total:
        return structs.replace(report, type=ReportType.REFUND_PARTIAL)
    return report


def _reported(
    report: Report,
    expected: tuple[State, ...],
    state: State,
    change: Change,
    movements: tuple[Movement, ...],
    lines: tuple[DecidedLine, ...],
    now: datetime,
) -> Outcome:
    return Outcome(_step(report, expected, state, movements, now), change, lines)


def _step(
    report: Report, expected: tuple[State, ...], state: State | None, movements: tuple[Movement, ...], now: datetime
) -> Step:
    milestone = EVENTS[report.type]
    return Step(
        order_id=report.order_id,
        source=report.source,
        event_id=report.event_id,
        kind=report.type.value,
        expected=expected,
        state=state,
        movements=movements,
        occurred_at=report.occurred_at,
        at=now,
        note=report.note,
        milestone=None if milestone is None else milestone.code,
        part=_part(report) if milestone is None or milestone.axis in _IN_PARTS else WHOLE,
        raw_code=report.raw_code,
        zone=report.zone,
    )


def _part(report: Report) -> Part:
    return (report.shipment or "", report.sku or "")


def _moves(
    order: OrderRecord, action: Action, pool: str, now: datetime, *, free: int = 0, held: int = 0, sold: int = 0
) -> tuple[Movement, ...]:
    ref = str(order.order_id)
    return tuple(
        Movement(ref, action, sku, pool, free * qty, held * qty, sold * qty, now) for sku, qty in order.quantities
    )


def _returns(order: OrderRecord, action: Action, target: str, now: datetime) -> tuple[Movement, ...]:
    """Units held in the order's pool that become free in `target`."""
    if target == order.pool:
        return _moves(order, action, target, now, held=-1, free=+1)
    return _moves(order, action, order.pool, now, held=-1) + _moves(order, action, target, now, free=+1)


def _lines(order: OrderRecord, pool: str | None = None) -> tuple[DecidedLine, ...]:
    return tuple(DecidedLine(sku, pool or order.pool, qty) for sku, qty in order.quantities)
