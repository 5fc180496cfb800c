"""One drill on servers and workers that run: surge, fault, healing, backlog, books."""

import asyncio
import time
from dataclasses import dataclass
from random import Random
from time import monotonic

from agents.roles import group
from loadtest import planfile, surge
from loadtest.drills.drill import Drill, Fault, Moment, Scene, moment
from loadtest.drills.report import DrillReport, around, failures, opened, vacuous
from loadtest.mixes import make_plan
from loadtest.outcome import SurgeReport
from loadtest.plan import Plan
from loadtest.surge import Now, Show
from streams.audit import audit

STALLED_S = 90.0
"""So long after the last new answer it is given up: a worker that died often waits 15 s before it is started again."""
COMMITTED_WITHIN_S = 60.0
SETTLED_WITHIN_S = 20.0
ENDED_WITHIN_S = 60.0
LOOK_S = 0.5


def planned(drill: Drill, partitions: int, seed: int) -> Plan:
    """The surge of a drill; the same seed gives the same, to the byte. Its servers have seen no other of this name."""
    plan = make_plan(drill.load.submissions, partitions, mix="demo", seed=seed, run=f"-{drill.name}-{seed}")
    if drill.load.reshape is not None:
        plan = drill.load.reshape(plan, partitions, Random(seed))  # noqa: S311 - a repeatable mix, not a secret
    if drill.holds_end:
        plan.promised = {}  # units come back while the surge lasts, and are promised again
    return plan


async def perform(drill: Drill, fault: Fault, scene: Scene, seed: int, report: DrillReport, show: Show) -> None:
    """Run the surge with the fault in it, and enter into the report what came of it.

    Workers run and have partitions when this is called. Raises what the fault or the surge failed with.
    """
    plan = await asyncio.to_thread(planned, drill, scene.parts.settings.topic_partitions, seed)
    lasts_s = scene.parts.settings.dedupe_retention_s / 2
    buried_before = await surge.dead_letters(scene.parts.settings)
    with planfile.written(plan) as files:
        await surge.provide(scene.parts, plan, lasts_s=lasts_s, show=show)
        when = moment(drill, plan.total / drill.load.rate_per_s, Random(seed))  # noqa: S311 - repeatable, not secret
        course = _Course(drill, fault, scene, when, Random(seed + 1), show)  # noqa: S311
        async with asyncio.TaskGroup() as tasks:
            hurting = tasks.create_task(course.run())
            found, _ = await surge.surge(
                scene.parts, plan, files, rate_per_s=drill.load.rate_per_s, tell=course.tell, stalled_s=STALLED_S
            )
            await hurting
    await fault.settle(scene)
    if drill.holds_end:
        await _all_ended(scene, show)
    found.books = await audit(
        scene.parts,
        group("intake"),
        wait_s=COMMITTED_WITHIN_S,
        settle_s=SETTLED_WITHIN_S,
        progress=lambda words: show(f"audit: {words}", 0, 0),
    )
    found.books.dead_lettered -= buried_before  # by drills on the same servers
    _enter(report, drill, plan, found, course)


async def _all_ended(scene: Scene, show: Show) -> None:
    """Wait until no hold is left; what is left when the time is over, the report tells."""
    deadline = monotonic() + ENDED_WITHIN_S
    while (left := await _held(scene)) and monotonic() < deadline:
        show("holds expiring", 0, 0)
        await asyncio.sleep(LOOK_S)
    scene.say(f"{left:,} units held at the end")


async def _held(scene: Scene) -> int:
    return sum([pool.held async for pool in scene.parts.stock.pools()])


@dataclass(slots=True)
class _Course:
    """When the fault was really put in and healed, in milliseconds since 1970."""

    drill: Drill
    fault: Fault
    scene: Scene
    when: Moment
    choose: Random
    show: Show
    injected_ms: float = 0.0
    healed_ms: float = 0.0
    _began: asyncio.Event | None = None

    def tell(self, now: Now) -> None:
        """Hears how the surge stands: it begins with the first record."""
        self.show("submitted", now.sent, now.total)
        self.show("decided", now.decided, now.answers)
        if now.sent and self._began is not None:
            self._began.set()

    async def run(self) -> None:
        """Wait for the moment, inject, wait, heal."""
        self._began = asyncio.Event()
        await self._began.wait()
        await asyncio.sleep(self.when.at_s)
        self.injected_ms = time.time_ns() / 1e6
        await self.fault.inject(self.scene, self.choose)
        try:
            await asyncio.sleep(self.when.lasts_s)
        finally:
            await self.fault.heal(self.scene)
            self.healed_ms = time.time_ns() / 1e6


def _enter(report: DrillReport, drill: Drill, plan: Plan, found: SurgeReport, course: _Course) -> None:
    nothing = type(course.fault).__name__ == "NoFault"
    around(report, found, None if nothing else course.injected_ms, None if nothing else course.healed_ms)
    report.balanced = found.books.balanced
    report.missing, report.announced_again = found.missing, found.repeated
    report.oversold = found.books.oversold
    report.books = found.books.faults()
    report.surge = found.as_dict()
    report.breakers_opened = opened(course.scene.workers.statuses())
    report.said = course.scene.said
    report.failures = [*course.scene.complaints, *vacuous(drill, report, course.when.lasts_s)]
    report.failures += failures(drill, plan, found, course.scene.workers.endings)
    report.worker_restarts = sum(not ending.was_asked for ending in course.scene.workers.endings)
