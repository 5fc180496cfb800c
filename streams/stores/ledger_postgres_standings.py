"""The part of the ledger on PostgreSQL that many orders are compared by, read from the replica; see `Ledger`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from streams.core.books import Position, State
from streams.core.differences import LastStep, Stood, Trace
from streams.stores import ledger_rows as rows
from streams.stores.ledger import Ledger
from streams.stores.ledger_codes import outcome_of
from streams.stores.ledger_connections import SQL, Reader
from streams.stores.ledger_rules import check_batch

if TYPE_CHECKING:
    from streams.stores.ledger_connections import Connection

_NEW = Position(State.HELD, {}, 0)


class PostgresStandings(Ledger):
    """Every outage is raised as `LedgerUnavailable`."""

    _reader: Reader

    async def standings(self, channel: str, numbers: Sequence[str]) -> dict[str, Stood]:
        """See `Ledger`. Each statement is short: a replica ends those that keep it from following."""
        check_batch(len(numbers), "numbers")

        async def ask(connection: "Connection") -> dict[str, Stood]:
            found = await connection.fetch(SQL["standings_by_number"], channel, list(numbers))
            if len(found) < len(numbers):
                known = {row["number"] for row in found}
                rest = [number for number in numbers if number not in known]
                found += await connection.fetch(SQL["standings_by_submission"], channel, rest)
            positions: dict[UUID, Position] = {}
            for row in await connection.fetch(SQL["positions"], [row["order_id"] for row in found]):
                positions[row["order_id"]] = rows.position(row)
            return {
                number: Stood(number, order_id, total, submitted_at, positions.get(order_id, _NEW))
                for number, order_id, total, submitted_at in found
            }

        return await self._reader.read(ask, None) if numbers else {}

    async def traces(self, channel: str, numbers: Sequence[str]) -> dict[str, Trace]:
        """See `Ledger`."""
        check_batch(len(numbers), "numbers")

        async def ask(connection: "Connection") -> dict[str, Trace]:
            found = {
                row["channel_order_no"]: Trace(None, row["waiting"], row["since"])
                for row in await connection.fetch(SQL["waiting_numbers"], channel, list(numbers))
            }
            for row in await connection.fetch(SQL["rejected"], channel, list(numbers)):
                found[row["submission_id"]] = Trace(outcome_of(row["verdict"])[1])
            return found

        return await self._reader.read(ask, None) if numbers else {}

    async def last_steps(self, order_ids: Sequence[UUID]) -> dict[UUID, LastStep]:
        """See `Ledger`."""
        check_batch(len(order_ids), "orders")

        async def ask(connection: "Connection") -> dict[UUID, LastStep]:
            found = await connection.fetch(SQL["last_steps"], list(order_ids))
            return {row["order_id"]: LastStep(row["at"], row["kind"], row["source"]) for row in found}

        return await self._reader.read(ask, None) if order_ids else {}

    async def orders_between(
        self, channel: str, after: UUID | None, before: UUID | None, limit: int
    ) -> list[tuple[UUID, str]]:
        """See `Ledger`."""
        check_batch(limit, "orders")

        async def ask(connection: "Connection") -> list[tuple[UUID, str]]:
            found = await connection.fetch(SQL["orders_between"], channel, after, before, limit)
            return [(row["order_id"], row["number"]) for row in found]

        return await self._reader.read(ask, None)
