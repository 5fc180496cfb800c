"""Rules that every ledger keeps, whatever it is built on: what becomes of steps, what a movement must be. Pure."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from msgspec import structs

from streams.core.books import (
    Action,
    Booking,
    ChannelNumber,
    Movement,
    Position,
    PromotionState,
    Quarantined,
    State,
    Step,
    StepResult,
    Taken,
    TicketToOpen,
)
from streams.core.stock import added_up
from streams.core.tickets import number_taken
from streams.core.vocabulary import BY_CODE, overtaken
from streams.errors import Fenced, Refused
from streams.instants import to_datetime
from streams.stores.ledger import MAX_BATCH

StepKey = tuple[UUID, str, str]
"""Order id, source and event id."""

logger = logging.getLogger(__name__)

_NOTHING: frozenset[int] = frozenset()
_TOKEN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")
_WAY = {
    PromotionState.OPENING: 0,
    PromotionState.FAILED: 0,  # what failed for want of stock may be tried again
    PromotionState.OPEN: 1,
    PromotionState.CLOSING: 2,
    PromotionState.CLOSED: 3,
}


def overtaken_by(state: PromotionState) -> list[PromotionState]:
    """The states past `state`: a process that was slow to write it must not take a promotion back."""
    return [other for other, place in _WAY.items() if place > _WAY[state]]


def past(epoch: int, newest: int | None) -> Fenced:
    """The error for a write of what the stock has done under an epoch that is not the newest."""
    return Fenced(
        f"The ledger is at epoch {newest or 'none'}, the stock acted under {epoch}: it has been, or is being, rebuilt. "
        "Nothing was written; ask the new stock again."
    )


def failed_over(epoch: int, issued_on: int, timeline: int) -> Fenced:
    """The error for a write under an epoch that was issued before the server was promoted."""
    return Fenced(
        f"Epoch {epoch} was issued on timeline {issued_on}, Postgres is at {timeline}: it was promoted since. Nothing "
        "was written; the stock is taken over under a new epoch first."
    )


def check_batch(count: int, what: str) -> None:
    """Raise `ValueError` when one call asks for more than MAX_BATCH."""
    if count > MAX_BATCH:
        raise ValueError(f"{count} {what} in one call; at most {MAX_BATCH}, so split them.")


class Judgement(NamedTuple):
    """Results in the order of the steps, the steps to be written with theirs, and the orders' new states."""

    results: list[StepResult]
    written: list[Taken]
    """Their movements are facts, so all are to be written, whatever the result."""
    changed: dict[UUID, tuple[State, datetime]]


def step_key(step: Step) -> StepKey:
    """A step's idempotency key."""
    return step.order_id, step.source, step.event_id


def judge(steps: Sequence[Step], positions: Mapping[UUID, Position], known: Mapping[StepKey, StepResult]) -> Judgement:
    """Take `steps` one after the other; `positions` has the accepted orders of theirs, `known` their earlier results.

    A step that was taken before is REPEATED. One that was not expected then is NOT_EXPECTED again, so that nobody
    announces it as done. One without a state is taken when it leads further.
    """
    now_at, seen = dict(positions), dict(known)
    judgement = Judgement([], [], {})
    for step in steps:
        if step.movements:
            check_movements(step.movements, str(step.order_id))
        key = step_key(step)
        before = seen.get(key)
        position = now_at.get(step.order_id)
        if position is None:
            result = StepResult.UNKNOWN_ORDER
        elif before is not None:
            result = StepResult.REPEATED if before is StepResult.TAKEN else before
        else:
            taken = _take(step, position)
            seen[key] = result = taken.result
            judgement.written.append(taken)
            now_at[step.order_id] = taken.after
            if result is StepResult.TAKEN and step.state is not None:
                judgement.changed[step.order_id] = (step.state, step.at)
        judgement.results.append(result)
    return judgement


