"""The soak itself, on servers and workers that run: orders, a fault every so often, memory, books."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from agents.roles import group
from infra.embedded import Broker
from infra.workers import Ending
from loadtest import planfile, surge
from loadtest.drills.drill import Fault, Scene
from loadtest.drills.report import ASKED_FOR, first_answer_s
from loadtest.drills.table import DRILLS
from loadtest.generator import SLOT_MS
from loadtest.outcome import SurgeReport
from loadtest.processes import Roots
from loadtest.soak.memory import Course, Watch, course
from loadtest.soak.mix import soak_plan
from loadtest.surge import Now, Show
from streams.audit import audit

FAULTS = (
    *("worker-kill", "worker-stall", "worker-drain", "lifecycle-kill", "redis-kill", "redis-empty", "redis-rollback"),
    *("redis-frozen", "redis-slow", "postgres-primary-kill", "postgres-frozen", "postgres-slow", "replica-lag"),
    *("replica-down", "broker-restart", "network-cut-kafka", "network-delay-kafka", "network-hole-kafka"),
    *("network-half-kafka", "network-cut-redis", "network-hole-redis", "network-half-redis", "network-cut-postgres"),
    *("network-hole-postgres", "network-half-postgres"),
)
"""Drills whose fault needs nothing prepared and leaves nothing behind, so that the next may follow."""
assert all(name in DRILLS for name in FAULTS)
assert not any(DRILLS[name].nodes > 1 for name in FAULTS)

HOLD_TTL_S, RETENTION_S = 30.0, 60.0
"""Short, so that what Redis holds and remembers reaches its level within minutes."""
MOST_MB_PER_MIN: Mapping[str, float | None] = {
    "intake_workers": 1.5,
    "lifecycle_workers": 1.5,
    "redis": 3.0,
    "postgres_primary": 3.0,
    "postgres_replica": 3.0,
    "broker": None,
}
"""At 3,200 orders a second 1.5 MB a minute are 8 bytes an order: less than the smallest thing Python can forget to
give back. The broker is not judged: tansu keeps all in memory, and Kafka's heap is filled until it is full."""
WARM_SHARE, WARM_MOST_S = 1 / 3, 300.0
NORMAL_S = 1.5
"""A fault is over when no more orders wait than come in so much time."""
STALLED_S = 120.0
SETTINGS: dict[str, Any] = {
    "hold_ttl_s": HOLD_TTL_S,
    "dedupe_retention_s": RETENTION_S,
    "expiry_batch": 4_000,
    "session_timeout_s": 6.0,
    "commit_interval_s": 0.5,
    "redis_timeout_s": 2.0,
    "postgres_timeout_s": 4.0,
    "retry_max_delay_s": 2.0,
    "log_level": "WARNING",
}
"""Times like those of drills, and room to end all holds that fall due."""


@dataclass(slots=True)
class Struck:
    """One fault. Times in seconds, of the soak or from healing; None where it never came."""

    name: str
    at_s: float
    lasted_s: float = 0.0
    first_decision_s: float | None = None
    recovered_s: float | None = None
    injected_ms: float = 0.0
    healed_ms: float = 0.0


@dataclass(slots=True)
class SoakReport:
    """What a soak came to."""

    minutes: float
    rate_per_s: float
    fault_every_s: float
    seed: int
    broker: str
    faults: list[Struck] = field(default_factory=list)
    memory: list[Course] = field(default_factory=list)
    surge: SurgeReport | None = None
    worker_endings: dict[str, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    kept: str | None = None

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        told = (
            "minutes",
            "rate_per_s",
            "fault_every_s",
            "seed",
            "broker",
            "worker_endings",
            "said",
            "failures",
            "kept",
        )
        faults = [
            {
                "fault": struck.name,
                "at_s": struck.at_s,
                "lasted_s": struck.lasted_s,
                "first_decision_s": struck.first_decision_s,
                "recovered_s": struck.recovered_s,
            }
            for struck in self.faults
        ]
        return {
            "passed": self.passed,
            **{name: getattr(self, name) for name in told},
            "seconds": self.seconds,
            "faults": faults,
            "memory": {one.role: one.as_dict() for one in self.memory},
            "surge": None if self.surge is None else self.surge.as_dict(),
        }


def eligible(broker: Broker) -> list[str]:
    """Faults that this broker stands: tansu has everything in memory, and must not be killed."""
    return [name for name in FAULTS if broker in DRILLS[name].brokers]


async def perform(scene: Scene, roles: Mapping[str, Roots], report: SoakReport, show: Show) -> None:
    """Send orders for as long as the report says, with its faults, and enter what came of it.

    Workers run and have partitions when this is called. Raises what the surge or a fault failed with.
    """
    wanted = round(report.minutes * 60 * report.rate_per_s)
    show("planning", 0, wanted)
    partitions = scene.parts.settings.topic_partitions
    plan = await asyncio.to_thread(soak_plan, wanted, partitions, seed=report.seed, run=f"-{report.seed}")
    watch, course_of_faults = Watch(roles), _Faults(scene, report)

    def tell(now: Now) -> None:
        show("submitted", now.sent, now.total)
        show("decided", now.decided, now.answers)
        if now.sent:
            course_of_faults.began.set()

    with planfile.written(plan) as files:
        show("planning", wanted, wanted)
        await surge.provide(scene.parts, plan, lasts_s=report.minutes * 60, show=show)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch.run())
            striking = tasks.create_task(course_of_faults.run())
            found, _ = await surge.surge(
                scene.parts, plan, files, rate_per_s=report.rate_per_s, tell=tell, stalled_s=STALLED_S
            )
            await striking
            watching.cancel()
    report.memory = _memory(watch, report)
    found.books = await audit(
        scene.parts, group("intake"), wait_s=120.0, settle_s=60.0, progress=lambda words: show(f"audit: {words}", 0, 0)
    )
    _enter(report, found, scene.workers.endings)


