"""Values of the books as rows of the ledger's tables, and back.

Batches are built for binary COPY: tuples in the order of the column lists here. Times are handed over as the integers
that Postgres keeps (microseconds since 2000), because asyncpg's own conversion of a datetime costs as much as the
rest of a row.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import msgspec

from streams.core.books import (
    Booking,
    Movement,
    OrderRecord,
    PromotionRecord,
    PromotionState,
    State,
    Step,
    StepResult,
    StoredDecision,
    SubmissionKey,
)
from streams.core.stock import Promotion, added_up
from streams.messages import Outcome
from streams.stores.ledger_codes import ACTIONS, STATE_OF, STATES, VERDICTS, outcome_of
from streams.stores.ledger_rules import assert_adds_up

Row = tuple[Any, ...]

DECISIONS = ("decided_at", "log_offset", "log_partition", "verdict", "order_id", "fingerprint", "channel",
             "submission_id")  # fmt: skip
ORDERS = ("decided_at", "submitted_at", "held_until", "total", "order_id", "channel", "submission_id",
          "buyer_id", "currency", "pool", "trace_id", "promotion_id", "channel_order_no", "ship_to")  # fmt: skip
LINES = ("unit_price", "qty", "line_no", "order_id", "sku", "pool")
STEPS = ("at", "occurred_at", "state", "order_id", "source", "event_id", "kind", "note")
MOVEMENTS = ("order_id", "action", "sku", "pool", "free", "held", "sold", "at")

_PG_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_encode_json = msgspec.json.Encoder().encode


def micros(moment: datetime) -> int:
    """An aware datetime as Postgres keeps it: microseconds since 2000 UTC, exact."""
    past = moment - _PG_EPOCH
    return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds


def encode_timestamp(value: datetime | int) -> tuple[int]:
    """What asyncpg writes for a timestamptz; integers are microseconds since 2000 already."""
    return (value if value.__class__ is int else micros(value),)  # type: ignore[arg-type]


def decode_timestamp(value: tuple[int]) -> datetime:
    """What asyncpg returns for a timestamptz: an aware datetime in UTC."""
    return _PG_EPOCH + timedelta(microseconds=value[0])


class Batch(NamedTuple):
    """The rows of a batch of bookings, table by table."""

    decisions: list[Row]
    orders: list[Row]
    lines: list[Row]


def batch_rows(batch: Iterable[Booking]) -> Batch:
    """Rows for COPY. An accepted booking whose quantities are not its submission's lines added up is an assert."""
    rows = Batch([], [], [])
    add_decision, add_order, add_line = rows.decisions.append, rows.orders.append, rows.lines.append
    # A batch is decided in a few calls, so its times repeat; converting each once is most of what there is to save.
    converted: dict[datetime, int] = {}
    for booking in batch:
        submission, moment, order_id = booking.submission, booking.decided_at, booking.order_id
        decided_at = converted.get(moment)
        if decided_at is None:
            decided_at = converted[moment] = micros(moment)
        verdict = VERDICTS[booking.reason]
        add_decision((decided_at, booking.offset, booking.partition, verdict, order_id, booking.fingerprint,
                      submission.channel, submission.submission_id))  # fmt: skip
        if booking.outcome is not Outcome.ACCEPTED:
            assert verdict, f"a rejection without a reason: {booking}"
            continue
        until = booking.held_until
        assert until is not None, f"an accepted order is held until some time: {booking}"
        assert not verdict, f"an accepted order with a reason: {booking}"
        held_until = converted.get(until)
        if held_until is None:
            held_until = converted[until] = micros(until)
        ship_to = submission.ship_to
        pool, lines = booking.pool, submission.lines
        add_order((decided_at, micros(submission.submitted_at), held_until, booking.total, order_id,
                   submission.channel, submission.submission_id, submission.buyer_id, submission.currency, pool,
                   booking.trace_id, submission.promotion_id, submission.channel_order_no,
                   None if ship_to is None else _encode_json(ship_to).decode()))  # fmt: skip
        assert_adds_up(booking)
        for line_no, line in enumerate(lines):
            add_line((line.unit_price, line.qty, line_no, order_id, line.sku, pool))
    return rows


