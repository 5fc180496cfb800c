"""The ledger's entries as values: decisions, movements, steps of orders, promotions, balances."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from streams.core.identity import SubmissionKey
from streams.core.intent import Intent
from streams.core.stock import Promotion
from streams.messages import Outcome, Reason


class Booking(NamedTuple):
    """One decision to be written, with the submission it answers.

    `order_id` is that of the key's first decision, the intent's own but for a repeat. Times are milliseconds since
    1970; `held_until_ms` is 0 unless accepted, which it is without a `reason`.
    """

    intent: Intent
    order_id: UUID
    reason: Reason | None
    decided_at_ms: int
    held_until_ms: int

    @property
    def key(self) -> SubmissionKey:
        """The idempotency key."""
        return self.intent.submission_key


class StoredDecision(NamedTuple):
    """A decision as the ledger has it. `partition` and `offset` tell where its submission was first read."""

    order_id: UUID
    fingerprint: bytes
    outcome: Outcome
    reason: Reason | None
    decided_at: datetime
    held_until: datetime | None
    trace_id: str | None
    partition: int = -1
    offset: int = -1


class Persisted(NamedTuple):
    """What `persist` found: the token of the write, and the decisions whose keys the ledger had before."""

    token: str
    stored: Mapping[SubmissionKey, StoredDecision]


class Conflict(NamedTuple):
    """A submission that reused a key with another body; kept for those who ask."""

    channel: str
    submission_id: str
    fingerprint: bytes
    partition: int
    offset: int
    seen_at: datetime


class State(StrEnum):
    """Where an accepted order's stock stands."""

    HELD = "held"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUND_DUE = "refund_due"


class Action(StrEnum):
    """Why units moved. One row of `movements` is unique by reference, action, SKU and pool."""

    RECEIVE = "receive"
    HOLD = "hold"
    CONFIRM = "confirm"
    RELEASE = "release"
    EXPIRE = "expire"
    CONFIRM_LATE = "confirm_late"
    MOVE = "move"
    OPEN = "open"
    SWEEP = "sweep"


class Movement(NamedTuple):
    """Units that changed account in one pool. An order's `ref` is its id's text; that of a command is its own."""

    ref: str
    action: Action
    sku: str
    pool: str
    free: int
    held: int
    sold: int
    at: datetime


class OrderRecord(NamedTuple):
    """An accepted order as the ledger has it."""

    order_id: UUID
    channel: str
    submission_id: str
    buyer_id: str
    channel_order_no: str | None
    currency: str
    total: int
    promotion_id: str | None
    pool: str
    state: State
    submitted_at: datetime
    decided_at: datetime
    held_until: datetime
    changed_at: datetime
    trace_id: str
    quantities: tuple[tuple[str, int], ...]


class Step(NamedTuple):
    """One step of an order after its decision: new state, the movements it makes, and what caused it.

    `movements` are facts, things the stock has done: they are written whatever state the order is in, once by their
    own key. `expected` are the states from which `state` may be entered; found in another, the state is left alone.
    `source` and `event_id` are the cause's idempotency key.
    """

    order_id: UUID
    source: str
    event_id: str
    kind: str
    expected: tuple[State, ...]
    state: State
    movements: tuple[Movement, ...]
    occurred_at: datetime
    at: datetime
    note: str | None


class StepResult(StrEnum):
    """What became of a step: taken now, taken before, or the order stood elsewhere."""

    TAKEN = "taken"
    REPEATED = "repeated"
    NOT_EXPECTED = "not_expected"
    UNKNOWN_ORDER = "unknown_order"


class PromotionState(StrEnum):
    """A promotion's way: what was asked for is written first, and finished by whoever finds it unfinished."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"


class PromotionRecord(NamedTuple):
    """A promotion as the ledger has it."""

    promotion: Promotion
    state: PromotionState


class Balance(NamedTuple):
    """Units of one SKU in one pool, added up from the movements."""

    sku: str
    pool: str
    free: int
    held: int
    sold: int
