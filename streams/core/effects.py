"""What follows from a step that was written: messages for those who watch, buyers, and the warehouse. Pure.

There are facts and demands. A fact (a milestone) is told once, when it is first reported, and which facts are told does
not depend on the order in which reports come in; one that comes when its axis is further already is told as overtaken,
and nobody has to act on it. A demand (pick this, pay that back) is made when the stock's state calls for it and taken
back when it no longer does: what stands in the end does not depend on the order either, but on the way there a demand
may be made and taken back, or never be made.
"""

from functools import lru_cache
from types import MappingProxyType

import msgspec

from streams.core.books import Message, OrderRecord, Position, State, StepResult, Taken
from streams.core.lifecycle import Outcome
from streams.core.remarks import author_of
from streams.core.standing import Status, standing
from streams.core.vocabulary import BY_NAME, MILESTONES, WHOLE, Milestone, Part
from streams.messages import Change, Notification, NotificationType, OrderChanged, PickAction, PickList, ReportType
from streams.topics import CHANGED, NOTIFICATIONS, PICKLISTS

TOLD_BY_STATE = frozenset({"paid", "cancelled", "expired", "refund_due", "held", "sold"})
"""Milestones that are no changes of their own: what the stock makes of them is."""

CHANGE_OF = MappingProxyType({m.code: Change(m.name) for m in MILESTONES if m.name not in TOLD_BY_STATE and m.rank > 0})
NOTICE_OF = MappingProxyType(
    {m.code: NotificationType(f"order.{m.name}") for m in MILESTONES if f"order.{m.name}" in set(NotificationType)}
)
REFUND_DUE = BY_NAME["refund_due"]
"""The one notice that follows from the stock's state; all others follow from milestones that were reported."""

PICK = frozenset({Change.CONFIRMED, Change.CONFIRMED_LATE})

_REFUNDED = BY_NAME["refunded"].code
_NOTHING: frozenset[int] = frozenset()
_encode = msgspec.json.Encoder().encode


def effects(taken: Taken, order: OrderRecord, outcome: Outcome | None) -> list[Message]:
    """What to tell of a step, in order. `outcome` is that of a step that has a state, `order` the one it is of."""
    status = _status(taken.after)
    messages: list[Message] = []
    if outcome is not None and taken.result is StepResult.TAKEN:
        messages += _of_state(taken, order, outcome, status)
    if taken.new is not None:
        code = taken.new.code
        if code in CHANGE_OF:
            messages.append(_changed(taken, order, CHANGE_OF[code], status))
        if code in NOTICE_OF:
            messages.append(_notice(taken, order, taken.new, status))
    if taken.step.kind == ReportType.ORDER_REMARKED.value and author_of(taken.step.source) is not None:
        messages.append(_changed(taken, order, Change.REMARKED, status))
    return messages


def _of_state(taken: Taken, order: OrderRecord, outcome: Outcome, status: Status) -> list[Message]:
    change = outcome.change
    if change is Change.REFUND_DUE and _REFUNDED in taken.after.reached.get(WHOLE, ()):
        # The money is back already: asked for once more it might be paid twice.
        messages = []
    else:
        messages = [_changed(taken, order, change, status, outcome)]
        if change is Change.REFUND_DUE:
            messages.append(_notice(taken, order, REFUND_DUE, status))
    if change in PICK:
        messages.append(_pick_list(taken, order, PickAction.PICK, outcome))
    elif change is Change.REFUND_DUE and taken.before.state is State.CONFIRMED:
        messages.append(_pick_list(taken, order, PickAction.WITHDRAW, outcome))
    return messages


def _changed(
    taken: Taken, order: OrderRecord, change: Change, status: Status, outcome: Outcome | None = None
) -> Message:
    step = taken.step
    part = WHOLE if outcome is not None else step.part
    value = OrderChanged(
        order_id=order.order_id,
        submission_id=order.submission_id,
        channel=order.channel,
        change=change,
        changed_at=step.at,
        cause=step.kind,
        trace_id=order.trace_id,
        lines=() if outcome is None else outcome.lines,
        status=status,
        version=taken.after.steps,
        occurred_at=step.occurred_at,
        shipment=part[0] or None,
        sku=part[1] or None,
        overtaken=outcome is None and taken.overtaken,
    )
    key = str(order.order_id)
    # Of remarks there may be several, each told once; of anything else only the first.
    what = f"{change}:{step.source}:{step.event_id}" if change is Change.REMARKED else change
    return Message(CHANGED.name, key, _id(key, "changed", what, part), _encode(value))


def _notice(taken: Taken, order: OrderRecord, milestone: Milestone, status: Status) -> Message:
    step = taken.step
    notification_id = _id(str(order.order_id), "notice", milestone.name, step.part)
    value = Notification(
        notification_id=notification_id,
        type=NOTICE_OF[milestone.code],
        channel=order.channel,
        submission_id=order.submission_id,
        buyer_id=order.buyer_id,
        order_id=order.order_id,
        message=f"Your order {order.channel_order_no or order.submission_id}: {milestone.en}.",
        at=step.at,
        trace_id=order.trace_id,
        channel_order_no=order.channel_order_no,
        status=status,
        occurred_at=step.occurred_at,
        shipment=step.part[0] or None,
        overtaken=taken.overtaken and milestone is taken.new,
    )
    key = f"{order.channel}:{order.submission_id}"
    return Message(NOTIFICATIONS.name, key, notification_id, _encode(value))


def _pick_list(taken: Taken, order: OrderRecord, action: PickAction, outcome: Outcome) -> Message:
    key = str(order.order_id)
    value = PickList(
        order_id=order.order_id,
        channel=order.channel,
        action=action,
        lines=outcome.lines,
        at=taken.step.at,
        trace_id=order.trace_id,
        channel_order_no=order.channel_order_no,
    )
    return Message(PICKLISTS.name, key, _id(key, "picklist", action, WHOLE), _encode(value))


def _id(key: str, kind: str, what: str, part: Part) -> str:
    """The same for the same thing told of the same part of an order, for ever."""
    return f"{key}:{kind}:{what}" if part == WHOLE else f"{key}:{kind}:{what}:{part[0]}:{part[1]}"


def _status(position: Position) -> Status:
    """Most orders stand where many others do: the names of their parcels make no difference, only how far each is."""
    state, reached, _ = position
    if any(sku for _, sku in reached):
        return standing(state, reached).status
    whole = reached.get(WHOLE, _NOTHING)
    return _status_of(state, whole, frozenset([codes for part, codes in reached.items() if part != WHOLE]))


@lru_cache(maxsize=16_384)
def _status_of(state: State, whole: frozenset[int], parcels: frozenset[frozenset[int]]) -> Status:
    reached = {(str(number), ""): codes for number, codes in enumerate(parcels)}
    return standing(state, {**reached, WHOLE: whole}).status
