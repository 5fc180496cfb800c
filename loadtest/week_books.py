"""What a week reads back: positions from the ledger, messages from the topics."""

from collections.abc import Iterable, Sequence
from itertools import islice
from uuid import UUID

import asyncpg

from streams.core.books import Position, State
from streams.settings import Settings
from streams.stores.kafka_access import access
from streams.stores.ledger_connections import SQL
from streams.stores.ledger_rows import position
from streams.stores.reader_kafka import TopicReader
from streams.topics import CHANGED, MESSAGE_ID_HEADER

AT_ONCE = 2_000


async def positions_of(settings: Settings, order_ids: Iterable[UUID]) -> dict[UUID, Position]:
    """Where orders stand; those that made no step are held and have reached nothing."""
    found: dict[UUID, Position] = {}
    connection = await asyncpg.connect(settings.postgres_dsn, timeout=settings.postgres_timeout_s)
    try:
        rest = iter(order_ids)
        while some := list(islice(rest, AT_ONCE)):
            found.update(dict.fromkeys(some, Position(State.HELD, {}, 0)))
            for row in await connection.fetch(SQL["positions"], some):
                found[row["order_id"]] = position(row)
    finally:
        await connection.close()
    return found


async def messages_of(settings: Settings, topics: Sequence[str]) -> tuple[list[str], list[tuple[int, bytes]]]:
    """Ids of all messages in these topics; and of changes the time at which each was told, in ms, and its value."""
    ids: list[str] = []
    changes: list[tuple[int, bytes]] = []
    for topic in topics:
        reader = await TopicReader.open(access(settings), topic, start="beginning")
        try:
            async for _, records in reader.until_end():
                for record in records:
                    ids.append((dict(record.headers).get(MESSAGE_ID_HEADER) or b"").decode())
                    if topic == CHANGED.name:
                        changes.append((record.timestamp, record.value or b""))
        finally:
            await reader.close()
    return ids, changes
