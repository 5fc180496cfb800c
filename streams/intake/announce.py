"""Stage four: tell the world, and only then allow the offsets to be committed."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable

import msgspec

from streams import dead_letters
from streams.clock import Clock
from streams.intake.batch import Batch
from streams.retry import until_available
from streams.stores.log import Entry, Log
from streams.telemetry import announced
from streams.timing import timed
from streams.topics import DECIDED, SUBMITTED_DLQ

_encode = msgspec.json.Encoder().encode


@timed("announce")
async def announce(batch: Batch, log: Log, clock: Clock, *, max_delay_s: float) -> None:
    """Append decisions and dead letters, wait until they are safe, then acknowledge the chunks.

    A decision goes to the partition whose number its submission's has: one produce request a chunk instead of one a
    partition, and all decisions on one key stay in order.
    """
    now_ms = clock.now_ms()
    entries: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    for intent, decision in zip(batch.intents, batch.decisions, strict=True):
        key = str(decision.order_id).encode()
        entries[DECIDED.name, intent.partition].append(Entry(key, _encode(decision), now_ms))
    for dead in batch.dead:
        entry = dead_letters.entry(dead, failed_at_ms=now_ms)
        entries[SUBMITTED_DLQ.name, dead.partition].append(entry)
    await asyncio.gather(*(_append(log, *at, some, max_delay_s) for at, some in entries.items()))
    announced(batch.intents, batch.decisions, batch.chunks, clock.now_ms())
    for chunk in batch.chunks:
        chunk.acknowledge()


async def _append(log: Log, topic: str, source_partition: int, entries: list[Entry], max_delay_s: float) -> None:
    count = await until_available("partitions", lambda: log.partitions(topic), max_delay_s=max_delay_s)
    partition = source_partition % count

    def append() -> Awaitable[None]:
        return log.append(topic, partition, entries)

    await until_available("announce", append, max_delay_s=max_delay_s)
