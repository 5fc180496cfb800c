"""What the ledger says to Postgres about the outbox, quarantine and tickets, on a connection that is given."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from streams.core.books import Message, Quarantined, TicketToOpen, Unsaid
from streams.core.ticketing import Kept
from streams.messages import Ticket, TicketEvent
from streams.stores.ledger_connections import SQL, replicated
from streams.stores.ledger_rules import digest_of

if TYPE_CHECKING:
    from streams.stores.ledger_connections import Connection


class _Line(msgspec.Struct, gc=False):
    """A message as a line of an outbox's body, for people to read as well."""

    topic: str
    key: str
    id: str
    value: msgspec.Raw


_NAMES = ("utf-8", "surrogateescape")
"""Kafka's header names may be any bytes; as text they could hold what Postgres cannot."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


def body_of(messages: Sequence[Message]) -> str:
    """A line of JSON for each message."""
    lines = [_encode(_Line(m.topic, m.key, m.id, msgspec.Raw(m.value))) for m in messages]
    return b"\n".join(lines).decode()


def messages_of(body: str) -> tuple[Message, ...]:
    """The messages of a body, byte for byte as they went in."""
    lines = [_decode(line) for line in body.encode().split(b"\n")]
    return tuple(Message(line.topic, line.key, line.id, bytes(line.value)) for line in lines)


async def add_unsaid(connection: "Connection", messages: Sequence[Message], at: datetime) -> None:
    """Write messages to the outbox, in the transaction that is open."""
    await connection.execute(SQL["add_unsaid"], messages[0].id, at, body_of(messages))


async def find_unsaid(connection: "Connection", before: datetime, limit: int) -> list[Unsaid]:
    """Batches that stand there since before that time.

    Whoever wrote them may not have known that a standby has them: locking them makes a transaction that is waited for.
    """
    if not await connection.fetchval(SQL["any_unsaid"], before):
        return []
    async with replicated(connection):
        found = await connection.fetch(SQL["unsaid"], before, limit)
    return [Unsaid(row["batch"], messages_of(row["body"])) for row in found]


async def quarantine(
    connection: "Connection", records: Sequence[Quarantined], tickets: Sequence[TicketToOpen]
) -> list[Message]:
    """Keep records, open tickets; the messages of those that were not open."""
    async with replicated(connection):
        if records:
            await connection.executemany(SQL["quarantine"], [_row(record) for record in records])
        return await open_tickets(connection, tickets)


async def open_tickets(connection: "Connection", tickets: Sequence[TicketToOpen]) -> list[Message]:
    """Open those that are not open, in the transaction at hand, and put their messages into the outbox."""
    opened: list[Message] = []
    # In one order for all, so that two workers with the same tickets wait for each other instead of deadlocking.
    for ticket, message in sorted(tickets, key=lambda one: one.ticket.ticket_id):
        columns = ticket.ticket_id, ticket.kind, ticket.subject, ticket.detail, ticket.fix, ticket.opened_at
        if await connection.fetchval(SQL["open_ticket"], *columns) is not None:
            opened.append(message)
    if opened:
        await add_unsaid(connection, opened, tickets[0].ticket.opened_at)
    return opened


async def close_tickets(connection: "Connection", ticket_ids: Sequence[str], at: datetime) -> list[Message]:
    """Close those that are open, and put their messages into the outbox."""
    async with replicated(connection):
        rows = await connection.fetch(SQL["close_tickets"], list(ticket_ids), at)
        messages = [Kept(**dict(row)).told(TicketEvent.CLOSED, at) for row in rows]
        if messages:
            await add_unsaid(connection, messages, at)
    return messages


async def find_tickets(connection: "Connection") -> list[Ticket]:
    """Open tickets."""
    return [Ticket(**dict(row)) for row in await connection.fetch(SQL["tickets"])]


async def release(connection: "Connection", records: Sequence[Quarantined]) -> None:
    """Forget records."""
    await connection.execute(SQL["unquarantine"], [digest_of(record) for record in records])


def quarantined(row: asyncpg.Record) -> Quarantined:
    """A row of `quarantine` as a value."""
    names_and_values = row["header_names"], row["header_values"]
    return Quarantined(
        partition=row["log_partition"],
        offset=row["log_offset"],
        seen_at=row["seen_at"],
        reason=row["reason"],
        source=row["source"],
        subject=row["subject"],
        channel=row["channel"],
        channel_order_no=row["channel_order_no"],
        shipment=row["shipment"],
        order_id=row["order_id"],
        value=row["value"],
        headers=tuple((name.decode(*_NAMES), value) for name, value in zip(*names_and_values, strict=True)),
    )


def _row(record: Quarantined) -> tuple[object, ...]:
    names, values = [name.encode(*_NAMES) for name, _ in record.headers], [value for _, value in record.headers]
    return (*record[:-1], names, values, digest_of(record))
