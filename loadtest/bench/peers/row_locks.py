"""Postgres alone: stock in a table, rows locked by `SELECT … FOR UPDATE`, no Redis.

aiokafka's `getmany` fills a queue for `concurrency` workers with a connection each. An order is one transaction of two
statements: lock the rows of its SKUs in the order of their names (so that no two orders wait for each other), then
take the units and write decision, order and lines in one statement that does nothing for a known key. Decisions go out
through a producer that lingers 5 ms; offsets are committed when all of a fetch is durable and confirmed. uvloop,
msgspec, prepared statements, room on the stock's pages for HOT updates.
`python -m loadtest.bench.peers.row_locks NAME SOURCE TARGET CONCURRENCY`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from loadtest.bench.peers.job import TAKE_AND_RECORD, Assigned, Job, Task, announcement, job, now, on_uvloop, pool, row
from streams.stores.kafka_access import access

FETCHED_AT_ONCE = 1_000
LINGER_MS = 5
LOCK = "SELECT sku, free FROM stock WHERE sku = ANY ($1::text[]) ORDER BY sku FOR UPDATE"


async def decide(connection: Any, found: Job) -> tuple[bytes, bytes]:
    """One order, one transaction; returns its announcement."""
    async with connection.transaction():
        free = dict(await connection.fetch(LOCK, sorted(found.units)))
        accepted = all(free.get(sku, 0) >= units for sku, units in found.units.items())
        decided_at = now()
        await connection.execute(TAKE_AND_RECORD, *row(found, accepted=accepted, decided_at=decided_at))
    return announcement(found, accepted=accepted, decided_at=decided_at)


class Workers:
    """So many at a time, each with a connection of its own."""

    def __init__(self, task: Task, connections: Any, producer: AIOKafkaProducer) -> None:
        self._task, self._connections, self._producer = task, connections, producer
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self._confirmed: list[Awaitable[Any]] = []

    async def work(self) -> None:
        """Decide orders for ever."""
        async with self._connections.acquire() as connection:
            while True:
                message = await self._waiting.get()
                key, value = await decide(connection, job(message))
                self._confirmed.append(await self._producer.send(self._task.target, value, key=key))
                self._waiting.task_done()

    async def finish(self, messages: list[bytes]) -> None:
        """Have all of these decided and announced."""
        for message in messages:
            self._waiting.put_nowait(message)
        await self._waiting.join()
        confirmed, self._confirmed = self._confirmed, []
        await asyncio.gather(*confirmed)


async def run(task: Task) -> None:
    """Read until cancelled."""
    settings = task.settings
    connections = await pool(task, task.concurrency)
    producer = AIOKafkaProducer(**access(settings).options(), acks="all", linger_ms=LINGER_MS)
    consumer = AIOKafkaConsumer(
        **access(settings).options(),
        group_id=f"peer-{task.name}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
        session_timeout_ms=int(settings.session_timeout_s * 1000),
    )
    consumer.subscribe([task.source], listener=Assigned())
    await producer.start()
    await consumer.start()
    workers = Workers(task, connections, producer)
    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(task.concurrency):
                tasks.create_task(workers.work())
            while True:
                fetched = await consumer.getmany(timeout_ms=200, max_records=FETCHED_AT_ONCE)
                messages = [record.value for records in fetched.values() for record in records]
                if messages:
                    await workers.finish(messages)
                    await consumer.commit()
    finally:
        await consumer.stop()
        await producer.stop()
        connections.terminate()


def main() -> None:
    """Run until told to stop."""
    on_uvloop()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(Task.told()))


if __name__ == "__main__":
    main()
