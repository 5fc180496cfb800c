"""An order's story, put together from the ledger in one place, for the command line, the HTTP front and its page."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID
from zlib import crc32

from msgspec import Struct, structs

from streams.core.books import OrderRecord, State, StepRecord, StoredDecision
from streams.core.identity import SubmissionKey
from streams.core.stages import EXPECTED_H, NEXT, Firsts, Stage, first_times, parcels, stages
from streams.core.standing import standing
from streams.core.vocabulary import WHOLE, Axis, stands
from streams.errors import Refused
from streams.finding import Which, find, which_order
from streams.messages import DecidedLine, Outcome, Reason
from streams.stores.ledger import Ledger

__all__ = ["Moment", "Parcel", "Story", "Which", "tell", "unseen", "which_order"]


class Moment(Struct, frozen=True, omit_defaults=True):
    """One thing that happened to an order. `at` is when it was written, `occurred_at` when it happened, by its source.

    `id` tells how many moments there are up to this one and what they are: two readers who have seen the same id have
    seen the same moments, whoever told them.
    """

    id: str
    at: datetime
    what: str
    source: str
    result: str | None = None
    occurred_at: datetime | None = None
    shipment: str | None = None
    sku: str | None = None
    note: str | None = None


class Parcel(Struct, frozen=True, omit_defaults=True):
    """A parcel of an order: its number, how far it is by the vocabulary of fulfilment, and since when."""

    number: str
    reached: str
    since: datetime


class Story(Struct, frozen=True, omit_defaults=True):
    """What was decided on an order and what became of it. Money is minor units; times are UTC.

    `state` and what stands below it is only there for orders that were accepted.
    """

    order_id: UUID
    channel: str
    submission_id: str
    outcome: Outcome
    decided_at: datetime
    trace_id: str
    moments: tuple[Moment, ...]
    reason: Reason | None = None
    state: State | None = None
    buyer_id: str | None = None
    channel_order_no: str | None = None
    total: int | None = None
    currency: str | None = None
    promotion_id: str | None = None
    submitted_at: datetime | None = None
    held_until: datetime | None = None
    changed_at: datetime | None = None
    lines: tuple[DecidedLine, ...] = ()
    status: str | None = None
    status_zh: str | None = None
    status_en: str | None = None
    owner: str | None = None
    waits_for: str | None = None
    stages: tuple[Stage, ...] = ()
    parcels: tuple[Parcel, ...] = ()

    @property
    def version(self) -> str:
        """The last moment's id."""
        return self.moments[-1].id


async def tell(ledger: Ledger, which: Which, *, token: str | None = None) -> Story | None:
    """The story so far, read from the replica; None before there is a decision. See `token` in `find_decision`.

    Raises `Refused` for what is no token.
    """
    found = await find(ledger, which, token=token)
    if found is None:
        return None
    key, decision = found
    try:
        record = await ledger.find_order(decision.order_id, token=token)
        steps = await ledger.step_records(decision.order_id, token=token)
    except ValueError as error:
        raise Refused(str(error)) from None
    if record is None:
        return _decided(key, decision, tuple(_moments(decision, record, ())))
    return story_of(decision, record, steps)


def unseen(moments: tuple[Moment, ...], last_seen: str | None) -> tuple[Moment, ...]:
    """What a reader who has seen the moment of that id has not; all, when that was another history."""
    for number, moment in enumerate(moments):
        if moment.id == last_seen:
            return moments[number + 1 :]
    return moments


def _moments(decision: StoredDecision, record: OrderRecord | None, steps: Iterable[StepRecord]) -> Iterable[Moment]:
    told: list[Moment] = []
    if record is not None:
        told.append(Moment("", record.submitted_at, "submitted", record.channel))
    reason = decision.reason and decision.reason.value
    told.append(Moment("", decision.decided_at, decision.outcome.value, "intake", reason))
    told.extend(map(_moment, steps))
    seen = 0
    for number, one in enumerate(told, start=1):
        seen = crc32(f"{one.at.isoformat()} {one.what} {one.source} {one.result}".encode(), seen)
        yield structs.replace(one, id=f"{number}-{seen:08x}")


def _moment(step: StepRecord) -> Moment:
    shipment, sku = step.part
    return Moment(
        id="",
        at=step.at,
        what=step.kind,
        source=step.source,
        result=step.result.value,
        occurred_at=step.occurred_at,
        shipment=shipment or None,
        sku=sku or None,
        note=step.note,
    )


def _decided(key: SubmissionKey, decision: StoredDecision, moments: tuple[Moment, ...]) -> Story:
    channel, submission_id = key
    return Story(
        order_id=decision.order_id,
        channel=channel,
        submission_id=submission_id,
        outcome=decision.outcome,
        decided_at=decision.decided_at,
        trace_id=decision.trace_id or decision.order_id.hex,
        moments=moments,
        reason=decision.reason,
    )


def story_of(
    decision: StoredDecision,
    record: OrderRecord,
    steps: Sequence[StepRecord],
    expected_h: Mapping[str, float] = EXPECTED_H,
) -> Story:
    """The story of an accepted order and its steps, in the order of writing. Pure."""
    firsts = first_times(steps)
    reached = {part: frozenset(times) for part, times in firsts.items()}
    stood = standing(record.state, reached)
    owner, waits_for = NEXT.get(stood.status, (None, None))
    return Story(
        order_id=decision.order_id,
        channel=record.channel,
        submission_id=record.submission_id,
        outcome=decision.outcome,
        decided_at=decision.decided_at,
        trace_id=record.trace_id,
        moments=tuple(_moments(decision, record, steps)),
        state=record.state,
        buyer_id=record.buyer_id,
        channel_order_no=record.channel_order_no,
        total=record.total,
        currency=record.currency,
        promotion_id=record.promotion_id,
        submitted_at=record.submitted_at,
        held_until=record.held_until,
        changed_at=record.changed_at,
        lines=tuple(DecidedLine(sku, record.pool, qty) for sku, qty in record.quantities),
        status=stood.status.value,
        status_zh=stood.rule.zh,
        status_en=stood.rule.en,
        owner=owner,
        waits_for=waits_for,
        stages=stages(record, firsts, expected_h),
        parcels=tuple(_parcels(firsts)),
    )


def _parcels(firsts: Firsts) -> Iterable[Parcel]:
    whole = firsts.get(WHOLE, {})
    for number in parcels(firsts):
        own = {code: at for (shipment, _), times in firsts.items() if shipment == number for code, at in times.items()}
        times = {**whole, **own}
        furthest = stands(Axis.FULFILMENT, frozenset(times))
        yield Parcel(number, furthest.name, times.get(furthest.code, min(own.values())))
