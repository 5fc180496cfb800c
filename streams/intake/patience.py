"""Intake whose patience ends: what waits too long for a store that is away is put aside, and decided when it is back.

It is in one of two states. Deciding, chunks go through the stages. When nothing has come out of them for
`review_after_s`, because a store is away, the stages are given up as if the process had died, and everything taken
and not acknowledged is put aside, with all that comes, until both stores answer and agree.

What was put aside of a partition is decided before anything that came later to it: whoever has the partition looks into
the queue of the same number first, whenever that partition is new to it or something was put aside there. So the order
of a partition is kept, across outages and workers. That each submission gets one decision does not depend on it: the
keys in stock and ledger see to that, also where a worker that has lost its partition still puts something aside.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from time import monotonic

from streams.agreement import agreed_epoch
from streams.chunks import Chunk
from streams.dead_letters import DeadLetterCap
from streams.errors import BreakerOpen, Fenced, Unavailable
from streams.intake.decode import decode
from streams.intake.divert import ReviewedChunk, divert, reviewed
from streams.intake.pipeline import Intake
from streams.parts import Parts
from streams.retry import until_available
from streams.stores.review import ReviewQueue
from streams.waiting import last_wait_s, note_wait

LOOK_S = 1.0
"""How often it is looked whether partitions are new, while none of their records come."""
LOOK_AGAIN_S = 60.0
"""How often it is looked whether anything stands in queues that were empty: a worker that has lost a partition may
still put something aside there, or note less than was decided."""
RELEASE_LOOK_S = 5.0
"""The same, where an operator releases."""
WINDOW_CHUNKS = 8
"""Chunks of the queue decided before it is noted how far it went; what a crash decides again at the most."""

Assignment = tuple[int, frozenset[int]]
"""A number that changes with each rebalance, and the partitions that we have."""

logger = logging.getLogger(__name__)


class PatientIntake:
    """`Intake`, with an end to its patience. `assignment` tells which partitions this worker has.

    `last_wait_s` is when this process last waited for a dependency, by the clock `now_s`.
    """

    def __init__(
        self,
        parts: Parts,
        queue: ReviewQueue,
        assignment: Callable[[], Assignment],
        *,
        now_s: Callable[[], float] = monotonic,
        last_wait_s: Callable[[], float] = last_wait_s,
        look_s: float = LOOK_S,
    ) -> None:
        self._parts, self._queue, self._assignment = parts, queue, assignment
        self._now_s, self._last_wait_s, self._look_s = now_s, last_wait_s, look_s
        self._max_delay_s = parts.settings.retry_max_delay_s
        self._cap = DeadLetterCap(parts.settings.dead_letter_max_share)
        self._inbox: asyncio.Queue[_Taken] = asyncio.Queue(maxsize=1)
        self._taken: dict[_Taken, None] = {}  # in the order in which they came
        self._looked: set[int] = set()  # partitions whose queue is known to be empty
        self._looked_under = -1
        self._moved_at_s = now_s()

    async def take(self, chunk: Chunk) -> None:
        """Take a chunk; waits while the stages are full or a breaker is open."""
        if not self._taken:
            self._moved_at_s = self._now_s()
        one = _Taken(chunk, self._settled)
        self._taken[one] = None
        await self._inbox.put(one)

    async def run(self) -> None:
        """Work until cancelled. An error that is no outage ends it, with nothing acknowledged that was not done."""
        while True:
            await self._decide()
            await self._divert()

    def _settled(self, one: "_Taken") -> None:
        self._taken.pop(one, None)
        self._moved_at_s = self._now_s()

    # --- deciding ----------------------------------------------------------------------------------------------------

    async def _decide(self) -> None:
        """Put chunks through the stages; returns when patience has ended, with nothing going on any more."""
        stages = Intake(self._parts)
        work = {
            asyncio.create_task(call, name=name)
            for call, name in (
                (stages.run(), "stages"),
                (self._feed(stages), "feed"),
                (self._look_again(), "look again"),
                (self._lose_patience(), "patience"),
            )
        }
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _feed(self, stages: Intake) -> None:
        for one in list(self._taken):  # what came while the others were put aside
            await self._give(stages, one)
        while True:
            following = await self._next()
            if following is None:
                await self._decide_reviewed(stages, ())
            elif following in self._taken and not following.given:
                await self._give(stages, following)

    async def _give(self, stages: Intake, one: "_Taken") -> None:
        one.given = True
        await self._decide_reviewed(stages, (one.partition,))
        await stages.take(one)

    async def _next(self) -> "_Taken | None":
        if not self._inbox.empty():
            return self._inbox.get_nowait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._look_s):
                return await self._inbox.get()
        return None

    async def _lose_patience(self) -> None:
        """Return when something has waited too long for a store that is away; never where Kafka is, or it is off."""
        limit_s = self._parts.settings.review_after_s
        if not limit_s:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(min(LOOK_S, limit_s / 4))
            waits = self._last_wait_s() > self._now_s() - self._parts.settings.stall_timeout_s
            if self._taken and waits and self._waited_s() > limit_s and self._log_is_there():
                return

    def _log_is_there(self) -> bool:
        return self._parts.breakers is None or self._parts.breakers.log.closed

    # --- what was put aside ------------------------------------------------------------------------------------------

    async def _decide_reviewed(self, stages: Intake, more: Sequence[int]) -> None:
        """Put what waits in the queues of our partitions through the stages, unless they are known to be empty."""
        generation, mine = self._assignment()
        if generation != self._looked_under:
            self._looked_under = generation
            self._looked.clear()
        # A partition is not ours yet, or no more, when its chunk was handed over in a rebalance.
        new = mine.union(more) - self._looked
        found = bool(new)
        while found:
            found = await until_available(
                "review", lambda: self._pass_through(stages, new), max_delay_s=self._max_delay_s
            )
        self._looked |= new

    async def _look_again(self) -> None:
        """Now and then, beside the work."""
        by_operator = self._parts.settings.review_release == "operator"
        while True:
            await asyncio.sleep(RELEASE_LOOK_S if by_operator else LOOK_AGAIN_S)
            _, mine = self._assignment()
            with suppress(Unavailable):
                async with aclosing(self._queue.waiting(mine)) as waiting:  # type: ignore[type-var]  # it has aclose
                    async for _ in waiting:
                        self._looked.clear()
                        break

    async def _pass_through(self, stages: Intake, partitions: frozenset[int]) -> bool:
        """Decide what waits now, and note it; False when nothing did."""
        window: list[tuple[int, ReviewedChunk]] = []
        found = False
        max_records = self._parts.settings.chunk_max_records
        async with aclosing(self._queue.waiting(partitions)) as waiting:  # type: ignore[type-var]  # it has aclose
            async for partition, records in waiting:
                found = True
                for chunk in reviewed(partition, records, max_records):
                    await stages.take(chunk)
                    window.append((partition, chunk))
                    if len(window) == WINDOW_CHUNKS:
                        await self._note(window)
                        window = []
        await self._note(window)
        return found

    async def _note(self, window: "Sequence[tuple[int, ReviewedChunk]]") -> None:
        for _, chunk in window:
            await chunk.done.wait()
            self._moved_at_s = self._now_s()
            note_wait()  # those that wait behind it are not stalled
        if window:
            await self._queue.done({partition: chunk.next_offset for partition, chunk in window})
            logger.info("%d submissions under review were decided", sum(len(chunk.records) for _, chunk in window))

    # --- putting aside -----------------------------------------------------------------------------------------------

    async def _divert(self) -> None:
        """Put aside what was taken and what comes, until both stores answer and agree."""
        cause = self._cause()
        logger.error("nothing could be decided for %.0f s: what waits is put aside. %s", self._waited_s(), cause)
        diverted, back = 0, asyncio.create_task(self._back(), name="back")
        try:
            while not back.done():
                if self._taken:
                    diverted += await self._put_aside(list(self._taken), cause)
                await self._next()
            back.result()
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
        self._moved_at_s = self._now_s()
        logger.warning("%d submissions were put aside; the stores are back, they are decided first", diverted)

    async def _put_aside(self, chunks: "Sequence[_Taken]", cause: str) -> int:
        log, clock = self._parts.log, self._parts.clock
        for chunk in chunks:
            self._looked.discard(chunk.partition)
            batch = decode(chunk)
            self._cap.count(len(batch), len(batch.dead))
        return await divert(chunks, log, clock, cause=cause, max_delay_s=self._max_delay_s)

    async def _back(self) -> None:
        """Return when both stores answer and agree, by as many calls as their breakers need to close."""
        parts = self._parts
        while True:
            try:
                if await agreed_epoch(parts.ledger, parts.stock) is None:
                    if parts.recover is not None:
                        await parts.recover()
                elif parts.breakers is None or (parts.breakers.stock.closed and parts.breakers.ledger.closed):
                    return
                pause_s = parts.settings.breaker_open_s / 4
            except (Unavailable, Fenced) as error:
                pause_s = getattr(error, "retry_after_s", None) or parts.settings.breaker_open_s
                if not isinstance(error, BreakerOpen):
                    logger.warning("still away: %s", error)
            note_wait()
            await asyncio.sleep(pause_s)

    def _waited_s(self) -> float:
        return self._now_s() - self._moved_at_s

    def _cause(self) -> str:
        """What is away, for the operator who looks at the queue."""
        breakers = self._parts.breakers
        away = [b.name for b in (breakers.stock, breakers.ledger) if not b.closed] if breakers is not None else []
        return f"{' and '.join(away)} did not answer" if away else "stock and ledger did not agree, or did not answer"


class _Taken:
    """A chunk that was taken; tells when it is acknowledged, by the stages or because it was put aside."""

    __slots__ = ("_chunk", "_settled", "given", "partition", "records", "topic")

    def __init__(self, chunk: Chunk, settled: Callable[["_Taken"], None]) -> None:
        self._chunk, self._settled = chunk, settled
        self.topic, self.partition, self.records = chunk.topic, chunk.partition, chunk.records
        self.given = False

    def acknowledge(self) -> bool:
        """See `Chunk`."""
        self._settled(self)
        return self._chunk.acknowledge()
