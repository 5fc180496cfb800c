"""The ledger's entries as values: decisions, movements, steps of orders, promotions, balances."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from streams.core.identity import SubmissionKey
from streams.core.intent import Intent
from streams.core.stock import Promotion
from streams.core.vocabulary import WHOLE, Milestone, Part
from streams.messages import Outcome, Reason, Ticket


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
    RESTOCK = "restock"


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

    `milestone` is the code of what `part` of the order has reached by it; what has been reached is never unsaid, so it
    is kept whatever the state. A step without `state` moves no stock. `raw_code` and `zone` are the source's own.
    """

    order_id: UUID
    source: str
    event_id: str
    kind: str
    expected: tuple[State, ...]
    state: State | None
    movements: tuple[Movement, ...]
    occurred_at: datetime
    at: datetime
    note: str | None
    milestone: int | None = None
    part: Part = WHOLE
    raw_code: str | None = None
    zone: str | None = None


class StepResult(StrEnum):
    """What became of a step: taken now, taken before, or the order stood elsewhere, or was that far already."""

    TAKEN = "taken"
    REPEATED = "repeated"
    NOT_EXPECTED = "not_expected"
    UNKNOWN_ORDER = "unknown_order"


class StepRecord(NamedTuple):
    """A step as the ledger has it, with what became of it. `milestone` is a code, the part's names may be empty."""

    at: datetime
    occurred_at: datetime
    kind: str
    source: str
    event_id: str
    result: StepResult
    state: State | None
    milestone: int | None
    part: Part
    raw_code: str | None
    zone: str | None
    note: str | None


class Position(NamedTuple):
    """Where an order is in the ledger: its stock, what each part has reached, and how many steps it has made."""

    state: State
    reached: Mapping[Part, frozenset[int]]
    steps: int


class RestockAsked(NamedTuple):
    """Sold units of an order that are to go back on the shelf, under a reference that is unique in the order.

    `quantities` by SKU; None units are all that is left of it, None in place of all is all of the order.
    """

    order_id: UUID
    ref: str
    quantities: Mapping[str, int | None] | None = None


class RestockClaim(NamedTuple):
    """What the ledger has granted of that: from where it was sold, and when it was asked for."""

    order_id: UUID
    ref: str
    pool: str
    quantities: tuple[tuple[str, int], ...]
    asked_at: datetime


class Taken(NamedTuple):
    """A step as it was written, and where the order was before and is now.

    `new` is the milestone that it was the first to report; `overtaken` tells that its axis was further by then.
    """

    step: Step
    result: StepResult
    new: Milestone | None
    overtaken: bool
    before: Position
    after: Position


class Message(NamedTuple):
    """Something to be told, written down with the step that caused it. `id` is the same however often it is sent."""

    topic: str
    key: str
    id: str
    value: bytes


class Unsaid(NamedTuple):
    """Messages of one transaction that nobody has said to have sent. `batch` tells it from others."""

    batch: str
    messages: tuple[Message, ...]


ChannelNumber = tuple[str, str]
"""A channel, and its own number of an order."""


class Quarantined(NamedTuple):
    """A record of a source that cannot be taken yet, byte for byte, where it stood, and what it waits for.

    `subject` is the unknown code, or what the order is looked for by; that stands in its own field, too.
    """

    partition: int
    offset: int
    seen_at: datetime
    reason: str
    source: str
    subject: str
    channel: str | None
    channel_order_no: str | None
    shipment: str | None
    order_id: UUID | None
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...]


class TicketToOpen(NamedTuple):
    """A ticket, and the message that tells of it if it was not open before."""

    ticket: Ticket
    message: Message


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
