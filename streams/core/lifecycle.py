"""What a report, or an expired hold, does to an order. Pure.

The stock has been asked first (`End` is its answer); from that and from what the ledger knows follow the order's new
state, the movements to write and the change to announce.
"""

from datetime import datetime
from typing import NamedTuple

from streams.core.books import Action, Movement, OrderRecord, State, Step
from streams.core.stock import MAIN, End, Expired
from streams.messages import Change, DecidedLine, OrderChanged, Report, ReportType

KEEPER = "floodway-keeper"
"""Source of steps that nobody reported: time did it."""


class LatePayment(NamedTuple):
    """What to do with a payment that comes after the hold has ended, in order of preference."""

    same_pool: bool
    main: bool


LATE_PAYMENT_POLICY: dict[End, LatePayment] = {
    # Nobody said no: sell from the order's own pool if it still has all of it, else from main, else refund.
    End.EXPIRED: LatePayment(same_pool=True, main=True),
    # Its promotion has closed and its pool is swept: main, else refund.
    End.EXPIRED_TO_MAIN: LatePayment(same_pool=False, main=True),
    # Somebody cancelled it: a payment does not undo that. Refund and tell a person.
    End.RELEASED: LatePayment(same_pool=False, main=False),
    End.RELEASED_TO_MAIN: LatePayment(same_pool=False, main=False),
}
"""By the end that the hold has come to. A refund is what remains when nothing else is allowed or possible."""


class Outcome(NamedTuple):
    """A step to take, and how to announce it."""

    step: Step
    change: Change
    lines: tuple[DecidedLine, ...]


def late_pools(order: OrderRecord, end: End) -> tuple[str, ...]:
    """The pools that a late payment may draw from, in order; empty: only a refund is left."""
    policy = LATE_PAYMENT_POLICY.get(end)
    if policy is None:
        return ()
    pools = [order.pool] if policy.same_pool else []
    if policy.main and MAIN not in pools:
        pools.append(MAIN)
    return tuple(pools)


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

    A paid order's units stay sold until somebody says where they are; the buyer is owed the money at once.
    """
    if end in {End.RELEASED, End.RELEASED_TO_MAIN}:
        target = MAIN if end is End.RELEASED_TO_MAIN else order.pool
        moved = _returns(order, Action.RELEASE, target, now)
        return _reported(report, (State.HELD,), State.CANCELLED, Change.CANCELLED, moved, _lines(order, target), now)
    if end in {End.CONFIRMED, End.LATE_FROM_POOL, End.LATE_FROM_MAIN}:
        return _reported(report, (State.CONFIRMED,), State.REFUND_DUE, Change.REFUND_DUE, (), (), now)
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
    )
    return Outcome(step, Change.EXPIRED, _lines(order, target))


def announcement(outcome: Outcome, order: OrderRecord, token: str) -> OrderChanged:
    """The message that tells of a step."""
    return OrderChanged(
        order_id=order.order_id,
        submission_id=order.submission_id,
        channel=order.channel,
        change=outcome.change,
        changed_at=outcome.step.at,
        cause=outcome.step.kind,
        trace_id=order.trace_id,
        lines=outcome.lines,
        read_token=token,
    )


def apply(report: Report, order: OrderRecord, end: End, now: datetime) -> Outcome:
    """The outcome of any report."""
    if report.type is ReportType.PAYMENT_SUCCEEDED:
        return paid(report, order, end, now)
    return cancelled(report, order, end, now)


def _reported(
    report: Report,
    expected: tuple[State, ...],
    state: State,
    change: Change,
    movements: tuple[Movement, ...],
    lines: tuple[DecidedLine, ...],
    now: datetime,
) -> Outcome:
    step = Step(
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
    )
    return Outcome(step, change, lines)


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
