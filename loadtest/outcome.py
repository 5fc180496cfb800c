"""What a surge came to: figures, deviations from the plan, and whether it passed."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from loadtest.generator import GeneratorReport
from loadtest.plan import Kind, Plan
from loadtest.processes import Cost
from loadtest.tally import TallyReport, second_of
from streams.audit import AuditReport

REACHED = 0.95
"""An asked rate is reached when so much of it was achieved."""
SHORT_S = 20.0
"""In a schedule shorter than this, less than a second of latency at its end is enough to miss the rate."""
assert SHORT_S * (1 - REACHED) < 1.001
MEASURING = ("generator", "observer", "command")
"""Roles that measure; the others are what is measured."""


class Moment(msgspec.Struct):
    """One second of the surge, the first is 0: records sent and decided in it, waiting at its end, and latency."""

    at_s: int
    sent: int = 0
    decided: int = 0
    lag: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass(slots=True)
class SurgeReport:
    """What went in, what came out, and whether the books balance. Rates are from the first intended time to the last
    decision that was seen.
    """

    submitted: int
    accepted: int
    rejected: dict[str, int]
    replayed: int
    conflicts: int
    dead_lettered: int
    orders_per_s: float
    latency_ms: dict[str, float]
    generator: GeneratorReport
    lines: int = 0
    asked_per_s: float | None = None
    sent_per_s: float = 0.0
    accepted_per_s: float = 0.0
    rejected_per_s: float = 0.0
    replayed_per_s: float = 0.0
    seconds: float = 0.0
    missing: int = 0
    repeated: int = 0
    lag_peak: int = 0
    cpu_us_per_order: dict[str, float] = field(default_factory=dict)
    peak_rss_mb: dict[str, float] = field(default_factory=dict)
    bytes_per_order: dict[str, float] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    answered_by_slot: dict[int, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    books: AuditReport = field(default_factory=AuditReport)

    @property
    def reached(self) -> bool:
        """Whether the asked rate was achieved, near enough; true when none was asked."""
        return self.asked_per_s is None or self.orders_per_s >= REACHED * self.asked_per_s

    @property
    def came_as_planned(self) -> bool:
        """Whether all came out as planned and the books balance, at whatever rate."""
        return self.books.balanced and not self.unexpected and not self.missing and not self.repeated

    @property
    def passed(self) -> bool:
        """Whether all came out as planned, the books balance and the asked rate was reached."""
        return self.came_as_planned and self.reached

    def failures(self) -> list[str]:
        """Why it did not pass, one sentence each."""
        found = [f"Not as planned: {line}." for line in self.unexpected]
        if self.missing:
            found.append(f"{self.missing:,} answers are missing.")
        if self.repeated:
            found.append(f"{self.repeated:,} decisions were announced beyond what was sent.")
        if not self.books.balanced:
            found.append("The books do not balance.")
        if self.asked_per_s is not None and not self.reached:
            found.append(
                f"The asked rate was not reached: {self.orders_per_s:,.0f} of {self.asked_per_s:,.0f} orders/s "
                f"({self.orders_per_s / self.asked_per_s:.0%}). {self._who_was_slow(self.asked_per_s)}"
            )
        return found

    def _who_was_slow(self, asked_per_s: float) -> str:
        if self.sent_per_s < REACHED * asked_per_s:
            return (
                f"The generator itself sent {self.sent_per_s:,.0f}/s, up to {self.generator.late_ms_max:,.0f} ms "
                "behind its schedule: this machine cannot make that load."
            )
        scheduled_s = self.submitted / asked_per_s
        words = (
            "The generator kept its schedule, the pipeline did not keep up: its last decision came "
            f"{self.seconds - scheduled_s:.1f} s after the last order was due."
        )
        if scheduled_s < SHORT_S:
            words += " In a run this short the latency of the last orders counts much; give more --seconds."
        return words

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        apart = {"books", "generator", "moments", "answered_by_slot"}
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in apart}
        generator = {"sent": self.generator.sent, "late_ms_max": self.generator.late_ms_max}
        generator |= {"started_at_ms": self.generator.started_at_ms, "ended_at_ms": self.generator.ended_at_ms}
        moments = [msgspec.to_builtins(moment) for moment in self.moments]
        verdict = {"passed": self.passed, "balanced": self.books.balanced, "failures": self.failures()}
        return {**verdict, **plain, "per_second": moments, "generator": generator, "books": self.books.as_dict()}


def outcome(
    plan: Plan,
    tally: TallyReport,
    generated: GeneratorReport,
    dead_lettered: int,
    *,
    asked_per_s: float | None = None,
    costs: dict[str, Cost] | None = None,
) -> SurgeReport:
    """Put together what was planned, sent, seen and spent. The books come later."""
    seconds = max(0.001, (tally.last_at_ms - generated.started_at_ms) / 1000)
    sending_s = max(0.001, (generated.ended_at_ms - generated.started_at_ms) / 1000)
    rejected = sum(tally.rejected.values()) + tally.conflicts
    orders = max(1, plan.answers)
    costs = costs or {}
    return SurgeReport(
        submitted=generated.sent,
        accepted=tally.accepted,
        rejected=tally.rejected,
        replayed=tally.replayed,
        conflicts=tally.conflicts,
        dead_lettered=dead_lettered,
        orders_per_s=round(tally.decided / seconds, 1),
        latency_ms=tally.latency_ms,
        generator=generated,
        lines=plan.lines,
        asked_per_s=asked_per_s,
        sent_per_s=round(generated.sent / sending_s, 1),
        accepted_per_s=round(tally.accepted / seconds, 1),
        rejected_per_s=round(rejected / seconds, 1),
        replayed_per_s=round(tally.replayed / seconds, 1),
        seconds=round(seconds, 3),
        missing=tally.missing,
        repeated=tally.repeated,
        lag_peak=_lag_peak(generated.sent_by_slot, tally.decided_by_slot),
        cpu_us_per_order=_per_order({role: cost.cpu_us for role, cost in costs.items()}, orders),
        peak_rss_mb={role: cost.peak_rss_mb for role, cost in costs.items()},
        moments=_moments(generated, tally),
        answered_by_slot=tally.answered_by_slot,
        unexpected=_deviations(plan, tally, dead_lettered),
    )


def _per_order(cpu_us: dict[str, int], orders: int) -> dict[str, float]:
    if not cpu_us:
        return {}
    shares = {role: round(us / orders, 2) for role, us in cpu_us.items()}
    pipeline = sum(us for role, us in cpu_us.items() if role not in MEASURING)
    return {**shares, "pipeline": round(pipeline / orders, 2), "total": round(sum(cpu_us.values()) / orders, 2)}


def _deviations(plan: Plan, tally: TallyReport, dead_lettered: int) -> list[str]:
    """Everything that came out otherwise than planned, but for `missing` and `repeated`, which are told apart."""
    expected: dict[str, tuple[int, int]] = {
        "replayed": (tally.replayed, plan.kinds[Kind.REPEAT]),
        "conflicts": (tally.conflicts, plan.kinds[Kind.CONFLICT]),
        "dead letters": (dead_lettered, plan.kinds[Kind.MALFORMED]),
        "submissions without exactly one first decision": (tally.not_decided_once, 0),
    }
    if plan.accepted is not None:
        expected["accepted"] = (tally.accepted, plan.accepted)
    if plan.rejected is not None:
        for reason in sorted(plan.rejected.keys() | tally.rejected.keys()):
            expected[f"rejected as {reason}"] = (tally.rejected.get(reason, 0), plan.rejected.get(reason, 0))
    for promotion_id, orders in plan.promised.items():
        expected[f"orders accepted in {promotion_id}"] = (tally.accepted_by_promotion.get(promotion_id, 0), orders)
    found = [f"{what}: {got:,}, planned {want:,}" for what, (got, want) in expected.items() if got != want]
    return found + [f"{what}, among them {', '.join(ids)}" for what, ids in tally.examples.items()]


def _lag_peak(sent: dict[int, int], decided: dict[int, int]) -> int:
    peak = lag = 0
    for slot in sorted(sent.keys() | decided.keys()):
        lag += sent.get(slot, 0) - decided.get(slot, 0)
        peak = max(peak, lag)
    return peak


def _moments(generated: GeneratorReport, tally: TallyReport) -> list[Moment]:
    """Every second to the last decision, also those in which nothing came."""
    start_ms = generated.started_at_ms
    slots = [*generated.sent_by_slot, *tally.decided_by_slot]
    moments = [Moment(at_s) for at_s in range(max((second_of(slot, start_ms) for slot in slots), default=-1) + 1)]
    for slot, count in generated.sent_by_slot.items():
        moments[second_of(slot, start_ms)].sent += count
    for second in tally.seconds:
        moment = moments[second.at_s]
        moment.decided, moment.p50_ms, moment.p99_ms = second.decided, second.p50_ms, second.p99_ms
    lag = 0
    for moment in moments:
        lag += moment.sent - moment.decided
        moment.lag = lag
    return moments