def _take(step: Step, position: Position) -> Taken:
    """What becomes of a step that is new, with the order at `position`."""
    state, reached, steps = position
    new, late = None, False
    if step.milestone is not None:
        got = reached.get(step.part, _NOTHING)
        if step.milestone not in got:
            new = BY_CODE[step.milestone]
            late = overtaken(new, got)
            reached = {**reached, step.part: got | {step.milestone}}
    if step.state is None:
        done = step.milestone is None or (new is not None and not late)
    else:
        done = state in step.expected
        state = step.state if done else state
    result = StepResult.TAKEN if done else StepResult.NOT_EXPECTED
    return Taken(step, result, new, late, position, Position(state, reached, steps + 1))


def check_movements(movements: Sequence[Movement], order: str | None = None) -> None:
    """Assert that movements move something and, for an order's, that they bear its id and no unit comes or goes.

    Of no units at all a delivery may be: its SKU is known from then on.
    """
    sums: dict[str, int] = {}
    for movement in movements:
        moves = movement.free or movement.held or movement.sold or movement.action is Action.RECEIVE
        assert moves, f"{movement} moves nothing"
        if order is not None:
            assert movement.ref == order, f"{movement} is not of order {order}"
            sums[movement.sku] = sums.get(movement.sku, 0) + movement.free + movement.held + movement.sold
    assert not any(sums.values()), f"an order's movements make or lose units: {sums}"


def check_same_movements(movements: Sequence[Movement], booked: set[tuple[str, str, int, int, int]]) -> None:
    """Raise `Refused` unless what is booked under a reference is what is to be booked again."""
    if {(m.sku, m.pool, m.free, m.held, m.sold) for m in movements} != booked:
        raise Refused(f"{movements[0].ref} was booked with other units; give what is new a reference of its own.")


def assert_adds_up(booking: Booking) -> None:
    """Assert that what the stock took is what the lines ask: the ledger keeps the lines as the hold's entry."""
    asked, quantities = booking.intent.asked, booking.intent.reservation.quantities
    # Nearly every order names each SKU once, and then both are one.
    fits = quantities is asked or dict(quantities) == added_up(asked)
    assert fits, f"quantities {quantities} are not the lines of {booking.key}"


def numbers_of(bookings: Iterable[Booking]) -> list[ChannelNumber]:
    """The channels' numbers of accepted orders, of those that have one."""
    intents = (booking.intent for booking in bookings if booking.reason is None)
    return [(one.submission_key[0], one.channel_order_no) for one in intents if one.channel_order_no]


def without_taken_numbers(
    bookings: Sequence[Booking], taken: Mapping[ChannelNumber, UUID]
) -> tuple[list[Booking], list[TicketToOpen]]:
    """The same bookings; without the channel's number where that is another order's, or of an earlier one of these.

    And a ticket for each that goes without: somebody has to look whether a purchase was submitted twice.
    """
    seen = dict(taken)
    found: list[Booking] = []
    tickets: list[TicketToOpen] = []
    for booking in bookings:
        intent = booking.intent
        if booking.reason is None and intent.channel_order_no:
            channel, submission_id = intent.submission_key
            number = (channel, intent.channel_order_no)
            first = seen.setdefault(number, booking.order_id)
            if first != booking.order_id:
                logger.warning("%s %s is the number of two orders; %s goes without", *number, booking.order_id)
                found.append(booking._replace(intent=structs.replace(intent, channel_order_no=None)))
                at = to_datetime(booking.decided_at_ms)
                tickets.append(number_taken(*number, first, booking.order_id, submission_id, at))
                continue
        found.append(booking)
    return found, tickets


def digest_of(record: Quarantined) -> bytes:
    """What tells a waiting record from others: what it says, with its headers."""
    digest = sha256(record.value)
    for name, value in record.headers:
        digest.update(b"\0" + name.encode("utf-8", "surrogateescape") + b"\0" + (value or b""))
    return digest.digest()


def check_token(token: str | None) -> None:
    """Raise `ValueError` unless `token` is None or a WAL position such as `0/16B3748`."""
    if token is not None and _TOKEN.fullmatch(token) is None:
        raise ValueError(f"{token[:40]!r} is no position in the ledger; pass a read_token as it was given.")
