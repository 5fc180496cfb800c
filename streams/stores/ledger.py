"""What the pipeline asks of the ledger: the protocol and its values.

The ledger is the truth. A decision is durable here before anyone hears of it; the movements of stock are kept as
double entries, so that any balance can be added up again. Writes go to the primary. Reads that a person asks for go to
the replica, with a token when they must see an earlier write.

Every write is idempotent: writing the same thing again changes nothing.

A write of what the stock has done carries the epoch under which the stock did it, and raises `Fenced`, with nothing
written, when a newer one has been issued: whoever rebuilds the stock from here issues an epoch first, and what is read
after that is all there will ever be of the old stock.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from streams.core.books import (
    Balance,
    Booking,
    ChannelNumber,
    Conflict,
    Message,
    Movement,
    OrderRecord,
    Persisted,
    Position,
    PromotionRecord,
    PromotionState,
    Quarantined,
    RestockAsked,
    RestockClaim,
    Step,
    StepRecord,
    StepResult,
    StoredDecision,
    Taken,
    TicketToOpen,
    Unsaid,
)
from streams.core.differences import LastStep, Stood, Trace
from streams.core.identity import SubmissionKey
from streams.core.memory import KeptDecision, KeptEnd, KeptHold, KeptPromotion, KeptRef, KeptUnits
from streams.core.stock import End
from streams.messages import Ticket

Tell = Callable[[Sequence[Taken]], Sequence[Message]]
"""What is to be told of steps that were written, in the order in which they were. Pure: it may be asked twice."""

MAX_BATCH = 5_000
"""Bookings, keys, orders or steps in one call; what a transaction may hold and a worker has to repeat is bounded."""
NAMED_MOST = 5
"""Orders that are told of one name; more of them help nobody to choose."""
WAITING_MOST = 100
"""Records that wait that are told of one order."""


def nothing(_: Sequence[Taken]) -> Sequence[Message]:
    """Tell nobody."""
    return ()


class Snapshot(Protocol):
    """All that a stock must remember, as the books have it at one moment. Streams come in pages of up to 1,000."""

    async def promotions(self) -> list[KeptPromotion]:
        """Those that were opened, closed ones too."""
        ...

    def balances(self) -> AsyncIterator[list[Balance]]:
        """Every balance, by SKU, that of its main first."""
        ...

    def bought(self) -> AsyncIterator[list[KeptUnits]]:
        """What buyers have of promotions that are not closed and have a limit."""
        ...

    def holds(self) -> AsyncIterator[list[KeptHold]]:
        """Orders whose hold has not ended in the books, by deadline."""
        ...

    def decisions(self, since_ms: int) -> AsyncIterator[list[KeptDecision]]:
        """Decisions made since then."""
        ...

    def ends(self, since_ms: int) -> AsyncIterator[list[KeptEnd]]:
        """Orders whose hold ended, or that were sold late, since then."""
        ...

    def refs(self) -> AsyncIterator[list[KeptRef]]:
        """References of all units received and moved by command."""
        ...


FAILED_OVER = "postgres failed over"
"""Why an epoch is issued for a stock that is taken over as it is."""


class Ledger(Protocol):
    """Postgres, or its fake."""

    async def migrate(self) -> list[str]:
        """Bring the schema up to date; returns the migrations applied. Safe to call from several processes."""
        ...

    async def epoch(self) -> int | None:
        """The newest epoch issued; None before the first."""
        ...

    async def issue_epoch(self, reason: str) -> int:
        """Issue the next epoch, starting at 1; waits for writes under the last one, and ends them for good."""
        ...

    async def failed_over_since(self, epoch: int) -> bool:
        """Whether the books have moved to another server since this epoch, and no later one was issued but for that.

        What the server before had committed last may be missing here, this epoch itself too.
        """
        ...

    async def installation(self) -> UUID | None:
        """What tells these books from any others, made with the first epoch; None before that."""
        ...

    def rebuilding(self) -> AbstractAsyncContextManager[bool]:
        """The right to rebuild the stock, for the time of the block; False at once when another process has it."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """What a stock must remember, for the time of the block. Holds a connection."""
        ...

    async def persist(self, batch: Sequence[Booking], epoch: int) -> Persisted:
        """Write decisions, orders, lines and hold movements in one transaction. Raises `Fenced`.

        No two of `batch` share a key. Keys that the ledger knows already are left as they are and returned. The lines
        of an accepted order are its hold's entry, so `quantities` must be the submission's lines added up. A channel's
        order number is one order's: another that comes with it is written without, and a ticket is opened.
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

    async def take_steps(self, steps: Sequence[Step], epoch: int, tell: Tell = nothing) -> tuple[str, list[StepResult]]:
        """Take steps in one transaction, each once by order, source and event id; returns token and results.

        Raises `Fenced`. What `tell` makes of those that were written stands in the outbox by then, in the same
        transaction: as one batch, under the id of its first message, for whoever sends it.

        Movements are written even when the state is NOT_EXPECTED (they are facts), each once by its key.
        Several steps of one order in one call are taken in the order given. A step that was NOT_EXPECTED is so again
        when repeated, one that was taken is REPEATED; of an unknown order nothing is kept.
        """
        ...

    async def unsaid(self, before: datetime, limit: int) -> tuple[str, list[Unsaid]]:
        """Batches in the outbox since before that time, oldest first, and a token that covers them."""
        ...

    async def said(self, batches: Sequence[str]) -> None:
        """Take batches from the outbox: all of their messages are in the log."""
        ...

    async def find_by_numbers(self, numbers: Sequence[ChannelNumber]) -> dict[ChannelNumber, UUID]:
        """Orders by channel and its number, from the primary; absent ones are left out. A number is one order's."""
        ...

    async def find_by_shipments(self, shipments: Sequence[str]) -> dict[str, tuple[UUID, ...]]:
        """Orders by the number of a parcel that was reported of them, from the primary; one may carry several."""
        ...

    async def quarantine(self, records: Sequence[Quarantined], tickets: Sequence[TicketToOpen]) -> list[Message]:
        """Keep records that cannot be taken yet, each once by what it says, and open what tickets are not open.

        One that waited before waits for what is said now.

        The messages of those that were opened are returned, and stand in the outbox as one batch.
        """
        ...

    async def quarantined(
        self, reason: str | None, limit: int, subjects: Sequence[str] | None = None
    ) -> list[Quarantined]:
        """Records that wait, for one reason or any, of some `source:subject` or all, oldest first."""
        ...

    async def resolvable(self, limit: int) -> list[Quarantined]:
        """Records that waited for an order or a parcel which is known by now, oldest first."""
        ...

    async def release(self, records: Sequence[Quarantined]) -> None:
        """Forget records that were taken."""
        ...

    async def tickets(self) -> list[Ticket]:
        """Open tickets, oldest first."""
        ...

    async def close_tickets(self, ticket_ids: Sequence[str], at: datetime) -> list[Message]:
        """Close tickets whose cause is gone.

        The messages of those that were open are returned, and stand in the outbox as one batch.
        """
        ...

    async def record_movements(self, movements: Sequence[Movement]) -> bool:
        """Write movements of one command, all or none, before the stock acts; False when they were written before.

        All have one reference and action; one that receives may be of no units, it makes the SKU known. Raises
        `Refused` when other units were booked under them.
        """
        ...

    async def save_promotion(
        self, record: PromotionRecord, movements: Sequence[Movement] = (), *, epoch: int | None = None
    ) -> None:
        """Insert or update a promotion, with the movements that its new state brings, in one transaction.

        What the stock did, it did under `epoch`: raises `Fenced`. None is for what is written before the stock acts.
        A promotion never goes back: a state that it has left behind changes nothing, but the movements are kept.
        """
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

    async def find_named(self, name: ChannelNumber | str, *, token: str | None = None) -> list[UUID]:
        """Orders by a channel and its number, or by a trace from outside; up to NAMED_MOST, read from the replica.

        Those of one batch may share a trace. See `token` in `find_decision`.
        """
        ...

    async def waiting_of(
        self, order_id: UUID, number: ChannelNumber | None, shipments: Sequence[str], *, token: str | None = None
    ) -> list[Quarantined]:
        """Up to WAITING_MOST records that wait and were said of this order, its number or parcels; from the replica."""
        ...

    async def steps(self, order_id: UUID, *, token: str | None = None) -> list[tuple[datetime, str, str, str]]:
        """What was done to an order after its decision: (at, kind, source, result), oldest first; from the replica."""
        ...

    async def step_records(self, order_id: UUID, *, token: str | None = None) -> list[StepRecord]:
        """All steps of an order with what they said, in the order of writing; from the replica."""
        ...

    async def positions_of(self, order_ids: Sequence[UUID]) -> dict[UUID, Position]:
        """Where accepted orders are, from the primary; absent ones are left out."""
        ...

    async def claim_restocks(self, asked: Sequence[RestockAsked], at: datetime) -> list[RestockClaim]:
        """Write down what is to be put back, before the stock does it; returns all open claims of these orders.

        Each once by order and reference, of what was sold and no other claim has. Raises `Refused`, with nothing
        written, where more units are named than there are; all that is left, when nothing is, is no claim.
        """
        ...

    async def open_restocks(self, before: datetime, limit: int) -> list[RestockClaim]:
        """Claims made before that time that are not booked, oldest first."""
        ...

    async def book_restocks(self, done: Sequence[tuple[RestockClaim, End]], at: datetime, epoch: int) -> None:
        """Book what the stock has put back, each claim once. Raises `Fenced`."""
        ...

    async def standings(self, channel: str, numbers: Sequence[str]) -> dict[str, Stood]:
        """Accepted orders by their channel's number, or by submission id where none has the number; from the replica.

        Absent ones are left out.
        """
        ...

    async def traces(self, channel: str, numbers: Sequence[str]) -> dict[str, Trace]:
        """What is known of numbers, or submission ids, that no accepted order has; from the replica."""
        ...

    async def last_steps(self, order_ids: Sequence[UUID]) -> dict[UUID, LastStep]:
        """The last report that each order took, written last; from the replica. Those that took none are left out."""
        ...

    async def orders_between(
        self, channel: str, after: UUID | None, before: UUID | None, limit: int
    ) -> list[tuple[UUID, str]]:
        """Ids of a channel's accepted orders in between, rising, with their number or else submission id; replica."""
        ...

    def balances(self, skus: Sequence[str] | None = None) -> AsyncIterator[Balance]:
        """Stream every balance, or those of some SKUs, added up on the primary, in order of SKU and pool.

        One snapshot. Whoever stops early closes the iterator (`contextlib.aclosing`), it holds a connection.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
