"""The part of the ledger in memory that many orders are compared by; see `Ledger`."""

from collections.abc import Sequence
from uuid import UUID

from streams.core.books import (
    ChannelNumber,
    OrderRecord,
    Position,
    Quarantined,
    Step,
    StepResult,
    StoredDecision,
)
from streams.core.differences import LastStep, Stood, Trace
from streams.core.identity import SubmissionKey
from streams.stores.ledger import Ledger
from streams.stores.ledger_rules import StepKey


class FakeStandings(Ledger):
    """Reads what the rest of the fake keeps."""

    accepted: dict[UUID, OrderRecord]
    by_number: dict[ChannelNumber, UUID]
    decisions: dict[SubmissionKey, StoredDecision]
    positions: dict[UUID, Position]
    taken: dict[StepKey, tuple[Step, StepResult]]
    waiting: dict[bytes, Quarantined]

    async def standings(self, channel: str, numbers: Sequence[str]) -> dict[str, Stood]:
        """See `Ledger`."""
        found: dict[str, Stood] = {}
        for number in numbers:
            order_id = self.by_number.get((channel, number))
            if order_id is None and (channel, number) in self.decisions:
                order_id = self.decisions[channel, number].order_id
            order = self.accepted.get(order_id) if order_id else None
            if order is not None:
                position = self.positions[order.order_id]
                found[number] = Stood(number, order.order_id, order.total, order.submitted_at, position)
        return found

    async def traces(self, channel: str, numbers: Sequence[str]) -> dict[str, Trace]:
        """See `Ledger`."""
        found: dict[str, Trace] = {}
        for record in self.waiting.values():
            number = record.channel_order_no
            if record.channel == channel and number in numbers and number is not None:
                before = found.get(number, Trace(since=record.seen_at))
                since = min(record.seen_at, before.since or record.seen_at)
                found[number] = Trace(None, before.waiting + 1, since)
        for number in numbers:
            decision = self.decisions.get((channel, number))
            if decision is not None and decision.reason is not None:
                found[number] = Trace(decision.reason)
        return found

    async def last_steps(self, order_ids: Sequence[UUID]) -> dict[UUID, LastStep]:
        """See `Ledger`."""
        return {
            step.order_id: LastStep(step.at, step.kind, step.source)
            for step, result in self.taken.values()
            if step.order_id in order_ids and result is StepResult.TAKEN
        }

    async def orders_between(
        self, channel: str, after: UUID | None, before: UUID | None, limit: int
    ) -> list[tuple[UUID, str]]:
        """See `Ledger`."""
        found = [
            (order.order_id, order.channel_order_no or order.submission_id)
            for order in self.accepted.values()
            if order.channel == channel
            and (after is None or order.order_id > after)
            and (before is None or order.order_id < before)
        ]
        return sorted(found)[:limit]
