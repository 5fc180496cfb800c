"""What the pipeline asks of the ledger: the protocol and its values.

The ledger is the truth. A decision is durable here before anyone hears of it; the movements of stock are kept as
double entries, so that any balance can be added up again. Writes go to the primary. Reads that a person asks for go to
the replica, with a token when they must see an earlier write.

Every write is idempotent: writing the same thing again changes nothing.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from streams.messages import Outcome, Reason, Submission
from streams.stores.stock import Promotion

SubmissionKey = tuple[str, str]
"""Channel and submission id."""


class Booking(NamedTuple):
    """One decision to be written, with the submission it answers and where that was read.

    `quantities` has each SKU once. `pool`, `held_until` and `quantities` matter for accepted ones only.
    """

    submission: Submission
    fingerprint: bytes
    order_id: UUID
    outcome: Outcome
    reason: Reason | None
    decided_at: datetime
    held_until: datetime | None
    pool: str
    quantities: tuple[tuple[str, int], ...]
    total: int
    trace_id: str
    partition: int
    offset: int


class StoredDecision(NamedTuple):
    """A decision as the ledger has it."""

    order_id: UUID
    fingerprint: bytes
    outcome: Outcome
    reason: Reason | None
    decided_at: datetime
    held_until: datetime | None
    trace_id: str | None


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

    `expected` are the states from which the step may be taken; found in another, the ledger leaves the order alone.
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


class Ledger(Protocol):
    """Postgres, or its fake."""

    async def migrate(self) -> list[str]:
        """Bring the schema up to date; returns the migrations applied. Safe to call from several processes."""
        ...

    async def epoch(self) -> int | None:
        """The newest epoch issued; None before the first."""
        ...

    async def issue_epoch(self, reason: str) -> int:
        """Issue the next epoch, starting at 1."""
        ...

    async def persist(self, batch: Sequence[Booking]) -> Persisted:
        """Write decisions, orders, lines and hold movements in one transaction.

        No two of `batch` share a key. Keys that the ledger knows already are left as they are and returned.
        """
        ...

    async def lookup(self, keys: Sequence[SubmissionKey]) -> dict[SubmissionKey, StoredDecision]:
        """The decisions of these keys, from the primary; absent ones are left out."""
        ...

    async def record_conflicts(self, conflicts: Sequence[Conflict]) -> None:
        """Keep conflicts; one row per key and fingerprint."""
        ...

    async def orders(self, order_ids: Sequence[UUID]) -> dict[UUID, OrderRecord]:
        """Accepted orders by id, from the primary; absent ones are left out."""
        ...

    async def take_steps(self, steps: Sequence[Step]) -> tuple[str, list[StepResult]]:
        """Take steps in one transaction, each once by order, source and event id; returns token and results.

        Several steps of one order in one call are taken in the order given.
        """
        ...

    async def record_movements(self, movements: Sequence[Movement]) -> bool:
        """Write movements that belong to no order, all or none; False when their first was known already."""
        ...

    async def save_promotion(self, record: PromotionRecord, movements: Sequence[Movement] = ()) -> None:
        """Insert or update a promotion, with the movements that its new state brings, in one transaction."""
        ...

    async def promotions(self, *states: PromotionState) -> list[PromotionRecord]:
        """Promotions in these states, or all."""
        ...

    async def find_order(self, order_id: UUID, *, token: str | None = None) -> OrderRecord | None:
        """An accepted order, read from the replica; see `token` in `find_decision`."""
        ...

    async def find_decision(
        self, key: SubmissionKey | UUID, *, token: str | None = None
    ) -> tuple[SubmissionKey, StoredDecision] | None:
        """A decision by its key or order id, read from the replica.

        With a `token` the reader sees at least the write that returned it: the replica is waited for, within a bound,
        and past that the primary is read. Raises `ValueError` for a token that is no WAL position.
        """
        ...

    async def steps(self, order_id: UUID, *, token: str | None = None) -> list[tuple[datetime, str, str, str]]:
        """What was done to an order after its decision: (at, kind, source, result), oldest first; from the replica."""
        ...

    def balances(self) -> AsyncIterator[Balance]:
        """Stream every balance, added up from the movements on the primary, in order of SKU and pool."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
