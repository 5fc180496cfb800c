"""aiokafka alone, with our stages: the loop that one would write to do without Faust.

`getmany` in a loop feeds `streams.intake.pipeline.Intake`, so batching, stores and overlapping stages are ours; offsets
of acknowledged chunks are committed each second, reading stops while too much is under way. What is left to differ is
Faust and our transport. `python -m loadtest.bench.peers.by_hand NAME SOURCE TARGET CONCURRENCY`.
"""

import asyncio
import contextlib
import gc
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.bootstrap import close, connect
from loadtest.bench.peers.job import Assigned, Task, on_uvloop
from streams.chunks import Record
from streams.intake.pipeline import Intake
from streams.stores.kafka_access import access

MOST_UNDER_WAY = 20_000
"""Records, as our transport has it."""


class Progress:
    """What may be committed, and how much is under way. Chunks of a partition are acknowledged in order."""

    def __init__(self) -> None:
        self.under_way = 0
        self.offsets: dict[TopicPartition, int] = {}
        self.room = asyncio.Event()

    def done(self, partition: TopicPartition, next_offset: int, records: int) -> None:
        """A chunk has been acknowledged."""
        self.offsets[partition] = next_offset
        self.under_way -= records
        self.room.set()


@dataclass(slots=True)
class HandChunk:
    """Records of one partition out of one `getmany`."""

    topic: str
    partition: int
    records: Sequence[Record]
    progress: Progress

    def acknowledge(self) -> bool:
        """Let its offsets be committed."""
        at = TopicPartition(self.topic, self.partition)
        self.progress.done(at, self.records[-1].offset + 1, len(self.records))
        return True


async def read(consumer: AIOKafkaConsumer, intake: Intake, progress: Progress, most: int) -> None:
    """Fetch and hand over, for ever."""
    while True:
        while progress.under_way >= MOST_UNDER_WAY:
            progress.room.clear()
            await progress.room.wait()
        for partition, records in (await consumer.getmany(timeout_ms=200, max_records=most)).items():
            progress.under_way += len(records)
            await intake.take(HandChunk(partition.topic, partition.partition, records, progress))


async def commit(consumer: AIOKafkaConsumer, progress: Progress, interval_s: float) -> None:
    """Commit what was acknowledged, for ever."""
    while True:
        await asyncio.sleep(interval_s)
        if progress.offsets:
            offsets, progress.offsets = progress.offsets, {}
            await consumer.commit(offsets)


async def run(task: Task) -> None:
    """Read until cancelled."""
    settings = task.settings
    parts = await connect(settings)
    intake, progress = Intake(parts), Progress()
    consumer = AIOKafkaConsumer(
        **access(settings).options(),
        group_id=f"peer-{task.name}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
        session_timeout_ms=int(settings.session_timeout_s * 1000),
    )
    consumer.subscribe([task.source], listener=Assigned())
    await consumer.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(intake.run())
            tasks.create_task(commit(consumer, progress, settings.commit_interval_s))
            tasks.create_task(read(consumer, intake, progress, settings.chunk_max_records))
    finally:
        await consumer.stop()
        await close(parts)


def main() -> None:
    """Run until told to stop."""
    on_uvloop()
    gc.freeze()  # as our workers have it
    gc.set_threshold(100_000, 50, 100)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(Task.told()))


if __name__ == "__main__":
    main()
