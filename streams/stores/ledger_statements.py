"""What the ledger says to Postgres on a connection that is given, statement by statement."""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from streams.core.books import (
    Booking,
    ChannelNumber,
    Movement,
    OrderRecord,
    Position,
    State,
    Step,
    StepResult,
    StoredDecision,
    TicketToOpen,
)
from streams.core.identity import SubmissionKey
from streams.stores import ledger_rows as rows
from streams.stores.ledger import NAMED_MOST, Tell
from streams.stores.ledger_connections import SQL, under_epoch
from streams.stores.ledger_copy import COLUMNS, copy_of
from streams.stores.ledger_outbox import add_unsaid, open_tickets
from streams.stores.ledger_rules import StepKey, judge, step_key

if TYPE_CHECKING:
    from streams.stores.ledger_connections import Connection


_NEW = Position(State.HELD, {}, 0)


async def token(connection: "Connection") -> str:
    """Position in the WAL that holds everything this connection has committed."""
    # What is flushed, not what is inserted: our commit waited for its flush, a replica never gets more than that, and
    # the insert position may be one that no replica reaches until the next write.
    token: str = await connection.fetchval(SQL["wal_token"])
    return token


async def wait_for_standby(connection: "Connection") -> None:
    """Where commits wait for a standby: return when it has all that can be seen here.

    Rows can be seen that it does not have: of a commit that was cancelled while it waited, or by a crash. A commit of
    our own has a later place in the log.
    """
    await connection.execute(SQL["wait_for_standby"])


async def copy_batch(
    connection: "Connection", batch: Sequence[Booking], epoch: int, tickets: Sequence[TicketToOpen] = ()
) -> None:
    """Write a batch with the tickets it opens, all or nothing; a key known already is a `UniqueViolationError`.

    So are an order id, and a channel's number.
    """
    if not batch:
        return
    async with under_epoch(connection, epoch):
        await connection.copy_to_table("decisions", source=_once(copy_of(batch)), columns=COLUMNS, format="binary")
        await open_tickets(connection, tickets)


async def _once(rows: bytes) -> AsyncIterator[bytes]:
    yield rows


async def find_stored(connection: "Connection", keys: Sequence[SubmissionKey]) -> dict[SubmissionKey, StoredDecision]:
    """Decisions by key; absent ones are left out."""
    found = await connection.fetch(SQL["lookup"], [key[0] for key in keys], [key[1] for key in keys])
    return dict(rows.stored_decision(row) for row in found)


async def find_orders(connection: "Connection", order_ids: Sequence[UUID]) -> dict[UUID, OrderRecord]:
    """Accepted orders by id; absent ones are left out."""
    found = await connection.fetch(SQL["orders"], order_ids)
    return {row["order_id"]: rows.order_record(row) for row in found}


async def find_by_numbers(connection: "Connection", numbers: Sequence[ChannelNumber]) -> dict[ChannelNumber, UUID]:
    """Orders by channel and its number; absent ones are left out."""
    found = await connection.fetch(SQL["by_numbers"], [one[0] for one in numbers], [one[1] for one in numbers])
    return {(row["channel"], row["channel_order_no"]): row["order_id"] for row in found}


async def find_named(connection: "Connection", name: ChannelNumber | str) -> list[UUID]:
    """Orders by a channel and its number, or by a trace."""
    if isinstance(name, str):
        found = await connection.fetch(SQL["traced"], name, NAMED_MOST)
    else:
        found = await connection.fetch(SQL["numbered"], *name, NAMED_MOST)
    return [row["order_id"] for row in found]


async def find_decision(
    connection: "Connection", key: SubmissionKey | UUID
) -> tuple[SubmissionKey, StoredDecision] | None:
    """A decision by key or order id."""
    if isinstance(key, UUID):
        row = await connection.fetchrow(SQL["decision_by_order_id"], key)
        return None if row is None else rows.stored_decision(row)
    found = await find_stored(connection, [key])
    return (key, found[key]) if key in found else None


async def take_steps(connection: "Connection", steps: Sequence[Step], epoch: int, tell: Tell) -> list[StepResult]:
    """Take steps in one transaction, with what is to be told of them; see `Ledger`."""
    async with under_epoch(connection, epoch):
        # Whoever holds the lock on an order is the only one to write its steps and movements. What it reads must come
        # in statements of their own after it: a statement sees what was there before it had to wait.
        wanted = list({step.order_id for step in steps})
        locked = [row["order_id"] for row in await connection.fetch(SQL["lock_orders"], wanted)]
        if not locked:
            return [StepResult.UNKNOWN_ORDER] * len(steps)
        positions = dict.fromkeys(locked, _NEW)
        for row in await connection.fetch(SQL["positions"], locked):
            positions[row["order_id"]] = rows.position(row)
        judgement = judge(steps, positions, await _known_steps(connection, steps))
        if judgement.written:
            written = [rows.step_row(taken) for taken in judgement.written]
            await connection.copy_records_to_table("order_steps", records=written, columns=rows.STEPS)
        if moved := rows.order_movements(judgement.written):
            for row in await connection.fetch(SQL["known_movements"], locked):
                moved.pop((row["order_id"], row["action"], row["sku"], row["pool"]), None)
            await connection.copy_records_to_table(
                "order_movements", records=[(*key, *rest) for key, rest in moved.items()], columns=rows.MOVEMENTS
            )
        if messages := tell(judgement.written):
            await add_unsaid(connection, messages, judgement.written[0].step.at)
    return judgement.results


async def _known_steps(connection: "Connection", steps: Sequence[Step]) -> dict[StepKey, StepResult]:
    columns = [list(column) for column in zip(*map(step_key, steps), strict=True)]
    found = await connection.fetch(SQL["known_steps"], *columns)
    return {(row["order_id"], row["source"], row["event_id"]): rows.step_result(row) for row in found}


async def add_command_movements(connection: "Connection", movements: Sequence[Movement]) -> int:
    """Add those that are new; returns how many were."""
    status: str = await connection.execute(SQL["add_command_movements"], *rows.movement_columns(movements))
    return int(status.rsplit(" ", 1)[1])
