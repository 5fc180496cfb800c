"""Values of the books as rows of the ledger's tables, and back.

Bookings have a module of their own, `ledger_copy`. The rest goes by asyncpg's COPY: tuples in the order of the column
lists here.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import asyncpg

from streams.core.books import (
    Movement,
    OrderRecord,
    Position,
    PromotionRecord,
    PromotionState,
    State,
    StepRecord,
    StepResult,
    StoredDecision,
    Taken,
)
from streams.core.identity import SubmissionKey
from streams.core.stock import Promotion, added_up
from streams.core.vocabulary import Part
from streams.stores.ledger_codes import ACTIONS, STATE_OF, STATES, outcome_of

Row = tuple[Any, ...]

STEPS = ("at", "occurred_at", "state", "milestone", "advanced", "order_id", "source", "event_id", "kind", "note",
         "shipment", "sku", "raw_code", "zone")  # fmt: skip
MOVEMENTS = ("order_id", "action", "sku", "pool", "free", "held", "sold", "at")

_PG_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def encode_timestamp(moment: datetime) -> tuple[int]:
    """What asyncpg writes for a timestamptz: microseconds since 2000 UTC, exact."""
    past = moment - _PG_EPOCH
    return ((past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds,)


def decode_timestamp(value: tuple[int]) -> datetime:
    """What asyncpg returns for a timestamptz: an aware datetime in UTC."""
    return _PG_EPOCH + timedelta(microseconds=value[0])


def step_row(taken: Taken) -> Row:
    """A row for COPY into `order_steps`."""
    step, done = taken.step, taken.result is StepResult.TAKEN
    state = STATES[step.state] if done and step.state is not None else None
    shipment, sku = step.part
    return (
        step.at, step.occurred_at, state, step.milestone, done and step.state is None, step.order_id, step.source,
        step.event_id, step.kind, step.note, shipment or None, sku or None, step.raw_code, step.zone,
    )  # fmt: skip


def step_result(row: asyncpg.Record) -> StepResult:
    """What became of a stored step."""
    return StepResult.NOT_EXPECTED if row["state"] is None and not row["advanced"] else StepResult.TAKEN


def step_record(row: asyncpg.Record) -> StepRecord:
    """A row of `step_records` as a value."""
    return StepRecord(
        at=row["at"],
        occurred_at=row["occurred_at"],
        kind=row["kind"],
        source=row["source"],
        event_id=row["event_id"],
        result=step_result(row),
        state=None if row["state"] is None else STATE_OF[row["state"]],
        milestone=row["milestone"],
        part=(row["shipment"] or "", row["sku"] or ""),
        raw_code=row["raw_code"],
        zone=row["zone"],
        note=row["note"],
    )


def position(row: asyncpg.Record) -> Position:
    """A row of `positions` as a value. `reached` has a line for each milestone and part, which many orders share."""
    state = State.HELD if row["state"] is None else STATE_OF[row["state"]]
    text = row["reached"]
    return Position(state, _reached(text) if text else {}, row["steps"])


@lru_cache(maxsize=4096)
def _reached(text: str) -> Mapping[Part, frozenset[int]]:
    codes: dict[Part, set[int]] = {}
    for line in text.split("\n"):
        code, shipment, sku = line.split(" ")
        codes.setdefault((shipment, sku), set()).add(int(code))
    return MappingProxyType({part: frozenset(found) for part, found in codes.items()})


def order_movements(written: Iterable[Taken]) -> dict[Row, Row]:
    """The movements of steps for COPY into `order_movements`: key columns to the rest, each key once."""
    moved: dict[Row, Row] = {}
    for step, *_ in written:
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
        trace_id=row["trace_id"] or row["order_id"].hex,
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
        quantities=tuple(added_up(zip(row["skus"], row["qtys"], strict=True)).items()),
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
