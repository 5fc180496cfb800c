"""The part of the ledger on PostgreSQL that keeps what has to be told and what waits; see `Ledger`."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from streams.core.books import ChannelNumber, Message, Quarantined, TicketToOpen, Unsaid
from streams.messages import Ticket
from streams.stores import ledger_outbox as outbox
from streams.stores import ledger_statements as statements
from streams.stores.ledger import Ledger
from streams.stores.ledger_connections import SQL
from streams.stores.ledger_errors import outages
from streams.stores.ledger_rules import check_batch

if TYPE_CHECKING:
    from streams.stores.ledger_connections import Connection


class PostgresOutbox(Ledger):
    """Every outage is raised as `LedgerUnavailable`."""

    @abstractmethod
    def _connection(self) -> "AbstractAsyncContextManager[Connection]":
        """A connection to the primary."""

    async def unsaid(self, before: datetime, limit: int) -> tuple[str, list[Unsaid]]:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                found = await outbox.find_unsaid(connection, before, limit)
                if found:
                    await statements.wait_for_standby(connection)
                return await statements.token(connection) if found else "", found

    async def said(self, batches: Sequence[str]) -> None:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                await connection.execute(SQL["said"], list(batches))

    async def find_by_numbers(self, numbers: Sequence[ChannelNumber]) -> dict[ChannelNumber, UUID]:
        """See `Ledger`."""
        check_batch(len(numbers), "numbers")
        if not numbers:
            return {}
        with outages():
            async with self._connection() as connection:
                return await statements.find_by_numbers(connection, numbers)

    async def find_by_shipments(self, shipments: Sequence[str]) -> dict[str, tuple[UUID, ...]]:
        """See `Ledger`."""
        check_batch(len(shipments), "shipments")
        if not shipments:
            return {}
        with outages():
            async with self._connection() as connection:
                found = await connection.fetch(SQL["by_shipments"], list(shipments))
                return {row["shipment"]: tuple(row["order_ids"]) for row in found}

    async def quarantine(self, records: Sequence[Quarantined], tickets: Sequence[TicketToOpen]) -> list[Message]:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                return await outbox.quarantine(connection, records, tickets)

    async def quarantined(
        self, reason: str | None, limit: int, subjects: Sequence[str] | None = None
    ) -> list[Quarantined]:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                found = await connection.fetch(SQL["quarantined"], reason, limit, subjects)
                return [outbox.quarantined(row) for row in found]

    async def resolvable(self, limit: int) -> list[Quarantined]:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                return [outbox.quarantined(row) for row in await connection.fetch(SQL["resolvable"], limit)]

    async def release(self, records: Sequence[Quarantined]) -> None:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                await outbox.release(connection, records)

    async def tickets(self) -> list[Ticket]:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                return await outbox.find_tickets(connection)

    async def close_tickets(self, ticket_ids: Sequence[str], at: datetime) -> list[Message]:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                return await outbox.close_tickets(connection, ticket_ids, at)
