"""The ledger in memory, with the semantics of the real one; passes the same contract suite."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID, uuid4

from streams.core.books import (
    Action,
    Balance,
    Booking,
    ChannelNumber,
    Conflict,
    Movement,
    OrderRecord,
    Persisted,
    Position,
    PromotionRecord,
    PromotionState,
    State,
    Step,
    StepRecord,
    StepResult,
    StoredDecision,
)
from streams.core.identity import SubmissionKey
from streams.core.stock import added_up
from streams.instants import to_datetime
from streams.messages import Outcome
from streams.stores.ledger import FAILED_OVER, NAMED_MOST, Tell, nothing
from streams.stores.ledger_fake_outbox import FakeOutbox
from streams.stores.ledger_fake_restocks import FakeRestocks
from streams.stores.ledger_fake_snapshot import FakeSnapshot
from streams.stores.ledger_fake_standings import FakeStandings
from streams.stores.ledger_rules import (
    assert_adds_up,
    check_batch,
    check_movements,
    check_same_movements,
    check_token,
    failed_over,
    judge,
    overtaken_by,
    past,
    step_key,
    without_taken_numbers,
)

_MovementKey = tuple[str, Action, str, str]


class FakeLedger(FakeOutbox, FakeRestocks, FakeStandings):
    """See `Ledger`. Reads are always current; tokens look like WAL positions and count the writes."""

    def __init__(self) -> None:
        super().__init__()
        self.decisions: dict[SubmissionKey, StoredDecision] = {}
        self.by_order_id: dict[UUID, SubmissionKey] = {}
        self.positions: dict[UUID, Position] = {}
        self.conflicts: dict[tuple[str, str, bytes], Conflict] = {}
        self.movements: dict[_MovementKey, Movement] = {}
        self.saved_promotions: dict[str, PromotionRecord] = {}
        self.epochs: list[str] = []
        self.timeline = 1
        """Higher after each failover; `issued_on` tells that of each epoch, 1 where it says nothing."""
        self.issued_on: dict[int, int] = {}
        self._installation = uuid4()
        self._rebuilding = False
        self._writes = 0

    async def migrate(self) -> list[str]:
        """Nothing to do."""
        return []

    async def close(self) -> None:
        """Nothing to give back."""

    async def epoch(self) -> int | None:
        """See `Ledger`."""
        return len(self.epochs) or None

    async def issue_epoch(self, reason: str) -> int:
        """See `Ledger`."""
        self.epochs.append(reason)
        self.issued_on[len(self.epochs)] = self.timeline
        return len(self.epochs)

    async def failed_over_since(self, epoch: int) -> bool:
        """See `Ledger`."""
        later = self.epochs[epoch:]
        return all(reason == FAILED_OVER for reason in later) if later else self._has_moved()

    async def installation(self) -> UUID | None:
        """See `Ledger`."""
        return self._installation if self.epochs else None

    @asynccontextmanager
    async def rebuilding(self) -> AsyncIterator[bool]:
        """See `Ledger`."""
        mine, self._rebuilding = not self._rebuilding, True
        try:
            yield mine
        finally:
            if mine:
                self._rebuilding = False

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[FakeSnapshot]:
        """See `Ledger`."""
        yield FakeSnapshot(self)

    async def persist(self, batch: Sequence[Booking], epoch: int) -> Persisted:
        """See `Ledger`."""
        check_batch(len(batch), "bookings")
        keys = [booking.key for booking in batch]
        assert len(set(keys)) == len(keys), "a key stands twice in one batch"
        if batch:
            self._fence(epoch)
        stored = await self.lookup(keys)
        new = [booking for booking in batch if booking.key not in stored]
        for booking in new:
            assert booking.order_id not in self.by_order_id, f"two keys share an order id: {booking.order_id}"
            if booking.reason is None:
                assert_adds_up(booking)
        booked, tickets = without_taken_numbers(sorted(new, key=lambda booking: booking.key), self.by_number)
        for booking in booked:
            self._book(booking)
        self._open(tickets)
        return Persisted(self._token(), stored)

    def _book(self, booking: Booking) -> None:
        intent, key, accepted = booking.intent, booking.key, booking.reason is None
        assert accepted == bool(booking.held_until_ms), f"an accepted order is held until some time: {booking}"
        self.decisions[key] = StoredDecision(
            order_id=booking.order_id,
            fingerprint=intent.fingerprint,
            outcome=Outcome.ACCEPTED if accepted else Outcome.REJECTED,
            reason=booking.reason,
            decided_at=to_datetime(booking.decided_at_ms),
            held_until=to_datetime(booking.held_until_ms) if accepted else None,
            trace_id=intent.trace_id,
            partition=intent.partition,
            offset=intent.offset,
        )
        self.by_order_id[booking.order_id] = key
        if accepted:
            order = self.accepted[booking.order_id] = _order(booking)
            self.positions[booking.order_id] = Position(State.HELD, {}, 0)
            if order.channel_order_no:
                self.by_number[order.channel, order.channel_order_no] = order.order_id
            ref = str(order.order_id)
            for sku, qty in order.quantities:
                self._add(Movement(ref, Action.HOLD, sku, order.pool, -qty, qty, 0, order.decided_at))

    async def lookup(self, keys: Sequence[SubmissionKey]) -> dict[SubmissionKey, StoredDecision]:
        """See `Ledger`."""
        check_batch(len(keys), "keys")
        return {key: self.decisions[key] for key in keys if key in self.decisions}

    async def record_conflicts(self, conflicts: Sequence[Conflict]) -> None:
        """See `Ledger`."""
        for conflict in conflicts:
            self.conflicts.setdefault((conflict.channel, conflict.submission_id, conflict.fingerprint), conflict)

    async def orders(self, order_ids: Sequence[UUID]) -> dict[UUID, OrderRecord]:
        """See `Ledger`."""
        check_batch(len(order_ids), "orders")
        return {order_id: self.accepted[order_id] for order_id in order_ids if order_id in self.accepted}

    async def take_steps(self, steps: Sequence[Step], epoch: int, tell: Tell = nothing) -> tuple[str, list[StepResult]]:
        """See `Ledger`."""
        check_batch(len(steps), "steps")
        if steps:
            self._fence(epoch)
        positions = {s.order_id: self.positions[s.order_id] for s in steps if s.order_id in self.positions}
        known = {key: self.taken[key][1] for key in map(step_key, steps) if key in self.taken}
        judgement = judge(steps, positions, known)
        messages = tuple(tell(judgement.written))
        for step, result, _, _, _, after in judgement.written:
            self.taken[step_key(step)] = (step, result)
            self.positions[step.order_id] = after
            for movement in step.movements:
                self._add(movement)
        if messages:
            assert messages[0].id not in self.outbox, f"told twice: {messages[0]}"
            self.outbox[messages[0].id] = (judgement.written[0].step.at, messages)
        for order_id, (state, at) in judgement.changed.items():
            self.accepted[order_id] = self.accepted[order_id]._replace(state=state, changed_at=at)
        return self._token(), judgement.results

    async def record_movements(self, movements: Sequence[Movement]) -> bool:
        """See `Ledger`."""
        check_movements(movements)
        known = {key for key in map(_movement_key, movements) if key in self.movements}
        if known:
            first = movements[0]
            booked = [m for m in self.movements.values() if (m.ref, m.action) == (first.ref, first.action)]
            check_same_movements(movements, {(m.sku, m.pool, m.free, m.held, m.sold) for m in booked})
            return False
        for movement in movements:
            self._add(movement)
        return True

    async def save_promotion(
        self, record: PromotionRecord, movements: Sequence[Movement] = (), *, epoch: int | None = None
    ) -> None:
        """See `Ledger`."""
        check_movements(movements)
        if epoch is not None:
            self._fence(epoch)
        known = self.saved_promotions.get(record.promotion.promotion_id)
        if known is None or known.state not in overtaken_by(record.state):
            self.saved_promotions[record.promotion.promotion_id] = record
        for movement in movements:
            self._add(movement)

    async def promotions(self, *states: PromotionState) -> list[PromotionRecord]:
        """See `Ledger`."""
        found = (self.saved_promotions[name] for name in sorted(self.saved_promotions))
        return [record for record in found if not states or record.state in states]

    async def find_order(self, order_id: UUID, *, token: str | None = None) -> OrderRecord | None:
        """See `Ledger`."""
        check_token(token)
        return self.accepted.get(order_id)

    async def find_decision(
        self, key: SubmissionKey | UUID, *, token: str | None = None
    ) -> tuple[SubmissionKey, StoredDecision] | None:
        """See `Ledger`."""
        check_token(token)
        known = self.by_order_id.get(key) if isinstance(key, UUID) else key
        return None if known is None or known not in self.decisions else (known, self.decisions[known])

    async def find_named(self, name: ChannelNumber | str, *, token: str | None = None) -> list[UUID]:
        """See `Ledger`."""
        check_token(token)
        if not isinstance(name, str):
            return [self.by_number[name]] if name in self.by_number else []
        traced = [one.order_id for one in self.decisions.values() if one.trace_id == name != one.order_id.hex]
        return traced[:NAMED_MOST]

    async def steps(self, order_id: UUID, *, token: str | None = None) -> list[tuple[datetime, str, str, str]]:
        """See `Ledger`."""
        check_token(token)
        found = [(step, result) for step, result in self.taken.values() if step.order_id == order_id]
        found.sort(key=lambda pair: pair[0].at)
        return [(step.at, step.kind, step.source, result.value) for step, result in found]

    async def step_records(self, order_id: UUID, *, token: str | None = None) -> list[StepRecord]:
        """See `Ledger`."""
        check_token(token)
        found = [(step, result) for step, result in self.taken.values() if step.order_id == order_id]
        return [
            StepRecord(
                at=step.at,
                occurred_at=step.occurred_at,
                kind=step.kind,
                source=step.source,
                event_id=step.event_id,
                result=result,
                state=step.state if result is StepResult.TAKEN else None,
                milestone=step.milestone,
                part=step.part,
                raw_code=step.raw_code,
                zone=step.zone,
                note=step.note,
            )
            for step, result in found
        ]

    async def balances(self, skus: Sequence[str] | None = None) -> AsyncIterator[Balance]:
        """See `Ledger`."""
        sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for movement in self.movements.values():
            accounts = sums[movement.sku, movement.pool]
            for place, units in enumerate((movement.free, movement.held, movement.sold)):
                accounts[place] += units
        for (sku, pool), (free, held, sold) in sorted(sums.items()):
            if skus is None or sku in skus:
                yield Balance(sku, pool, free, held, sold)

    def _fence(self, epoch: int) -> None:
        if epoch != len(self.epochs):
            raise past(epoch, len(self.epochs))
        if self._has_moved():
            raise failed_over(epoch, self.issued_on.get(epoch, 1), self.timeline)

    def _has_moved(self) -> bool:
        return bool(self.epochs) and self.issued_on.get(len(self.epochs), 1) != self.timeline

    def _add(self, movement: Movement) -> None:
        self.movements.setdefault(_movement_key(movement), movement)

    def _token(self) -> str:
        self._writes += 1
        return f"{self._writes >> 32:X}/{self._writes & 0xFFFFFFFF:X}"


def _movement_key(movement: Movement) -> _MovementKey:
    return movement.ref, movement.action, movement.sku, movement.pool


def _order(booking: Booking) -> OrderRecord:
    intent = booking.intent
    (channel, submission_id), reservation = intent.submission_key, intent.reservation
    decided_at = to_datetime(booking.decided_at_ms)
    return OrderRecord(
        order_id=booking.order_id,
        channel=channel,
        submission_id=submission_id,
        buyer_id=reservation.buyer_id,
        channel_order_no=intent.channel_order_no,
        currency=intent.currency,
        total=intent.total,
        promotion_id=reservation.promotion_id,
        pool=intent.pool,
        state=State.HELD,
        submitted_at=intent.submitted_at,
        decided_at=decided_at,
        held_until=to_datetime(booking.held_until_ms),
        changed_at=decided_at,
        trace_id=intent.trace_id,
        quantities=tuple(added_up(intent.asked).items()),
    )
