"""What a scripted week came to: figures beside their targets, differences between twins, and whether it passed."""

from dataclasses import asdict, dataclass, field
from typing import Any

from streams.audit import AuditReport

MOST_DELAY_MIN = 1.4
"""Mean delay of a state, from when all that it takes had been sent to when it is told."""
MOST_MANUAL_SHARE = 0.003
"""Share of orders that a person has to see to."""
REPORTS_PER_S = 10_000
CORES = 2
EXAMPLES = 10


@dataclass(slots=True)
class SeriesReport:
    """How one series was reported: messages, time, and CPU by role for each message."""

    messages: int = 0
    seconds: float = 0.0
    reports_per_s: float = 0.0
    cpu_us_per_report: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class WeekReport:
    """The week. `different` counts what twins differ in, by kind; it must be empty, as must `unexpected`."""

    orders: int = 0
    seed: int = 0
    asked_per_s: float = 0.0
    in_order: SeriesReport = field(default_factory=SeriesReport)
    as_it_came: SeriesReport = field(default_factory=SeriesReport)
    statuses: dict[str, int] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    told_again: int = 0
    different: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    state_delay_s: dict[str, float] = field(default_factory=dict)
    unknown_codes: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    tickets: int = 0
    manual_orders: int = 0
    unexpected: list[str] = field(default_factory=list)
    books: AuditReport = field(default_factory=AuditReport)
    seconds: float = 0.0

    @property
    def state_delay_min(self) -> float:
        """The mean, in minutes."""
        return self.state_delay_s.get("mean", 0.0) / 60

    @property
    def manual_share(self) -> float:
        """Share of orders of which something waits for a person."""
        return self.manual_orders / max(1, self.orders)

    @property
    def pipeline_us(self) -> float:
        """CPU that a report costs the lifecycle worker and Postgres' primary, where it was measured."""
        costs = self.in_order.cpu_us_per_report
        return costs.get("lifecycle_workers", 0.0) + costs.get("postgres_primary", 0.0)

    @property
    def reports_per_s_on_two_cores(self) -> float:
        """What two cores would do that do nothing else, by CPU time; 0 where that was not measured."""
        return CORES * 1e6 / self.pipeline_us if self.pipeline_us else 0.0

    @property
    def passed(self) -> bool:
        """Whether twins are the same, targets were met and the books balance."""
        return not self.failures()

    def note(self, kind: str, what: str) -> None:
        """Count a difference, and keep the first few."""
        self.different[kind] = self.different.get(kind, 0) + 1
        some = self.examples.setdefault(kind, [])
        if len(some) < EXAMPLES:
            some.append(what)

    def failures(self) -> list[str]:
        """Why it did not pass, one sentence each. The rate is told and not judged: machines differ."""
        found = [f"Not as scripted: {line}." for line in self.unexpected]
        found += [f"{count:,} orders differ from their twin in {kind}." for kind, count in self.different.items()]
        if not self.state_delay_s:
            found.append("No delay was measured.")
        if self.state_delay_min >= MOST_DELAY_MIN:
            found.append(f"The mean state delay was {self.state_delay_min:.2f} min, the target {MOST_DELAY_MIN}.")
        if self.manual_share >= MOST_MANUAL_SHARE:
            found.append(f"{self.manual_share:.2%} of orders need a person, the target is {MOST_MANUAL_SHARE:.1%}.")
        if not self.books.balanced:
            found.append("The books do not balance.")
        return found

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        verdict = {"passed": self.passed, "balanced": self.books.balanced, "failures": self.failures()}
        figures = {
            "state_delay_min": round(self.state_delay_min, 4),
            "manual_share": round(self.manual_share, 6),
            "reports_per_s_on_two_cores": round(self.reports_per_s_on_two_cores),
        }
        return {**verdict, **figures, **asdict(self), "books": self.books.as_dict()}