class _Faults:
    """Faults at their times, one after another. The same seed draws the same."""

    def __init__(self, scene: Scene, report: SoakReport) -> None:
        self.began = asyncio.Event()
        self._scene, self._report = scene, report
        self._choose = Random(report.seed)  # noqa: S311 - repeatable, not secret

    async def run(self) -> None:
        """Strike until less than one interval is left, so that the last can be recovered from under load."""
        await self.began.wait()
        began, every_s = time.monotonic(), self._report.fault_every_s
        ends_s, names = self._report.minutes * 60, eligible(Broker(self._report.broker))
        due_s = every_s / 2
        while due_s < ends_s - every_s / 4:
            await asyncio.sleep(max(0.0, due_s - (time.monotonic() - began)))
            await self._strike(self._choose.choice(names), time.monotonic() - began)
            due_s = max(due_s + every_s, time.monotonic() - began)

    async def _strike(self, name: str, at_s: float) -> None:
        drill = DRILLS[name]
        fault: Fault = drill.fault()
        struck = Struck(name, round(at_s, 1))
        self._report.faults.append(struck)
        lasts_s = self._choose.uniform(*drill.lasts_s)
        struck.injected_ms = time.time_ns() / 1e6
        await fault.inject(self._scene, self._choose)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            await fault.heal(self._scene)
            struck.healed_ms = time.time_ns() / 1e6
            struck.lasted_s = round((struck.healed_ms - struck.injected_ms) / 1_000, 1)


def _memory(watch: Watch, report: SoakReport) -> list[Course]:
    warm_s = min(WARM_MOST_S, report.minutes * 60 * WARM_SHARE)
    return [
        course(role, samples, MOST_MB_PER_MIN.get(role), warm_s=warm_s)
        for role, samples in watch.samples.items()
        if samples
    ]


def recovered_s(sent: Mapping[int, int], answered: Mapping[int, int], healed_ms: float, normal: float) -> float | None:
    """From healing until no more than `normal` orders wait; None when that never came."""
    lag = 0
    for slot in range(min((*sent, *answered), default=0), max((*sent, *answered), default=-1) + 1):
        lag += sent.get(slot, 0) - answered.get(slot, 0)
        if slot * SLOT_MS >= healed_ms and lag <= normal:
            return round(max(0.0, slot * SLOT_MS - healed_ms) / 1_000, 1)
    return None


def _enter(report: SoakReport, found: SurgeReport, endings: list[Ending]) -> None:
    report.surge = found
    sent, answered = found.generator.sent_by_slot, found.answered_by_slot
    for struck in report.faults:
        struck.first_decision_s = first_answer_s(answered, struck.healed_ms)
        struck.recovered_s = recovered_s(sent, answered, struck.healed_ms, report.rate_per_s * NORMAL_S)
    for ending in endings:
        what = f"{ending.role} ended with {ending.code}"
        report.worker_endings[what] = report.worker_endings.get(what, 0) + 1
    report.failures += failures(report, found, endings)


def failures(report: SoakReport, found: SurgeReport, endings: list[Ending]) -> list[str]:
    """Everything that must hold and does not, one sentence each.

    An answer may come more often than it was asked for, with the same content: whoever dies, or is taken for dead,
    between announcing and committing has it announced again.
    """
    books = found.books
    wrong = [f"The books do not balance: {what} {count:,}." for what, count in books.faults().items() if count]
    wrong += [f"Such as {what}: {', '.join(some)}." for what, some in books.examples.items()]
    if found.missing or books.waiting:
        wrong.append(f"{found.missing:,} answers are missing, {books.waiting:,} submissions are not committed.")
    for one in report.memory:
        if one.is_flat is False:
            bound = f"{one.most_mb_per_min} is the most"
            wrong.append(f"{one.role} grew by {one.slope_mb_per_min} MB a minute after the warm-up; {bound}.")
    died = [ending for ending in endings if ending.code not in ASKED_FOR]
    if died:
        wrong.append(f"{len(died)} workers ended that nobody had killed: {died[0]}.")
    never = [struck.name for struck in report.faults if struck.recovered_s is None]
    if never:
        wrong.append(f"From {', '.join(never)} it did not recover.")
    return wrong
