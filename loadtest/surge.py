"""One rehearsed surge from plan to books: provide stock, produce, watch, audit."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import msgspec

from agents.roles import group
from loadtest.generator import GeneratorReport
from loadtest.helpers import Helper, helper
from loadtest.outcome import SurgeReport, outcome
from loadtest.plan import Kind, Plan
from loadtest.planfile import PlanFiles
from loadtest.processes import Cost, Meter, Roots, rss_mb
from loadtest.tally import TallyReport, report_from
from streams.audit import AuditReport, audit
from streams.core.stock import Promotion
from streams.errors import FloodwayError
from streams.parts import Parts
from streams.promotions import open_promotion
from streams.receiving import receive
from streams.settings import Settings
from streams.stores.kafka_access import Brokers, access
from streams.stores.reader_kafka import TopicReader
from streams.topics import SUBMITTED_DLQ

STALLED_S = 30.0
"""Nothing new for so long means that nothing more will come."""
LINGER_S = 1.0
"""So long decisions are still listened for when all have come: more would be repeats."""
METER_S = 1.0
TELL_S = 0.25

Show = Callable[[str, int, int], object]
"""Told what is going on, how far it is, and of how much."""


class Now(NamedTuple):
    """How a surge stands: records in all and answers due, sent and decided so far, latency of the last second or so."""

    total: int
    answers: int
    sent: int
    decided: int
    p99_ms: float


Tell = Callable[[Now], object]


async def provide(parts: Parts, plan: Plan, *, lasts_s: float, show: Show) -> None:
    """Put the plan's stock on the shelves and open its promotions."""
    show("stocking the shelves", 0, len(plan.stock))
    await receive(parts, f"surge{plan.run}", plan.stock.items())
    show("stocking the shelves", len(plan.stock), len(plan.stock))
    now_ms = parts.clock.now_ms()
    for planned in plan.promotions:
        promotion = Promotion(
            planned.promotion_id, now_ms, now_ms + int(lasts_s * 1000), planned.buyer_limit, planned.quota
        )
        await open_promotion(parts, promotion)


async def surge(
    parts: Parts,
    plan: Plan,
    files: PlanFiles,
    *,
    rate_per_s: float | None,
    tell: Tell,
    roles: Mapping[str, Roots] | None = None,
    keep_ids: bool = False,
    stalled_s: float = STALLED_S,
) -> tuple[SurgeReport, list[str]]:
    """Produce the plan at this rate, None for as fast as Kafka takes it, and watch until everything is answered.

    `files` is where the plan is written. `roles` are the processes to measure, beside our own. When all was sent and
    nothing new has come for `stalled_s`, no more is waited for. Returns also the accepted orders' ids if `keep_ids`.
    """
    brokers = access(parts.settings)
    dead_before = await _ends(brokers, SUBMITTED_DLQ.name)
    async with _Run.started(plan, files, parts.settings, rate_per_s, keep_ids=keep_ids) as run:
        costs = await run.through(tell, roles or {}, stalled_s)
        tally = await run.tallied()
        generated = run.generated
    dead = await _dead_since(brokers, dead_before, plan)
    report = outcome(plan, tally, generated, dead, asked_per_s=rate_per_s, costs=costs)
    return report, tally.accepted_ids


async def balance(parts: Parts, show: Show) -> AuditReport:
    """Audit the books after the surge."""
    return await audit(
        parts, group("intake"), wait_s=15.0, settle_s=10.0, progress=lambda words: show(f"audit: {words}", 0, 0)
    )


