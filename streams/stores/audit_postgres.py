"""Evidence beside the books: one connection to the primary with temporary tables, filled by COPY, asked by SQL."""

from collections.abc import Iterable
from typing import Any, Self

import asyncpg
import msgspec

from streams.stores.ledger_errors import outages
from streams.stores.queries import load

SQL = load("audit.sql")
SAMPLE = 10
"""Examples told of each kind of fault."""

FINDINGS = ("missing", "unburied", "unanswered", "repeated", "contradictory", "leaked_holds", "lost_holds")


class Finding(msgspec.Struct, frozen=True):
    """How often something was found, and the first few."""

    count: int
    examples: tuple[str, ...]


class Evidence:
    """A place to put evidence. Gone with its connection; never replicated, never logged."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    @classmethod
    async def open(cls, primary_dsn: str, *, timeout_s: float) -> Self:
        """Connect to the primary and make the tables. Statements are given up after `timeout_s`."""
        with outages():
            connection = await asyncpg.connect(primary_dsn, command_timeout=timeout_s)
            await connection.execute(SQL["create_evidence"])
            return cls(connection)

    async def add(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Append rows to one of the tables."""
        with outages():
            await self._connection.copy_records_to_table(table, records=rows)

    async def forget(self, table: str) -> None:
        """Empty one of the tables."""
        with outages():
            await self._connection.execute(f"TRUNCATE {table}")

    async def set_aside(self) -> int:
        """Take submissions under review out; returns how many were there."""
        with outages():
            status = await self._connection.execute(SQL["set_reviewed_aside"])
            return int(status.rpartition(" ")[2])

    async def weigh(self) -> None:
        """Let Postgres plan by what is there now."""
        with outages():
            await self._connection.execute(SQL["weigh_evidence"])

    async def count(self, what: str) -> int:
        """One of the counts."""
        with outages():
            found: int = await self._connection.fetchval(SQL[f"count_{what}"])
            return found

    async def find(self, what: str) -> Finding:
        """One of FINDINGS."""
        query = SQL[what].rstrip().rstrip(";")
        with outages():
            count = await self._connection.fetchval(f"SELECT count(*) FROM ({query}) AS found")  # noqa: S608 - ours
            some = await self._connection.fetch(f"{query} LIMIT {SAMPLE}") if count else []
        return Finding(count, tuple(row["what"] for row in some))

    async def received(self) -> dict[str, int]:
        """Units received, by SKU."""
        with outages():
            return {row["sku"]: row["units"] for row in await self._connection.fetch(SQL["received"])}

    async def close(self) -> None:
        """Give the connection back."""
        await self._connection.close()