def step_row(step: Step, result: StepResult) -> Row:
    """A row for COPY into `order_steps`."""
    state = STATES[step.state] if result is StepResult.TAKEN else None
    return (step.at, step.occurred_at, state, step.order_id, step.source, step.event_id, step.kind, step.note)


def step_result(row: asyncpg.Record) -> StepResult:
    """What became of a stored step."""
    return StepResult.NOT_EXPECTED if row["state"] is None else StepResult.TAKEN


def order_movements(written: Iterable[tuple[Step, StepResult]]) -> dict[Row, Row]:
    """The movements of steps for COPY into `order_movements`: key columns to the rest, each key once."""
    moved: dict[Row, Row] = {}
    for step, _ in written:
        for _, action, sku, pool, free, held, sold, at in step.movements:
            moved.setdefault((step.order_id, ACTIONS[action], sku, pool), (free, held, sold, at))
    return moved


def movement_columns(movements: Sequence[Movement]) -> tuple[list[Any], ...]:
    """Arrays for `add_command_movements`: ref, action, sku, pool, free, held, sold, at."""
    return (
        [m.ref for m in movements],
        [ACTIONS[m.action] for m in movements],
        [m.sku for m in movements],
        [m.pool for m in movements],
        [m.free for m in movements],
        [m.held for m in movements],
        [m.sold for m in movements],
        [m.at for m in movements],
    )


def stored_decision(row: asyncpg.Record) -> tuple[SubmissionKey, StoredDecision]:
    """A row of `lookup` as key and decision."""
    outcome, reason = outcome_of(row["verdict"])
    return (row["channel"], row["submission_id"]), StoredDecision(
        order_id=row["order_id"],
        fingerprint=row["fingerprint"],
        outcome=outcome,
        reason=reason,
        decided_at=row["decided_at"],
        held_until=row["held_until"],
        trace_id=row["trace_id"],
        partition=row["log_partition"],
        offset=row["log_offset"],
    )


def order_record(row: asyncpg.Record) -> OrderRecord:
    """A row of `orders` as a value."""
    return OrderRecord(
        order_id=row["order_id"],
        channel=row["channel"],
        submission_id=row["submission_id"],
        buyer_id=row["buyer_id"],
        channel_order_no=row["channel_order_no"],
        currency=row["currency"],
        total=row["total"],
        promotion_id=row["promotion_id"],
        pool=row["pool"],
        state=State.HELD if row["state"] is None else STATE_OF[row["state"]],
        submitted_at=row["submitted_at"],
        decided_at=row["decided_at"],
        held_until=row["held_until"],
        changed_at=row["changed_at"] or row["decided_at"],
        trace_id=row["trace_id"],
        quantities=tuple(added_up(zip(row["skus"], row["quantities"], strict=True)).items()),
    )


def promotion_row(record: PromotionRecord) -> Row:
    """Arguments of `save_promotion`."""
    promotion = record.promotion
    return (
        promotion.promotion_id,
        _UNIX_EPOCH + promotion.opens_at_ms * _MS,
        _UNIX_EPOCH + promotion.closes_at_ms * _MS,
        promotion.buyer_limit,
        record.state.value,
        [sku for sku, _ in promotion.quota],
        [units for _, units in promotion.quota],
    )


def promotion_record(row: asyncpg.Record) -> PromotionRecord:
    """A row of `promotions` as a value."""
    return PromotionRecord(
        Promotion(
            promotion_id=row["promotion_id"],
            opens_at_ms=(row["opens_at"] - _UNIX_EPOCH) // _MS,
            closes_at_ms=(row["closes_at"] - _UNIX_EPOCH) // _MS,
            buyer_limit=row["buyer_limit"],
            quota=tuple(zip(row["quota_skus"], row["quota_units"], strict=True)),
        ),
        PromotionState(row["state"]),
    )
