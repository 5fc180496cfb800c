"""The stages joined: while one batch is announced, the next is persisted, the next but one reserved.

Between stages stand queues of one, so a slow stage holds the ones before it, and at last the fetching of chunks.
Each stage is one task, so batches stay in order; chunks that come while reserve is at work are decoded into one batch
and share its next round trip.

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


class Intake:
    """Takes chunks; acknowledges each once every one of its records is decided, durable and announced, or buried."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        max_delay_s = parts.settings.retry_max_delay_s
        self._guard = StockGuard(parts.ledger, max_delay_s=max_delay_s, recover=parts.recover, stock=parts.stock)
        self._reserved_under: int | None = None
        retention_s = parts.settings.dedupe_retention_s
        self._recall = partial(recall, ledger=parts.ledger, clock=parts.clock, retention_s=retention_s)
        self._limit = parts.settings.batch_max_orders
        self._cap = DeadLetterCap(parts.settings.dead_letter_max_share)
        self._forming: Batch | None = None
        self._formed, self._room = asyncio.Event(), asyncio.Event()
        self._reserved: asyncio.Queue[Batch] = asyncio.Queue(maxsize=1)
        self._persisted: asyncio.Queue[Batch] = asyncio.Queue(maxsize=1)

    async def take(self, chunk: Chunk) -> None:
        """Decode a chunk into the batch that is forming; waits while that is full or a breaker open.

        Raises `TooManyDeadLetters`.
        """
        await self._parts.let_in()
        while self._forming is not None and len(self._forming) + len(chunk.records) > self._limit:
            self._room.clear()
            await self._room.wait()
        batch = decode(chunk)
        self._cap.count(len(batch), len(batch.dead))
        if self._forming is None:
            self._forming = batch
        else:
            self._forming.absorb(batch)
        self._formed.set()

    async def run(self) -> None:
        """Work until cancelled. An error that is no outage ends it, with nothing acknowledged that was not done."""
        async with asyncio.TaskGroup() as stages:
            stages.create_task(self._reserve(), name="reserve")
            stages.create_task(self._persist(), name="persist")
            stages.create_task(self._announce(), name="announce")

    async def _reserve(self) -> None:
        parts = self._parts
        while True:
            batch = await self._next()
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

    async def _next(self) -> Batch:
        """What was decoded while the last batch was reserved; no more is, for it would be cold when its turn comes."""
        await self._formed.wait()
        assert self._forming is not None
        if len(self._forming) < self._limit // FULL_SHARE:
            await asyncio.sleep(GATHER_S)
        batch, self._forming = self._forming, None
        self._formed.clear()
        self._room.set()
        return batch

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
