"""An order's story, put together from the ledger in one place, for the command line, the HTTP front and its page."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID
from zlib import crc32

from msgspec import Struct

from streams.core.books import OrderRecord, State, StoredDecision
from streams.core.identity import SubmissionKey
from streams.errors import Refused
from streams.messages import DecidedLine, Outcome, Reason
from streams.stores.ledger import Ledger

Which = SubmissionKey | UUID
"""An order by channel and submission id, or by its own id."""


class Moment(Struct, frozen=True, omit_defaults=True):
    """One thing that happened to an order.

    `id` tells how many moments there are up to this one and what they are: two readers who have seen the same id have
    seen the same moments, whoever told them.
    """

    id: str
    at: datetime
    what: str
    source: str
    result: str | None = None


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

    @property
    def version(self) -> str:
        """The last moment's id."""
        return self.moments[-1].id


def which_order(text: str) -> Which:
    """What a person means by an order id or `channel:submission_id`. Raises `Refused`."""
    channel, colon, submission_id = text.partition(":")
    if colon:
        return (channel, submission_id)
    try:
        return UUID(text)
    except ValueError:
        raise Refused(f"{text!r} is neither an order id nor channel:submission_id.") from None


async def tell(ledger: Ledger, which: Which, *, token: str | None = None) -> Story | None:
    """The story so far, read from the replica; None before there is a decision. See `token` in `find_decision`.

    Raises `Refused` for what is no token.
    """
    try:
        found = await ledger.find_decision(which, token=token)
        if found is None:
            return None
        key, decision = found
        record = await ledger.find_order(decision.order_id, token=token)
        steps = await ledger.steps(decision.order_id, token=token)
    except ValueError as error:
        raise Refused(str(error)) from None
    moments = tuple(_moments(decision, record, steps))
    if record is None:
        return _decided(key, decision, moments)
    return _accepted(decision, record, moments)


def unseen(moments: tuple[Moment, ...], last_seen: str | None) -> tuple[Moment, ...]:
    """What a reader who has seen the moment of that id has not; all, when that was another history."""
    for number, moment in enumerate(moments):
        if moment.id == last_seen:
            return moments[number + 1 :]
    return moments


def _moments(
    decision: StoredDecision, record: OrderRecord | None, steps: Iterable[tuple[datetime, str, str, str]]
) -> Iterable[Moment]:
    told: list[tuple[datetime, str, str, str | None]] = []
    if record is not None:
        told.append((record.submitted_at, "submitted", record.channel, None))
    told.append((decision.decided_at, decision.outcome.value, "intake", decision.reason and decision.reason.value))
    told.extend(steps)
    seen = 0
    for number, (at, what, source, result) in enumerate(told, start=1):
        seen = crc32(f"{at.isoformat()} {what} {source} {result}".encode(), seen)
        yield Moment(f"{number}-{seen:08x}", at, what, source, result)


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


def _accepted(decision: StoredDecision, record: OrderRecord, moments: tuple[Moment, ...]) -> Story:
    return Story(
        order_id=decision.order_id,
        channel=record.channel,
        submission_id=record.submission_id,
        outcome=decision.outcome,
        decided_at=decision.decided_at,
        trace_id=record.trace_id,
        moments=moments,
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
    )
