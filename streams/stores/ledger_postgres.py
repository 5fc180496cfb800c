"""The ledger on PostgreSQL: writes go to the primary by COPY, people read the replica."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Self
from uuid import UUID

import asyncpg

from streams.core.books import (
    Balance,
    Booking,
    ChannelNumber,
    Conflict,
    Movement,
    OrderRecord,
    Persisted,
    PromotionRecord,
    PromotionState,
    Quarantined,
    Step,
    StepRecord,
    StepResult,
    StoredDecision,
    TicketToOpen,
)
from streams.core.identity import SubmissionKey
from streams.errors import LedgerUnavailable
from streams.stores import ledger_rows as rows
from streams.stores import ledger_statements as statements
from streams.stores.ledger import FAILED_OVER, WAITING_MOST, Tell, nothing
from streams.stores.ledger_codes import ACTIONS
from streams.stores.ledger_connections import SQL, Reader, open_pool, primary, under_epoch
from streams.stores.ledger_errors import outages
from streams.stores.ledger_migrations import load_migrations, migrate
from streams.stores.ledger_outbox import quarantined
from streams.stores.ledger_postgres_outbox import PostgresOutbox
from streams.stores.ledger_postgres_restocks import PostgresRestocks
from streams.stores.ledger_postgres_standings import PostgresStandings
from streams.stores.ledger_rules import (
    check_batch,
    check_movements,
    check_same_movements,
    check_token,
    numbers_of,
    overtaken_by,
    without_taken_numbers,
)
from streams.stores.ledger_snapshot import PostgresSnapshot

if TYPE_CHECKING:
    from streams.stores.ledger_connections import Connection, Pool

PERSIST_TRIES = 5
"""Each try loses only to a worker that wrote some of the same keys meanwhile; a second one is rare already."""
AUDIT_TIMEOUT_S = 900
"""Adding up all movements may take longer than any other statement."""
BALANCES_AHEAD = 1_000
REBUILDING_LOCK = 0x666C6F6F64 + 1
"""Beside that of the migrations."""
ORDER_ID_CONSTRAINT = "decisions_order_id_key"
NUMBER_INDEX = "decisions_channel_order_no"

_key_of = attrgetter("intent.submission_key")


class PostgresLedger(PostgresOutbox, PostgresRestocks, PostgresStandings):
    """See `Ledger`. Every outage is raised as `LedgerUnavailable`."""

    def __init__(self, primary: "Pool", replica: "Pool | None", *, timeout_s: float, replica_wait_s: float) -> None:
        self._primary, self._replica, self._timeout_s = primary, replica, timeout_s
        self._reader = Reader(primary, replica, wait_s=replica_wait_s, timeout_s=timeout_s)

    @classmethod
    async def connect(
        cls,
        primary_dsn: str,
        replica_dsn: str | None = None,
        *,
        pool_size: int = 4,
        statement_timeout_s: float = 30.0,
        replica_wait_s: float = 0.5,
        at_once: bool = True,
    ) -> Self:
        """Connect to the primary now, or when it is first asked; to the replica when first read.

        Raises `LedgerUnavailable`.
        """
        writers = await open_pool(
            primary_dsn, size=pool_size, statement_timeout_s=statement_timeout_s, writes=True, at_once=at_once
        )
        replica = None
        if replica_dsn is not None:
            replica = await open_pool(
                replica_dsn, size=pool_size, statement_timeout_s=statement_timeout_s, writes=False
            )
        return cls(writers, replica, timeout_s=statement_timeout_s, replica_wait_s=replica_wait_s)

    async def close(self) -> None:
        """Give connections back; those still at work after the timeout are cut."""
        for pool in (self._primary, self._replica):
            if pool is not None:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        await pool.close()
                except TimeoutError:
                    pool.terminate()

    async def migrate(self) -> list[str]:
        """See `Ledger`. Raises `Refused` when an applied migration was edited."""
        with outages():
            async with self._connection() as connection:
                return await migrate(connection, load_migrations())

    async def epoch(self) -> int | None:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                found: int | None = await connection.fetchval(SQL["epoch"])
                return found

    async def issue_epoch(self, reason: str) -> int:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection, connection.transaction():
                await connection.execute("LOCK TABLE epochs IN EXCLUSIVE MODE")
                issued: int = await connection.fetchval(SQL["issue_epoch"], reason)
                return issued

    async def failed_over_since(self, epoch: int) -> bool:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                found: bool | None = await connection.fetchval(SQL["failed_over_since"], epoch, FAILED_OVER)
                return bool(found)

    async def installation(self) -> UUID | None:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                found: UUID | None = await connection.fetchval(SQL["installation"])
                return found

    @asynccontextmanager
    async def rebuilding(self) -> AsyncIterator[bool]:
        """See `Ledger`. A session's advisory lock: it goes with the connection of a process that dies.

        No other server knows of it; there the newer epoch ends what is begun under an older one.
        """
        await self._primary.expire_connections()  # whoever rebuilds makes sure first that this is the primary
        with outages():
            async with self._connection() as connection:
                try:
                    mine: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1)", REBUILDING_LOCK)
                    yield mine
                    if mine:
                        await connection.fetchval("SELECT pg_advisory_unlock($1)", REBUILDING_LOCK)
                except BaseException:
                    connection.terminate()  # given back to the pool it would keep the lock
                    raise

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[PostgresSnapshot]:
        """See `Ledger`."""
        with outages():
            async with (
                self._connection() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                await _take_time(connection)
                yield PostgresSnapshot(connection)

    async def persist(self, batch: Sequence[Booking], epoch: int) -> Persisted:
        """See `Ledger`. Writes first and asks only when a key was known: repeats that get here are rare."""
        check_batch(len(batch), "bookings")
        # One order of keys for all: two workers with the same submissions wait for each other instead of deadlocking.
        rest = sorted(batch, key=_key_of)
        assert len({booking.key for booking in batch}) == len(batch), "a key stands twice in one batch"
        stored: dict[SubmissionKey, StoredDecision] = {}
        tickets: list[TicketToOpen] = []
        with outages():
            async with self._connection() as connection:
                for _ in range(PERSIST_TRIES):
                    try:
                        await statements.copy_batch(connection, rest, epoch, tickets)
                        if not rest:
                            await statements.wait_for_standby(connection)
                        return Persisted(await statements.token(connection), stored)
                    except asyncpg.UniqueViolationError as violation:
                        taken = violation
                    known = await statements.find_stored(connection, [booking.key for booking in rest])
                    # Nobody else wrote these keys meanwhile, so it is another key that has one of the order ids.
                    if not known and taken.constraint_name == ORDER_ID_CONSTRAINT:
                        raise AssertionError(f"two keys share an order id: {taken}") from taken
                    stored |= known
                    rest = [booking for booking in rest if booking.key not in stored]
                    if taken.constraint_name == NUMBER_INDEX:
                        rest, more = without_taken_numbers(
                            rest, await statements.find_by_numbers(connection, numbers_of(rest))
                        )
                        tickets += more
        raise LedgerUnavailable(f"Other workers kept writing the same keys, {PERSIST_TRIES} times over; try again.")

    async def lookup(self, keys: Sequence[SubmissionKey]) -> dict[SubmissionKey, StoredDecision]:
        """See `Ledger`."""
        check_batch(len(keys), "keys")
        if not keys:
            return {}
        with outages():
            async with self._connection() as connection:
                return await statements.find_stored(connection, keys)

    async def record_conflicts(self, conflicts: Sequence[Conflict]) -> None:
        """See `Ledger`."""
        if not conflicts:
            return
        columns = [list(column) for column in zip(*conflicts, strict=True)]
        with outages():
            async with self._connection() as connection:
                await connection.execute(SQL["record_conflicts"], *columns)

    async def orders(self, order_ids: Sequence[UUID]) -> dict[UUID, OrderRecord]:
        """See `Ledger`."""
        check_batch(len(order_ids), "orders")
        if not order_ids:
            return {}
        with outages():
            async with self._connection() as connection:
                return await statements.find_orders(connection, order_ids)

    async def take_steps(self, steps: Sequence[Step], epoch: int, tell: Tell = nothing) -> tuple[str, list[StepResult]]:
        """See `Ledger`. Orders are locked first, in the order of their ids, so writers of one order go in turn."""
        check_batch(len(steps), "steps")
        with outages():
            async with self._connection() as connection:
                results = await statements.take_steps(connection, steps, epoch, tell) if steps else []
                return await statements.token(connection), results

    async def record_movements(self, movements: Sequence[Movement]) -> bool:
        """See `Ledger`."""
        check_movements(movements)
        if not movements:
            return True
        first = movements[0]
        with outages():
            async with self._connection() as connection:
                transaction = connection.transaction()
                await transaction.start()
                if await statements.add_command_movements(connection, movements) == len(movements):
                    await transaction.commit()
                    return True
                await transaction.rollback()
                known = await connection.fetch(SQL["command_movements"], first.ref, ACTIONS[first.action])
                await statements.wait_for_standby(connection)
                check_same_movements(movements, {tuple(row) for row in known})
                return False

    async def save_promotion(
        self, record: PromotionRecord, movements: Sequence[Movement] = (), *, epoch: int | None = None
    ) -> None:
        """See `Ledger`."""
        check_movements(movements)
        later = [state.value for state in overtaken_by(record.state)]
        with outages():
            async with (
                self._connection() as connection,
                connection.transaction() if epoch is None else under_epoch(connection, epoch),
            ):
                await connection.execute(SQL["save_promotion"], *rows.promotion_row(record), later)
                if movements:
                    await statements.add_command_movements(connection, movements)

    async def promotions(self, *states: PromotionState) -> list[PromotionRecord]:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                found = await connection.fetch(SQL["promotions"], [state.value for state in states])
                return [rows.promotion_record(row) for row in found]

    async def find_order(self, order_id: UUID, *, token: str | None = None) -> OrderRecord | None:
        """See `Ledger`."""
        check_token(token)
        found = await self._reader.read(lambda connection: statements.find_orders(connection, [order_id]), token)
        return found.get(order_id)

    async def find_decision(
        self, key: SubmissionKey | UUID, *, token: str | None = None
    ) -> tuple[SubmissionKey, StoredDecision] | None:
        """See `Ledger`."""
        check_token(token)
        return await self._reader.read(lambda connection: statements.find_decision(connection, key), token)

    async def find_named(self, name: ChannelNumber | str, *, token: str | None = None) -> list[UUID]:
        """See `Ledger`."""
        check_token(token)
        return await self._reader.read(lambda connection: statements.find_named(connection, name), token)

    async def waiting_of(
        self, order_id: UUID, number: ChannelNumber | None, shipments: Sequence[str], *, token: str | None = None
    ) -> list[Quarantined]:
        """See `Ledger`."""
        check_token(token)
        asked = (order_id, *(number or (None, None)), list(shipments), WAITING_MOST)
        found = await self._reader.read(lambda connection: connection.fetch(SQL["waiting_of"], *asked), token)
        return [quarantined(row) for row in found]

    async def steps(self, order_id: UUID, *, token: str | None = None) -> list[tuple[datetime, str, str, str]]:
        """See `Ledger`."""
        check_token(token)
        found = await self._reader.read(lambda connection: connection.fetch(SQL["steps"], order_id), token)
        return [(row["at"], row["kind"], row["source"], rows.step_result(row).value) for row in found]

    async def step_records(self, order_id: UUID, *, token: str | None = None) -> list[StepRecord]:
        """See `Ledger`."""
        check_token(token)
        found = await self._reader.read(lambda connection: connection.fetch(SQL["step_records"], order_id), token)
        return [rows.step_record(row) for row in found]

    async def balances(self, skus: Sequence[str] | None = None) -> AsyncIterator[Balance]:
        """See `Ledger`. A cursor over one snapshot; the server adds up, so memory grows with SKUs on neither side."""
        with outages():
            async with self._connection() as connection, connection.transaction(readonly=True):
                await _take_time(connection)
                cursor = connection.cursor(SQL["balances"], skus, prefetch=BALANCES_AHEAD, timeout=AUDIT_TIMEOUT_S)
                async for row in cursor:
                    yield Balance(*row)

    def _connection(self) -> "AbstractAsyncContextManager[Connection]":
        return primary(self._primary, timeout_s=self._timeout_s)


async def _take_time(connection: "Connection") -> None:
    limit = f"'{AUDIT_TIMEOUT_S}s'"
    await connection.execute(
        f"SET LOCAL statement_timeout = {limit}; SET LOCAL idle_in_transaction_session_timeout = {limit}"
    )
