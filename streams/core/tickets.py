"""Tickets as they are opened: the ticket itself, and the message that tells of it. Pure."""

from datetime import datetime
from uuid import UUID

import msgspec

from streams.core.books import Message, TicketToOpen
from streams.messages import Ticket
from streams.topics import TICKETS

NUMBER_TAKEN = "number_taken"

_encode = msgspec.json.Encoder().encode


def to_open(ticket: Ticket) -> TicketToOpen:
    """With its message, whose id is the same however often it is sent, and another when it is opened again."""
    message_id = f"{ticket.ticket_id}@{ticket.opened_at.isoformat()}"
    return TicketToOpen(ticket, Message(TICKETS.name, ticket.ticket_id, message_id, _encode(ticket)))


def number_taken(
    channel: str, number: str, first: UUID, second: UUID, submission_id: str, opened_at: datetime
) -> TicketToOpen:
    """A second order came with the number of another. Both stand; what the channel says of the number reaches one."""
    return to_open(
        Ticket(
            ticket_id=f"{NUMBER_TAKEN}:{channel}:{second}",
            kind=NUMBER_TAKEN,
            subject=f"{channel} {number}",
            detail=f"Order {second} (submission {submission_id}) came with {channel}'s number {number}, which is that "
            f"of order {first}. It was accepted and holds its units, and goes without a number: what {channel} reports "
            f"of {number} reaches {first} only.",
            fix=f"Compare both (`floodway why {second}`). One purchase submitted twice: cancel the second, `floodway "
            f"report order.cancelled {second}`. Two purchases: have {channel} number them apart, and report on the "
            "second by its id.",
            opened_at=opened_at,
        )
    )
