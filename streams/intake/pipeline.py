"""The stages joined: while one batch is announced, the next is persisted, the next but one reserved.

Between stages stand queues of one, so a slow stage holds the ones before it, and at last the fetching of chunks.
Each stage is one task, so batches stay in order; chunks that wait for reserve together share its round trip.

When the stock has been rebuilt, what the old one had decided and nobody had written is decided anew, by persist, in
order; reserve asks the new stock for nothing else until then.
"""

import asyncio
from functools import partial

from streams.chunks import Chunk
from streams.dead_letters import DeadLetterCap
from streams.guard import StockGuard
from streams.intake.announce import announce
from streams.intake.batch import Batch
from streams.intake.decode import decode
from streams.intake.persist import persist
from streams.intake.recall import recall
from streams.intake.reserve import reserve
from streams.parts import Parts

GATHER_S = 0.005
FULL_SHARE = 8
"""A batch smaller than this share of the largest waits a little for what was fetched with it: each batch costs a script
call, a transaction and a request to Kafka, whatever is in it."""
CHUNKS_WAITING = 64
"""Decoded chunks before reserve: enough small ones to fill a batch. The transport bounds their records."""


class Intake:
    """Takes chunks; acknowledges each once every one of its records is decided, durable and announced, or buried."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._guard = StockGuard(parts.ledger, max_delay_s=parts.settings.retry_max_delay_s, recover=parts.recover)
        self._reserved_under: int | None = None
        retention_s = parts.settings.dedupe_retention_s
        self._recall = partial(recall, ledger=parts.ledger, clock=parts.clock, retention_s=retention_s)
        self._cap = DeadLetterCap(parts.settings.dead_letter_max_share)
        self._decoded: asyncio.Queue[Batch] = asyncio.Queue(maxsize=CHUNKS_WAITING)
        self._reserved: asyncio.Queue[Batch] = asyncio.Queue(maxsize=1)
        self._persisted: asyncio.Queue[Batch] = asyncio.Queue(maxsize=1)

    async def take(self, chunk: Chunk) -> None:
        """Decode and queue a chunk; waits while the pipeline is full or a breaker open. Raises `TooManyDeadLetters`."""
        await self._parts.let_in()
        batch = decode(chunk)
        self._cap.count(len(batch), len(batch.dead))
        await self._decoded.put(batch)

    async def run(self) -> None:
        """Work until cancelled. An error that is no outage ends it, with nothing acknowledged that was not done."""
        async with asyncio.TaskGroup() as stages:
            stages.create_task(self._reserve(), name="reserve")
            stages.create_task(self._persist(), name="persist")
            stages.create_task(self._announce(), name="announce")

    async def _reserve(self) -> None:
        held_back: Batch | None = None
        parts = self._parts
        while True:
            batch = held_back if held_back is not None else await self._decoded.get()
            if len(batch) < parts.settings.batch_max_orders // FULL_SHARE:
                await asyncio.sleep(GATHER_S)
            held_back = self._merge(batch)
            await reserve(
                batch,
                parts.stock,
                self._guard,
                parts.clock,
                hold_ttl_s=parts.settings.hold_ttl_s,
                ready=self._caught_up,
                recall=self._recall,
            )
            await self._reserved.put(batch)

    async def _caught_up(self, epoch: int) -> None:
        """Before a new stock is asked: wait until all that the old one had decided is decided anew and written."""
        if epoch != self._reserved_under:
            await self._reserved.join()
            self._reserved_under = epoch

    def _merge(self, batch: Batch) -> Batch | None:
        """Add what waits to the batch, up to the limit; returns the first that no longer fits."""
        limit = self._parts.settings.batch_max_orders
        while not self._decoded.empty():
            following = self._decoded.get_nowait()
            if len(batch) + len(following) > limit:
                return following
            batch.absorb(following)
        return None

    async def _persist(self) -> None:
        parts = self._parts
        while True:
            batch = await self._reserved.get()
            bounds = {"hold_ttl_s": parts.settings.hold_ttl_s, "max_delay_s": parts.settings.retry_max_delay_s}
            await persist(batch, parts.ledger, parts.stock, self._guard, parts.clock, **bounds, recall=self._recall)
            self._reserved.task_done()
            await self._persisted.put(batch)

    async def _announce(self) -> None:
        parts = self._parts
        while True:
            batch = await self._persisted.get()
            await announce(batch, parts.log, parts.clock, max_delay_s=parts.settings.retry_max_delay_s)
