"""Why an order is where it is: where it stands on each axis, what brought it there, how long that took, who is next.

Put together from the ledger in a few look-ups, for people and machines alike.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from msgspec import Struct, structs

from streams.core.books import OrderRecord, StepRecord, StepResult, StoredDecision
from streams.core.stages import EXPECTED_H, NEXT, Stage, first_times, stages
from streams.core.standing import Standing, standing
from streams.core.vocabulary import BY_CODE, Part, overtaken
from streams.errors import UnknownThing
from streams.finding import Which, find
from streams.messages import Outcome, Reason
from streams.stores.ledger import Ledger


class Submitted(Struct, frozen=True, omit_defaults=True):
    """What was submitted. `total` is minor units, `lines` are SKUs and units."""

    at: datetime
    lines: tuple[tuple[str, int], ...]
    total: int
    currency: str
    promotion_id: str | None = None


class Decided(Struct, frozen=True, omit_defaults=True):
    """What was decided, and where the submission was first read: partition and offset of its topic."""

    at: datetime
    outcome: Outcome
    partition: int
    offset: int
    reason: Reason | None = None


class Hold(Struct, frozen=True, omit_defaults=True):
    """The units that were held: from which pool, until when, and what has become of the hold."""

    pool: str
    until: datetime
    state: str


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


class Waits(Struct, frozen=True):
    """What a source said of the order that could not be taken yet: since when, who, why not, and the code or name."""

    since: datetime
    source: str
    why: str
    what: str


class Took(Struct, frozen=True, omit_defaults=True):
    """A stage: when it began and ended, who owns it, how many seconds it took so far, and how late it is or was."""

    name: str
    owner: str
    began_at: datetime
    took_s: float
    due_at: datetime
    ended_at: datetime | None = None
    shipment: str | None = None
    late_s: float = 0.0
    broken_off: bool = False


class Why(Struct, frozen=True, omit_defaults=True):
    """The answer. `owner` and `waits_for` are there while something has to be done, `late` while a part is.

    What was rejected has no submission to show, no hold and no stages.
    """

    order_id: UUID
    channel: str
    submission_id: str
    trace_id: str
    status: str
    status_zh: str
    axes: dict[str, str]
    reason: str
    since: datetime
    decision: Decided
    reports: tuple[Because, ...]
    stages: tuple[Took, ...]
    submission: Submitted | None = None
    hold: Hold | None = None
    channel_order_no: str | None = None
    owner: str | None = None
    waits_for: str | None = None
    late: tuple[Took, ...] = ()
    waiting: tuple[Waits, ...] = ()


async def why(ledger: Ledger, which: Which, *, now: datetime, token: str | None = None) -> Why:
    """Why the order of that name is where it is, at `now`; see `streams.finding.find` for names and tokens.

    Raises `UnknownThing` when there is no such order.
    """
    found = await find(ledger, which, token=token)
    if found is None:
        name = str(which) if isinstance(which, UUID) else ":".join(which)
        raise UnknownThing(f"No decision on {name} is known; was it submitted, and does an intake worker run?")
    (channel, submission_id), decision = found
    order = await ledger.find_order(decision.order_id, token=token)
    if order is None:
        return _rejected(channel, submission_id, decision)
    steps = await ledger.step_records(order.order_id, token=token)
    number = None if order.channel_order_no is None else (order.channel, order.channel_order_no)
    shipments = {step.part[0] for step in steps if step.part[0]}
    waiting = await ledger.waiting_of(order.order_id, number, sorted(shipments), token=token)
    told = tuple(Waits(one.seen_at, one.source, one.reason, one.subject) for one in waiting)
    return structs.replace(explain(order, decision, steps, now), waiting=told)


def explain(
    order: OrderRecord,
    decision: StoredDecision,
    steps: Iterable[StepRecord],
    now: datetime,
    expected_h: Mapping[str, float] = EXPECTED_H,
) -> Why:
    """The answer for an order and its steps, in the order of writing. Pure."""
    steps = list(steps)
    reached: dict[Part, frozenset[int]] = {}
    reports: list[Because] = []
    for step in steps:
        reports.append(_because(step, reached))
        if step.milestone is not None:
            reached[step.part] = reached.get(step.part, frozenset()) | {step.milestone}
    stands = standing(order.state, reached)
    owner, waits_for = NEXT.get(stands.status, (None, None))
    # What brought it where it is: no remark, and nothing that came late or twice.
    last = next(
        (because for because, step in zip(reversed(reports), reversed(steps), strict=True) if _leads(step)), None
    )
    took = tuple(_took(stage, now) for stage in stages(order, first_times(steps), expected_h))
    return Why(
        order_id=order.order_id,
        channel=order.channel,
        submission_id=order.submission_id,
        trace_id=order.trace_id,
        status=stands.status,
        status_zh=stands.rule.zh,
        axes=_axes(stands),
        reason=f"{last.source} reported {last.what}: {last.effect}"
        if last
        else "accepted, and nothing has led further since",
        since=last.at if last else order.decided_at,
        decision=_decided(decision),
        reports=tuple(reports),
        stages=took,
        submission=Submitted(order.submitted_at, order.quantities, order.total, order.currency, order.promotion_id),
        hold=Hold(order.pool, order.held_until, order.state.value),
        channel_order_no=order.channel_order_no,
        owner=owner,
        waits_for=waits_for,
        late=tuple(stage for stage in took if stage.late_s and stage.ended_at is None),
    )


def _took(stage: Stage, now: datetime) -> Took:
    return Took(
        name=stage.name,
        owner=stage.owner,
        began_at=stage.began_at,
        took_s=round(max(0.0, ((stage.ended_at or now) - stage.began_at).total_seconds()), 3),
        due_at=stage.due_at,
        ended_at=stage.ended_at,
        shipment=stage.shipment,
        late_s=round(stage.late_s(now), 3),
        broken_off=stage.broken_off,
    )


def _decided(decision: StoredDecision) -> Decided:
    return Decided(decision.decided_at, decision.outcome, decision.partition, decision.offset, decision.reason)


def _leads(step: StepRecord) -> bool:
    return step.result is StepResult.TAKEN and (step.milestone is not None or step.state is not None)


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
        decision=_decided(decision),
        reports=(),
        stages=(),
    )
