"""What a drill came to: figures around the fault, and whether what must hold did."""

import signal
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from infra.workers import Ending
from loadtest.drills.drill import Drill
from loadtest.generator import SLOT_MS
from loadtest.outcome import SurgeReport
from loadtest.plan import Kind, Plan
from streams.core.stock import promo_pool

ASKED_FOR = (0, -signal.SIGKILL)
"""How workers end that were told to, or killed."""
NORMAL_S = 0.5
"""A lag of what comes in half a second is normal, even if it was less before the fault."""


@dataclass(slots=True)
class DrillReport:
    """One drill. Times in seconds; None where there is nothing to tell, or it never came.

    `first_decision_s` and `recovered_s` count from healing: to the first decision, and until no more orders wait than
    before the fault. `announced_again` counts answers beyond what was sent, which must have the same content: answers
    with another content are in the books as `repeated`.
    """

    drill: str
    seed: int
    broker: str
    passed: bool = False
    balanced: bool = False
    missing: int = 0
    announced_again: int = 0
    oversold: int = 0
    injected_at_s: float | None = None
    lasted_s: float | None = None
    first_decision_s: float | None = None
    recovered_s: float | None = None
    longest_gap_s: float = 0.0
    worst_latency_s: float = 0.0
    worker_restarts: int = 0
    breakers_opened: dict[str, int] = field(default_factory=dict)
    """How often, by breaker, in all workers that were there at the end."""
    seconds: float = 0.0
    said: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    books: dict[str, int] = field(default_factory=dict)
    surge: dict[str, Any] = field(default_factory=dict)
    on_stack_after: list[str] = field(default_factory=list)
    """Drills that the same servers had gone through before."""
    again: str = ""
    """The command that repeats it."""
    kept: str | None = None
    """Where data and logs of a failed drill are."""

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def longest_gap_s(answered: Mapping[int, int]) -> float:
    """The longest time without an answer between the first and the last, to a slot."""
    slots = sorted(slot for slot, count in answered.items() if count)
    gaps = [later - sooner - 1 for sooner, later in pairwise(slots)]
    return max(gaps, default=0) * SLOT_MS / 1_000


def first_answer_s(answered: Mapping[int, int], since_ms: float) -> float | None:
    """From `since_ms` to the first answer after it, to a slot; None when none came."""
    after = [slot for slot, count in answered.items() if count and slot * SLOT_MS >= since_ms]
    return round((min(after) * SLOT_MS - since_ms) / 1_000, 1) if after else None


def recovered_s(
    sent: Mapping[int, int], answered: Mapping[int, int], fault_ms: float, healed_ms: float, normal: int
) -> float | None:
    """From healing until no more orders wait than before the fault, or than `normal`; None when that never came."""
    lag, before = 0, 0
    for slot in range(min((*sent, *answered), default=0), max((*sent, *answered), default=-1) + 1):
        lag += sent.get(slot, 0) - answered.get(slot, 0)
        if slot * SLOT_MS < fault_ms:
            before = max(before, lag)
        elif slot * SLOT_MS >= healed_ms and lag <= max(before, normal):
            return round(max(0.0, slot * SLOT_MS - healed_ms) / 1_000, 1)
    caught_up_before = max(answered, default=0) * SLOT_MS < healed_ms and lag <= max(before, normal)
    return 0.0 if caught_up_before else None


def around(report: DrillReport, surge: SurgeReport, fault_ms: float | None, healed_ms: float | None) -> None:
    """Enter the figures around the fault, told in milliseconds since 1970; without one, those of the surge alone."""
    sent, answered = surge.generator.sent_by_slot, surge.answered_by_slot
    report.longest_gap_s = longest_gap_s(answered)
    report.worst_latency_s = round(surge.latency_ms["max"] / 1_000, 1)
    if fault_ms is None or healed_ms is None:
        return
    report.injected_at_s = round((fault_ms - surge.generator.started_at_ms) / 1_000, 1)
    report.lasted_s = round((healed_ms - fault_ms) / 1_000, 1)
    report.first_decision_s = first_answer_s(answered, healed_ms)
    normal = round(surge.sent_per_s * NORMAL_S)
    report.recovered_s = recovered_s(sent, answered, fault_ms, healed_ms, normal)


def vacuous(drill: Drill, report: DrillReport, lasts_s: float) -> list[str]:
    """A fault that should have stopped everything for `lasts_s`, or opened a breaker, and did not."""
    found = []
    if drill.stops_all and report.longest_gap_s < lasts_s / 2:
        words = f"decisions never paused for more than {report.longest_gap_s:.1f} s"
        found.append(f"The fault was there for {lasts_s:.1f} s, and {words}: nothing was put to the test.")
    if drill.opens is not None and not report.breakers_opened.get(drill.opens):
        found.append(f"The breaker of {drill.opens} opened in no worker.")
    return found


def opened(statuses: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How often each breaker has opened, by what workers say of themselves; those that never did are left out."""
    found: Counter[str] = Counter()
    for status in statuses:
        found.update({name: breaker["opened"] for name, breaker in status["breakers"].items()})
    return dict(+found)


def failures(drill: Drill, plan: Plan, surge: SurgeReport, endings: Sequence[Ending] = ()) -> list[str]:
    """Everything that must hold and does not, one sentence each. `endings` are those of workers."""
    books = surge.books
    found = [f"The books do not balance: {what} {count:,}." for what, count in books.faults().items() if count]
    found += [f"Such as {what}: {', '.join(examples)}." for what, examples in books.examples.items()]
    if books.waiting:
        found.append(f"{books.waiting:,} submissions are not committed by intake.")
    if books.under_review:
        found.append(f"{books.under_review:,} submissions are still under review.")
    if surge.missing:
        found.append(f"{surge.missing:,} answers are missing.")
    if surge.submitted != plan.total:
        found.append(f"{surge.submitted:,} records were sent, not {plan.total:,}.")
    if surge.repeated and not drill.may_announce_again:
        found.append(f"{surge.repeated:,} answers came again, and nothing happened that explains it.")
    if books.dead_lettered < plan.kinds[Kind.MALFORMED]:
        found.append(f"{books.dead_lettered:,} dead letters of {plan.kinds[Kind.MALFORMED]:,} malformed records.")
    died = [ending for ending in endings if ending.code not in ASKED_FOR]
    if died and not drill.may_die:
        who = ", ".join(f"{ending.role} {ending.number} with {ending.code}" for ending in died)
        found.append(f"Workers ended that nobody had killed: {who}.")
    if drill.holds_end and (held := sum(pool["held"] for pool in books.pools.values())):
        found.append(f"{held:,} units are still held after their time.")
    for promotion_id, units in plan.promised.items():
        pool = books.pools.get(promo_pool(promotion_id), {})
        if pool.get("held", 0) + pool.get("sold", 0) != units or pool.get("free", 0):
            found.append(f"Promotion {promotion_id} has {units:,} units and more buyers, and its pool has {pool}.")
    return found
