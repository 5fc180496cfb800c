"""Whether a run passed: rate achieved against target, every order decided in time, books balanced. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from loadtest.outcome import REACHED
from loadtest.schedule import Schedule
from loadtest.swarm.course import Course, window_s
from loadtest.swarm.scenarios import Scenario
from loadtest.swarm.words import Ended, quantile_ms

GRACE_S = 1.0
"""So long after the last order was due the last decision may come in any case: a short run is mostly its end."""
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


class Verdict(msgspec.Struct):
    """What a run came to. Rates in orders a second, latencies in milliseconds from the intended time.

    `decision_calm_ms` leaves out orders meant for the first second after the rate leapt up. Peaks are means over
    `peak_s` seconds; targets are None without a rate.
    """

    scenario: str
    orders: int
    sent: int
    decided: int
    outcomes: dict[str, int]
    seconds: float
    per_s: float
    target_per_s: float | None
    peak_s: int
    peak_per_s: float
    sent_peak_per_s: float
    target_peak_per_s: float | None
    produce_ms: dict[str, float]
    decision_ms: dict[str, float]
    decision_calm_ms: dict[str, float]
    timed_out: int
    unproduced: int
    late_ms_max: float
    cpu_us_per_order: float
    books: dict[str, Any]
    failures: list[str]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures


def verdict(
    scenario: Scenario,
    course: Course,
    ends: Sequence[Ended],
    books: Mapping[str, Any] | None,
    *,
    troubles: Sequence[str] = (),
    max_p99_ms: float = 0.0,
) -> Verdict:
    """Judge a run. `troubles` are failures known already; `max_p99_ms` is the limit for calm decisions, 0 for none."""
    schedule = scenario.schedule
    began_ms = min((end.started_at_ms for end in ends), default=0)
    ended_ms = max((end.last_at_ms for end in ends), default=0)
    # Of storefronts that were lost, the beats are all there is; one that saw no decision has no last one.
    seconds = (ended_ms - began_ms) / 1000 if ended_ms > began_ms else float(max(1, len(course.moments())))
    peak_s = window_s(schedule.seconds if schedule else seconds)
    found = Verdict(
        scenario=scenario.name,
        orders=scenario.orders,
        sent=course.sent,
        decided=course.answered,
        outcomes=dict(course.outcomes.most_common()),
        seconds=round(seconds, 2),
        per_s=round(course.answered / seconds, 1),
        target_per_s=round(scenario.orders / schedule.seconds, 1) if schedule else None,
        peak_s=peak_s,
        peak_per_s=round(course.peak_per_s(peak_s), 1),
        sent_peak_per_s=round(course.sent_peak_per_s(peak_s), 1),
        target_peak_per_s=round(_target_peak(schedule, peak_s), 1) if schedule else None,
        produce_ms=_quantiles(course.produced),
        decision_ms=_quantiles(course.decided),
        decision_calm_ms=_quantiles(course.calm),
        timed_out=course.timed_out,
        unproduced=course.unproduced,
        late_ms_max=max((end.late_ms_max for end in ends), default=0.0),
        cpu_us_per_order=round(sum(e.cpu_us_per_order * e.sent for e in ends) / max(1, sum(e.sent for e in ends)), 2),
        books=dict(books or {}),
        failures=list(troubles),
    )
    found.failures += _failures(found, ends, max_p99_ms, judged=books is not None)
    return found


def _failures(found: Verdict, ends: Sequence[Ended], max_p99_ms: float, *, judged: bool) -> list[str]:
    wrong = []
    if any(end.stopped for end in ends):
        wrong.append("The run was stopped before its end.")
    else:
        wrong += _too_slow(found)
        if ends and found.sent < found.orders:
            wrong.append(f"Only {found.sent:,} of {found.orders:,} orders were sent.")
    if found.unproduced:
        wrong.append(f"{found.unproduced:,} orders were not confirmed by Kafka.")
    if found.timed_out:
        wrong.append(f"{found.timed_out:,} orders had no decision in time.")
    missing, repeated = sum(end.missing for end in ends), sum(end.repeated for end in ends)
    if missing:
        wrong.append(f"{missing:,} decisions never came.")
    if repeated:
        wrong.append(f"{repeated:,} decisions were announced beyond what was sent.")
    wrong += [f"Not as planned: {line}." for end in ends for line in end.unexpected]
    if max_p99_ms and found.decision_calm_ms["p99"] > max_p99_ms:
        wrong.append(f"The slowest hundredth took {found.decision_calm_ms['p99']:,.0f} ms, not {max_p99_ms:,.0f}.")
    if judged and not found.books["balanced"]:
        wrong.append("The books do not balance.")
    if not judged:
        wrong.append("The books were not audited.")
    return wrong


def _too_slow(found: Verdict) -> list[str]:
    if found.target_per_s is None or found.target_peak_per_s is None:
        return []
    missed = []
    due_s = found.orders / found.target_per_s
    if found.seconds > max(due_s / REACHED, due_s + GRACE_S) or found.decided < REACHED * found.orders:
        missed.append(_share(found.per_s, found.target_per_s, "in all"))
    if found.peak_per_s < REACHED * found.target_peak_per_s:
        missed.append(_share(found.peak_per_s, found.target_peak_per_s, "at the peak"))
    if not missed:
        return []
    if found.sent_peak_per_s < REACHED * found.target_peak_per_s:
        who = f"the storefronts themselves were up to {found.late_ms_max:,.0f} ms late"
    else:
        who = "the storefronts kept their schedule, the pipeline did not keep up"
    return [f"The rate was not reached: {' and '.join(missed)}; {who}."]


def _share(got: float, wanted: float, which: str) -> str:
    return f"{got:,.0f} of {wanted:,.0f} orders/s {which} ({got / wanted:.0%})"


def _target_peak(schedule: Schedule, window: int) -> float:
    return max(schedule.within(at, at + window) for at in range(max(1, int(schedule.seconds) - window + 1))) / window


def _quantiles(counts: dict[int, int]) -> dict[str, float]:
    return {name: quantile_ms(counts, q) for name, q in QUANTILES.items()}
