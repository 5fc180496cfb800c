"""What the watch asks of Postgres: facts from the replica, tickets and marks on the primary, all in sets.

There is no fake of it: what it finds is what its SQL says, so its tests ask a real server.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import UUID

from streams.core.books import Message
from streams.core.rules import Finding
from streams.core.ticketing import Kept
from streams.messages import TicketEvent
from streams.stores.ledger_connections import SQL as LEDGER_SQL
from streams.stores.ledger_connections import Reader, open_pool, primary, replicated
from streams.stores.ledger_errors import outages
from streams.stores.ledger_outbox import add_unsaid
from streams.stores.queries import load

if TYPE_CHECKING:
    from streams.stores.ledger_connections import Connection, Pool

SQL = load("watch.sql")
LOCK = 0x666C6F6F64 + 2
"""Beside those of the migrations and of who rebuilds."""


class FoundOrder(NamedTuple):
    """An order that a rule has found, and since when it is so."""

    order_id: UUID
    channel: str
    since: datetime


class Delay(NamedTuple):
    """Reports of a source in five minutes from `at` on that were late by about 1.1 to the power of `bucket` ms."""

    source: str
    at: datetime
    last_at: datetime
    bucket: int
    reports: int
    delay_ms: float


class Happened(NamedTuple):
    """One event of a ticket."""

    at: datetime
    event: str
    level: int
    affected: int
    who: str | None
    note: str | None


class PostgresWatch:
    """Every outage is raised as `LedgerUnavailable`."""

    def __init__(self, primary: "Pool", replica: "Pool | None", *, timeout_s: float, replica_wait_s: float) -> None:
        self._primary, self._replica, self._timeout_s = primary, replica, timeout_s
        self._reader = Reader(primary, replica, wait_s=replica_wait_s, timeout_s=timeout_s)

    @classmethod
    async def connect(
        cls,
        primary_dsn: str,
        replica_dsn: str | None,
        *,
        statement_timeout_s: float = 30.0,
        replica_wait_s: float = 0.5,
    ) -> Self:
        """Connect when first asked."""
        made = [
            None
            if dsn is None
            else await open_pool(
                dsn, size=2, statement_timeout_s=statement_timeout_s, writes=dsn == primary_dsn, at_once=False
            )
            for dsn in (primary_dsn, replica_dsn)
        ]
        assert made[0] is not None
        return cls(made[0], made[1], timeout_s=statement_timeout_s, replica_wait_s=replica_wait_s)

    async def close(self) -> None:
        """Give connections back."""
        for pool in (self._primary, self._replica):
            if pool is not None:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        await pool.close()
                except TimeoutError:
                    pool.terminate()

    async def token(self) -> str:
        """A position that covers all that is committed now: who reads with it sees that."""
        return str(await self._value(LEDGER_SQL["wal_token"]))

    async def marks(self) -> dict[str, datetime]:
        """How far each rule has looked."""
        return {row["rule"]: row["looked_until"] for row in await self._rows(SQL["marks"])}

    async def orders(
        self, check: str, rule: str, after: datetime, until: datetime, limit: int, token: str
    ) -> list[FoundOrder]:
        """Orders of a window, and those found before, of which it is so; from the replica, oldest first."""
        rows = await self._read(SQL[check], token, after, until, rule, limit)
        return [FoundOrder(row["order_id"], row["channel"], row["since"]) for row in rows]

    async def subjects(self, check: str, token: str, *args: object) -> list[Finding]:
        """What a check finds by itself, from the replica."""
        rows = await self._read(SQL[check], token, *args)
        return [Finding(r["subject"], r["affected"], r["since"], tuple(r.get("examples", None) or ())) for r in rows]

    async def delays(self, after: datetime, until: datetime, without: Sequence[str], token: str) -> list[Delay]:
        """How late the reports of a window were, but for those of some sources; from the replica."""
        rows = await self._read(SQL["delays"], token, after, until, list(without))
        return [Delay(r["source"], r["at"], r["last_at"], r["bucket"], r["reports"], r["delay_ms"]) for r in rows]

    async def activity(self) -> dict[str, datetime]:
        """When each source was heard of last."""
        return {row["source"]: row["last_at"] for row in await self._rows(SQL["activity"])}

    async def delays_since(self, at: datetime) -> dict[str, dict[int, tuple[int, float]]]:
        """By source and bucket, how many reports since then and how late they were in sum, in ms; from the replica."""
        found: dict[str, dict[int, tuple[int, float]]] = {}
        for row in await self._read(SQL["delays_since"], None, at):
            found.setdefault(row["source"], {})[row["bucket"]] = (row["reports"], row["delay_ms"])
        return found

    async def listed(self, kind: str | None, closed_since: datetime, limit: int) -> list[Kept]:
        """Open tickets, highest level first, then those closed since then."""
        return [_kept(row) for row in await self._rows(SQL["listed"], kind, closed_since, limit)]

    async def one(self, ticket_id: str) -> tuple[Kept, list[Happened]] | None:
        """A ticket, and what became of it."""
        rows = await self._rows(SQL["one"], ticket_id)
        if not rows:
            return None
        return _kept(rows[0]), [Happened(*row) for row in await self._rows(SQL["events"], ticket_id)]

    @asynccontextmanager
    async def turn(self, *, wait: bool = False) -> "AsyncIterator[Turn | None]":
        """The right to write what a look has found, in one transaction; None while another process has it.

        With `wait` it is waited for.
        """
        with outages():
            async with primary(self._primary, timeout_s=self._timeout_s) as connection, replicated(connection):
                if wait:
                    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
                    yield Turn(connection)
                else:
                    mine = await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK)
                    yield Turn(connection) if mine else None

    async def _read(self, query: str, token: str | None, *args: object) -> list[Any]:
        async def work(connection: "Connection") -> list[Any]:
            # Windows are small beside the table, and orders are looked up by their key: without the sizes of what is
            # new to go by, the planner would rather read all.
            async with connection.transaction(readonly=True):
                await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off")
                return list(await connection.fetch(query, *args))

        return await self._reader.read(work, token)

    async def _rows(self, query: str, *args: object) -> list[Any]:
        with outages():
            async with primary(self._primary, timeout_s=self._timeout_s) as connection:
                return list(await connection.fetch(query, *args))

    async def _value(self, query: str) -> object:
        return (await self._rows(query))[0][0]


class Turn:
    """What is written within one transaction."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    async def marks(self) -> dict[str, datetime]:
        """How far each rule has looked, by now."""
        return {row["rule"]: row["looked_until"] for row in await self._connection.fetch(SQL["marks"])}

    async def set_marks(self, marks: Mapping[str, datetime]) -> None:
        """Note how far rules have looked."""
        await self._connection.executemany(SQL["set_mark"], sorted(marks.items()))

    async def set_found(self, rule: str, found: Sequence[FoundOrder], *, all_of_them: bool) -> None:
        """Keep orders that a rule has found; with `all_of_them` those it found before and not now are well."""
        known = {row["order_id"] for row in await self._connection.fetch(SQL["found_orders"], rule)}
        new = [one for one in found if one.order_id not in known]
        if new:
            columns = [list(column) for column in zip(*new, strict=True)]
            await self._connection.execute(SQL["add_found"], rule, *columns)
        gone = known - {one.order_id for one in found}
        if gone and all_of_them:
            await self._connection.execute(SQL["drop_found"], rule, list(gone))

    async def add_delays(self, delays: Sequence[Delay], heard: Mapping[str, datetime], forget: datetime) -> None:
        """Add up how late reports were, and note when sources were heard of."""
        if delays:
            columns = zip(*((d.at, d.source, d.bucket, d.reports, d.delay_ms) for d in delays), strict=True)
            await self._connection.execute(SQL["add_delays"], *map(list, columns))
            await self._connection.execute(SQL["forget_delays"], forget)
        if heard:
            await self._connection.execute(SQL["note_activity"], list(heard), list(heard.values()))

    async def kept(self, closed_since: datetime) -> dict[str, Kept]:
        """Open tickets, and those closed since then, by id."""
        return {row["ticket_id"]: _kept(row) for row in await self._connection.fetch(SQL["kept"], closed_since)}

    async def kept_one(self, ticket_id: str) -> Kept | None:
        """One ticket."""
        row = await self._connection.fetchrow(SQL["kept_one"], ticket_id)
        return None if row is None else _kept(row)

    async def keep(
        self, changed: Sequence[tuple[Kept, TicketEvent | None]], at: datetime, note: str | None = None
    ) -> list[Message]:
        """Write tickets as they are now, with what became of them; the messages stand in the outbox."""
        await self._connection.executemany(SQL["keep"], [tuple(kept) for kept, _ in changed])
        told = [(kept, event) for kept, event in changed if event is not None]
        await self._connection.executemany(
            SQL["add_event"],
            [
                (at, kept.affected, kept.level, kept.ticket_id, event.value, _who(kept, event), note)
                for kept, event in told
            ],
        )
        messages = [kept.told(event, at) for kept, event in told]
        if messages:
            await add_unsaid(self._connection, messages, at)
        return messages


def _who(kept: Kept, event: TicketEvent) -> str | None:
    return {TicketEvent.ACKNOWLEDGED: kept.acked_by, TicketEvent.CLOSED: kept.closed_by}.get(event)


def _kept(row: Any) -> Kept:
    found = {name: row[name] for name in Kept._fields}
    return Kept(**{**found, "seen_at": found["seen_at"] or found["opened_at"]})
