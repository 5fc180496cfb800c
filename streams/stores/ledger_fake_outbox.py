"""The part of the ledger in memory that keeps what has to be told and what waits; see `Ledger`."""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from streams.core.books import (
    ChannelNumber,
    Message,
    OrderRecord,
    Quarantined,
    Step,
    StepResult,
    TicketToOpen,
    Unsaid,
)
from streams.core.ticketing import Kept
from streams.messages import Ticket, TicketEvent
from streams.stores.ledger import WAITING_MOST, Ledger
from streams.stores.ledger_rules import StepKey, check_token, digest_of


class FakeOutbox(Ledger):
    """What stands in the outbox, in quarantine, and which tickets are open."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: dict[UUID, OrderRecord] = {}
        self.by_number: dict[ChannelNumber, UUID] = {}
        self.taken: dict[StepKey, tuple[Step, StepResult]] = {}
        self.outbox: dict[str, tuple[datetime, tuple[Message, ...]]] = {}
        self.waiting: dict[bytes, Quarantined] = {}
        self.open_tickets: dict[str, Ticket] = {}

    async def unsaid(self, before: datetime, limit: int) -> tuple[str, list[Unsaid]]:
        """See `Ledger`."""
        found = sorted((at, batch) for batch, (at, _) in self.outbox.items() if at < before)
        return self._token() if found else "", [Unsaid(batch, self.outbox[batch][1]) for _, batch in found[:limit]]

    async def said(self, batches: Sequence[str]) -> None:
        """See `Ledger`."""
        for batch in batches:
            self.outbox.pop(batch, None)

    async def find_by_numbers(self, numbers: Sequence[ChannelNumber]) -> dict[ChannelNumber, UUID]:
        """See `Ledger`."""
        return {number: self.by_number[number] for number in numbers if number in self.by_number}

    async def find_by_shipments(self, shipments: Sequence[str]) -> dict[str, tuple[UUID, ...]]:
        """See `Ledger`."""
        found: dict[str, set[UUID]] = {}
        for step, _ in self.taken.values():
            if step.part[0] in shipments and step.part[0]:
                found.setdefault(step.part[0], set()).add(step.order_id)
        return {shipment: tuple(sorted(ids)) for shipment, ids in found.items()}

    async def quarantine(self, records: Sequence[Quarantined], tickets: Sequence[TicketToOpen]) -> list[Message]:
        """See `Ledger`."""
        for record in records:
            before = self.waiting.get(digest_of(record), record)
            self.waiting[digest_of(record)] = record._replace(
                partition=before.partition, offset=before.offset, seen_at=before.seen_at
            )
        return self._open(tickets)

    def _open(self, tickets: Sequence[TicketToOpen]) -> list[Message]:
        """Open those that are not open, and put their messages into the outbox."""
        opened = []
        for ticket, message in sorted(tickets, key=lambda one: one.ticket.ticket_id):
            if ticket.ticket_id not in self.open_tickets:
                self.open_tickets[ticket.ticket_id] = ticket
                opened.append(message)
        if opened:
            self.outbox[opened[0].id] = (tickets[0].ticket.opened_at, tuple(opened))
        return opened

    async def quarantined(
        self, reason: str | None, limit: int, subjects: Sequence[str] | None = None
    ) -> list[Quarantined]:
        """See `Ledger`."""
        found = [
            record
            for record in self.waiting.values()
            if reason in (None, record.reason) and (subjects is None or f"{record.source}:{record.subject}" in subjects)
        ]
        return sorted(found, key=lambda r: (r.seen_at, r.partition, r.offset))[:limit]

    async def waiting_of(
        self, order_id: UUID, number: ChannelNumber | None, shipments: Sequence[str], *, token: str | None = None
    ) -> list[Quarantined]:
        """See `Ledger`."""
        check_token(token)
        found = [
            record
            for record in await self.quarantined(None, len(self.waiting))
            if record.order_id == order_id
            or (number is not None and (record.channel, record.channel_order_no) == number)
            or (record.shipment is not None and record.shipment in shipments)
        ]
        return found[:WAITING_MOST]

    async def resolvable(self, limit: int) -> list[Quarantined]:
        """See `Ledger`."""
        shipped = {step.part[0] for step, _ in self.taken.values() if step.part[0]}
        found = [
            record
            for record in await self.quarantined("unknown_order", len(self.waiting))
            if (record.channel, record.channel_order_no) in self.by_number
            or record.order_id in self.accepted
            or record.shipment in shipped
        ]
        return found[:limit]

    async def release(self, records: Sequence[Quarantined]) -> None:
        """See `Ledger`."""
        for record in records:
            self.waiting.pop(digest_of(record), None)

    async def tickets(self) -> list[Ticket]:
        """See `Ledger`."""
        return sorted(self.open_tickets.values(), key=lambda ticket: (ticket.opened_at, ticket.ticket_id))

    async def close_tickets(self, ticket_ids: Sequence[str], at: datetime) -> list[Message]:
        """See `Ledger`."""
        gone = [self.open_tickets.pop(one) for one in sorted(ticket_ids) if one in self.open_tickets]
        told = [
            Kept(t.ticket_id, t.kind, t.subject, t.detail, t.cause, t.fix, t.opened_at, t.opened_at, t.count, t.level)
            for t in gone
        ]
        messages = [one.told(TicketEvent.CLOSED, at) for one in told]
        if messages:
            self.outbox[messages[0].id] = (at, tuple(messages))
        return messages

    @abstractmethod
    def _token(self) -> str:
        """The position of the last write; the whole fake counts them."""
