"""Why an order is where it is: where it stands on each axis, what brought it there, how long that took, who is next.

Put together from the ledger in a few look-ups, for people and machines alike.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from msgspec import Struct

from streams.core.books import OrderRecord, StepRecord, StepResult, StoredDecision
from streams.core.standing import Standing, Status, standing
from streams.core.vocabulary import BY_CODE, BY_NAME, Part, overtaken
from streams.errors import Refused
from streams.stores.ledger import Ledger

NEXT: Mapping[Status, tuple[str, str]] = MappingProxyType(
    {
        Status.AWAITING_PAYMENT: ("the buyer", "a payment"),
        Status.PAYMENT_PENDING: ("the payment system", "the outcome of a payment"),
        Status.PAID: ("the warehouse", "picking; its list is out"),
        Status.PROCESSING: ("the warehouse", "handing the goods to the carrier"),
        Status.PARTLY_SHIPPED: ("the warehouse", "the parcels that are not on their way"),
        Status.SHIPPED: ("the carrier", "delivery"),
        Status.OUT_FOR_DELIVERY: ("the carrier", "the signature"),
        Status.PARTLY_DELIVERED: ("the carrier", "the parcels that are still on their way"),
        Status.DELIVERY_PROBLEM: ("the carrier", "a second try, or the goods back"),
        Status.DELIVERED: ("the buyer", "confirmation, or time"),
        Status.REFUND_DUE: ("finance", "the refund"),
        Status.RETURNING: ("after-sales", "the goods, their inspection and the refund"),
    }
)
"""Who has to act next, and what is waited for; where nothing stands, the order is at its end."""

STAGES = ("paid", "released", "picking", "packed", "shipped", "out_for_delivery", "delivered", "completed")


class Because(Struct, frozen=True, omit_defaults=True):
    """One report, and what it did. `at` is when we wrote it, `occurred_at` when it happened by its source's clock."""

    at: datetime
    occurred_at: datetime
    what: str
    source: str
    effect: str
    raw_code: str | None = None
    zone: str | None = None
    shipment: str | None = None
    sku: str | None = None
    note: str | None = None


class Stage(Struct, frozen=True):
    """A stage that was reached: when, by the sources' clocks, and how many seconds after the one before."""

    name: str
    at: datetime
    after_s: float


class Why(Struct, frozen=True, omit_defaults=True):
    """The answer. `waits_for` and `owner` are there while something has to be done."""

    order_id: UUID
    channel: str
    submission_id: str
    trace_id: str
    status: str
    status_zh: str
    axes: dict[str, str]
    reason: str
    since: datetime
    reports: tuple[Because, ...]
    stages: tuple[Stage, ...]
    channel_order_no: str | None = None
    owner: str | None = None
    waits_for: str | None = None


async def find(ledger: Ledger, which: str) -> UUID:
    """The order that a person means by its id, its trace id, `channel:submission_id` or `channel:number`.

    A trace id that was given from outside is not found. Raises `Refused` for what is none of these or of no order.
    """
    channel, colon, rest = which.partition(":")
    if colon:
        found = await ledger.find_decision((channel, rest))
        if found is not None:
            return found[1].order_id
        by_number = await ledger.find_by_numbers([(channel, rest)])
        if by_number:
            return by_number[channel, rest]
        raise Refused(f"{channel} has neither a submission nor an order number {rest!r}; was it submitted?")
    try:
        return UUID(which)
    except ValueError:
        raise Refused(f"{which!r} is neither an order id nor channel:submission_id nor channel:number.") from None


async def why(ledger: Ledger, which: str) -> Why:
    """Why an order is where it is. Raises `Refused` when there is no such order."""
    order_id = await find(ledger, which)
    found = await ledger.find_decision(order_id)
    if found is None:
        raise Refused(f"No decision on {which} is known; was it submitted, and does an intake worker run?")
    (channel, submission_id), decision = found
    order = await ledger.find_order(order_id)
    if order is None:
        return _rejected(channel, submission_id, decision)
    return explain(order, await ledger.step_records(order_id))


def explain(order: OrderRecord, steps: Iterable[StepRecord]) -> Why:
    """The answer for an order and its steps, in the order of writing. Pure."""
    reached: dict[Part, frozenset[int]] = {}
    reports: list[Because] = []
    firsts: dict[str, datetime] = {}
    for step in steps:
        reports.append(_because(step, reached))
        if step.milestone is not None:
            reached[step.part] = reached.get(step.part, frozenset()) | {step.milestone}
            name = BY_CODE[step.milestone].name
            firsts[name] = min(firsts.get(name, step.occurred_at), step.occurred_at)
    stands = standing(order.state, reached)
    owner, waits_for = NEXT.get(stands.status, (None, None))
    last = reports[-1] if reports else None
    return Why(
        order_id=order.order_id,
        channel=order.channel,
        submission_id=order.submission_id,
        trace_id=order.trace_id,
        status=stands.status,
        status_zh=stands.rule.zh,
        axes=_axes(stands),
        reason=f"{last.source} reported {last.what}: {last.effect}" if last else "accepted, and nothing reported since",
        since=last.at if last else order.decided_at,
        reports=tuple(reports),
        stages=tuple(_stages(order, firsts)),
        channel_order_no=order.channel_order_no,
        owner=owner,
        waits_for=waits_for,
    )


def _because(step: StepRecord, reached: Mapping[Part, frozenset[int]]) -> Because:
    before = reached.get(step.part, frozenset())
    if step.state is not None:
        effect = f"the stock is {step.state.value}"
    elif step.milestone is None:
        effect = "kept as a remark"
    elif step.milestone in before:
        effect = "known already, changed nothing"
    elif overtaken(BY_CODE[step.milestone], before):
        effect = "came late, the order was further already"
    elif step.result is StepResult.TAKEN:
        effect = f"reached {BY_CODE[step.milestone].name}"
    else:
        effect = "refused: the order stood elsewhere"
    shipment, sku = step.part
    return Because(
        step.at,
        step.occurred_at,
        step.kind,
        step.source,
        effect,
        step.raw_code,
        step.zone,
        shipment or None,
        sku or None,
        step.note,
    )


def _stages(order: OrderRecord, firsts: Mapping[str, datetime]) -> Iterable[Stage]:
    """Stages in the order in which they happened, by the sources' clocks."""
    times = [("submitted", order.submitted_at), ("decided", order.decided_at)]
    times += [(name, firsts[name]) for name in STAGES if name in firsts]
    before = order.submitted_at
    for name, at in sorted(times, key=lambda one: one[1]):
        yield Stage(name, at, round((at - before).total_seconds(), 3))
        before = at


def _axes(stands: Standing) -> dict[str, str]:
    return {
        "payment": stands.payment.name,
        "stock": stands.stock.name,
        "fulfilment": stands.fulfilment.name,
        "furthest": stands.furthest.name,
        "return": stands.returning.name,
    }


def _rejected(channel: str, submission_id: str, decision: StoredDecision) -> Why:
    assert decision.reason is not None, "what was accepted has an order"
    return Why(
        order_id=decision.order_id,
        channel=channel,
        submission_id=submission_id,
        trace_id=decision.trace_id or decision.order_id.hex,
        status="rejected",
        status_zh="已拒绝",
        axes={},
        reason=f"rejected: {decision.reason.value}",
        since=decision.decided_at,
        reports=(),
        stages=(),
    )


assert set(STAGES) <= BY_NAME.keys()