class _Run:
    """Generator and observer at work."""

    def __init__(self, plan: Plan, generator: Helper, observer: Helper, report: Path) -> None:
        self._plan = plan
        self._generator = generator
        self._observer = observer
        self._report = report
        self._sent = self._decided = 0
        self._p99_ms = 0.0
        self._complete = asyncio.Event()
        self._generated: GeneratorReport | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def started(
        cls, plan: Plan, files: PlanFiles, settings: Settings, rate_per_s: float | None, *, keep_ids: bool
    ) -> "AsyncIterator[_Run]":
        """Both helpers, started and ready."""
        rate = () if rate_per_s is None else ("--rate", rate_per_s)
        ids = ("--keep-ids",) if keep_ids else ()
        async with (
            helper("observer", settings, files.sends, files.report, f"--run={plan.run}", *ids) as observer,
            helper("generator", settings, files.records, "--total", plan.total, *rate) as generator,
        ):
            await observer.ready()
            await generator.ready()
            yield cls(plan, generator, observer, files.report)

    @property
    def generated(self) -> GeneratorReport:
        """What the generator said at its end."""
        assert self._generated is not None, "the generator has reported when `through` returns"
        return self._generated

    async def through(self, tell: Tell, roles: Mapping[str, Roots], stalled_s: float) -> dict[str, Cost]:
        """Let the generator go and wait until all is answered or nothing comes any more; what it cost by role."""
        meter = Meter({"generator": lambda: [self._generator.pid], "observer": lambda: [self._observer.pid], **roles})
        began_cpu_s = time.process_time()
        meter.start()
        self._generator.tell("go")
        try:
            async with asyncio.TaskGroup() as tasks:
                heard = [tasks.create_task(self._hear_generator()), tasks.create_task(self._hear_observer())]
                telling = tasks.create_task(self._keep_telling(tell, meter))
                await self._until_answered(heard[0], stalled_s)
                meter.look()
                for task in (*heard, telling):
                    task.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None  # the first to fail is the cause; the others were cancelled for it
        tell(self._now())
        costs = meter.costs()
        if costs:
            # Ours alone: servers and workers are our children too.
            costs["command"] = Cost(int((time.process_time() - began_cpu_s) * 1e6), round(rss_mb([os.getpid()]), 1))
        return costs

    async def tallied(self) -> TallyReport:
        """End the observer, after some more listening, and take over what it saw."""
        await asyncio.sleep(LINGER_S)
        self._observer.tell(str(self.generated.started_at_ms))
        while await self._observer.next() is not None:
            pass
        await self._observer.ended()
        return report_from(self._report.read_bytes())

    async def _hear_generator(self) -> None:
        while (said := await self._generator.next()) is not None:
            if "report" in said:
                self._generated = msgspec.convert(said["report"], GeneratorReport, strict=False)
                self._sent = self._generated.sent
                return
            self._sent = said["sent"]
        raise FloodwayError("The generator ended without a report.")

    async def _hear_observer(self) -> None:
        while (said := await self._observer.next()) is not None:
            self._decided, self._p99_ms = said["decided"], said["p99_ms"]
            if said["complete"]:
                self._complete.set()
        raise FloodwayError("The observer ended before all was answered.")

    async def _keep_telling(self, tell: Tell, meter: Meter) -> None:
        looked_at = monotonic()
        while True:
            await asyncio.sleep(TELL_S)
            tell(self._now())
            if monotonic() - looked_at > METER_S:
                looked_at = monotonic()
                meter.look()

    async def _until_answered(self, producing: "asyncio.Task[None]", stalled_s: float) -> None:
        """Wait for all answers; without new ones for long, after everything was sent, no more will come."""
        await asyncio.wait([producing])
        heard, heard_at = self._decided, monotonic()
        while not self._complete.is_set() and monotonic() - heard_at < stalled_s:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._complete.wait(), TELL_S)
            if self._decided > heard:
                heard, heard_at = self._decided, monotonic()

    def _now(self) -> Now:
        return Now(self._plan.total, self._plan.answers, self._sent, self._decided, self._p99_ms)


async def dead_letters(settings: Settings) -> int:
    """How many dead letters of submissions there are."""
    return await _ends(access(settings), SUBMITTED_DLQ.name)


async def _ends(brokers: Brokers, topic: str) -> int:
    reader = await TopicReader.open(brokers, topic, start="end")
    await reader.close()
    return sum(reader.ends.values())


async def _dead_since(brokers: Brokers, before: int, plan: Plan) -> int:
    """Dead letters since `before`; those of the last chunk may be a moment behind the last decision."""
    deadline = monotonic() + 5.0
    while (found := await _ends(brokers, SUBMITTED_DLQ.name) - before) < plan.kinds[Kind.MALFORMED]:
        if monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    return found
