"""Bookings and steps for tests of the ledger, each a function of a number."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from streams.core.books import Action, Booking, Movement, State, Step
from streams.core.decode import Undecodable
from streams.core.identity import SubmissionKey
from streams.core.intent import intent
from streams.core.stock import MAIN
from streams.messages import Line, Reason, ShipTo, Submission

EPOCH = 1
"""That which the tests' ledgers begin with."""
NOW = datetime(2026, 11, 11, 0, 0, tzinfo=UTC)
MS = timedelta(milliseconds=1)
HOLD_MS = 1_800_000

Lines = tuple[tuple[str, int, int], ...]
ONE_LINE: Lines = (("TEA", 2, 450),)


def submission(
    number: int,
    *,
    lines: Lines = ONE_LINE,
    channel: str = "web",
    promotion_id: str | None = None,
    ship_to: ShipTo | None = None,
    submitted_at: datetime | None = None,
) -> Submission:
    """Submission `number` of a channel."""
    return Submission(
        submission_id=f"s-{number:06d}",
        channel=channel,
        buyer_id=f"buyer-{number % 7}",
        lines=tuple(Line(*line) for line in lines),
        currency="EUR",
        submitted_at=submitted_at or NOW + number * MS,
        channel_order_no=f"no-{number}" if number % 2 else None,
        promotion_id=promotion_id,
        ship_to=ship_to,
    )


def booking(answered: Submission, reason: Reason | None = None, *, offset: int = 0) -> Booking:
    """The booking of a submission: accepted, or rejected for `reason`."""
    found = intent(answered, f"{answered.submission_id:0>32}", 3, offset)
    assert not isinstance(found, Undecodable)
    decided_at_ms = found.submitted_at_us // 1000 + 5
    return Booking(found, found.order_id, reason, decided_at_ms, 0 if reason else decided_at_ms + HOLD_MS)


def accepted(number: int, *, lines: Lines = ONE_LINE, promotion_id: str | None = None) -> Booking:
    """Accepted booking `number`."""
    return booking(submission(number, lines=lines, promotion_id=promotion_id), offset=number)


def rejected(number: int, reason: Reason = Reason.OUT_OF_STOCK) -> Booking:
    """Rejected booking `number`."""
    return booking(submission(number), reason, offset=number)


def key(made: Booking) -> SubmissionKey:
    """A booking's key."""
    return made.key


def step(
    order: UUID,
    event_id: str,
    *,
    state: State = State.CONFIRMED,
    expected: tuple[State, ...] = (State.HELD,),
    movements: tuple[Movement, ...] = (),
    after_s: float = 60.0,
    source: str = "pay",
) -> Step:
    """A step of an order; a payment unless told otherwise."""
    at = NOW + timedelta(seconds=after_s)
    return Step(order, source, event_id, "payment.succeeded", expected, state, movements, at, at, None)


def sold(made: Booking) -> tuple[Movement, ...]:
    """The movements that confirm a booking."""
    ref, at, pool = str(made.order_id), NOW, made.intent.pool
    return tuple(Movement(ref, Action.CONFIRM, sku, pool, 0, -qty, qty, at) for sku, qty in made.intent.quantities)


def received(ref: str, *items: tuple[str, int]) -> list[Movement]:
    """The movements of goods received into main."""
    return [Movement(ref, Action.RECEIVE, sku, MAIN, qty, 0, 0, NOW) for sku, qty in items]
