"""Many runs: over the processor's cores, seed after seed, and what became of them."""

import contextlib
import gc
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any

from loadtest.simulation.bugs import BUGS
from loadtest.simulation.plan import SCENARIOS
from loadtest.simulation.run import Result, simulate
from streams.errors import UnknownThing

SLICE = 50
"""Schedules that a process is given at a time."""

FAILURES_KEPT = 10


@dataclass(slots=True)
class Failure:
    """One run that broke an invariant."""

    seed: int
    invariant: str
    detail: str
    lines: list[str]


@dataclass(slots=True)
class Summary:
    """What became of all runs. `cpu_s` is the processor time of the runs alone."""

    scenario: str
    bug: str | None
    first_seed: int
    schedules: int = 0
    submissions: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    """The first few, by seed."""

    @property
    def schedules_per_core_minute(self) -> float:
        """By processor time, so that neighbours on the machine do not matter much."""
        return 60 * self.schedules / self.cpu_s if self.cpu_s else 0.0

    def replay(self, seed: int) -> str:
        """The command that runs one schedule again."""
        scenario = "" if self.scenario == "default" else f" --scenario {self.scenario}"
        bug = "" if self.bug is None else f" --bug {self.bug}"
        return f"floodway simulate --seed {seed} --schedules 1{scenario}{bug} --trace"

    def add(self, result: Result) -> None:
        """Count a run in."""
        self.schedules += 1
        self.submissions += result.submissions
        self.steps += result.steps
        self.virtual_s += result.virtual_s
        self.faults += result.faults
        if result.violation is not None:
            self.violations[result.violation] += 1
            if len(self.failures) < FAILURES_KEPT:
                self.failures.append(Failure(result.seed, result.violation, result.detail, result.lines))

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        failures = [
            {"seed": f.seed, "invariant": f.invariant, "detail": f.detail, "replay": self.replay(f.seed)}
            for f in self.failures
        ]
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        counts = {"faults": dict(self.faults), "violations": dict(self.violations), "failures": failures}
        return plain | counts | {"schedules_per_core_minute": round(self.schedules_per_core_minute)}


def search(
    seed: int,
    schedules: int,
    *,
    scenario: str | None = None,
    bug: str | None = None,
    processes: int | None = None,
    until_found: bool = False,
    progress: Callable[[int], object] = lambda done: None,
) -> Summary:
    """Run the schedules of `schedules` seeds from `seed` on; with `until_found` no further than the first violation.

    Raises `UnknownThing` for a scenario or a bug of another name. One process runs right here.
    """
    where = scenario or (BUGS[bug].scenario if bug in BUGS else "default")
    for name, known, what in ((where, SCENARIOS, "scenario"), (bug, BUGS, "planted bug")):
        if name is not None and name not in known:
            raise UnknownThing(f"There is no {what} {name!r}; take one of {', '.join(known)}.")
    summary = Summary(where, bug, seed)
    at_once = SLICE if not until_found else SLICE // 10
    slices = [
        (range(first, min(first + at_once, seed + schedules)), where, bug)
        for first in range(seed, seed + schedules, at_once)
    ]
    wanted = processes or len(os.sched_getaffinity(0))
    with _runner(min(wanted, len(slices))) as run:
        for results, cpu_s in run(slices):
            summary.cpu_s += cpu_s
            for result in results:
                summary.add(result)
            progress(summary.schedules)
            if until_found and summary.failures:
                break
    return summary


_Slice = tuple[range, str, str | None]
_Ran = tuple[list[Result], float]


@contextlib.contextmanager
def _runner(processes: int) -> Iterator[Callable[[Iterable[_Slice]], Iterator[_Ran]]]:
    """Runs slices in their order: here, or by as many processes, no more than a few slices ahead of who listens."""
    if processes <= 1:
        yield lambda slices: map(_run_slice, slices)
        return
    # Spawned, not forked: the parent may have threads, and each child is to be as a new process is.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:

        def run(slices: Iterable[_Slice]) -> Iterator[_Ran]:
            rest = iter(slices)
            waiting = [pool.submit(_run_slice, one) for one in islice(rest, 2 * processes)]
            while waiting:
                ran = waiting.pop(0).result()
                waiting += [pool.submit(_run_slice, one) for one in islice(rest, 1)]
                yield ran

        try:
            yield run
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _seldom_collecting() -> Iterator[None]:
    """What there is is looked at no more, and what comes seldom: collecting is a third of a run's time otherwise."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _run_slice(one: _Slice) -> _Ran:
    seeds, scenario, bug = one
    began_s = time.process_time()
    with _seldom_collecting(), BUGS[bug].plant() if bug is not None else contextlib.nullcontext():
        results = [simulate(seed, scenario) for seed in seeds]
    return results, time.process_time() - began_s
