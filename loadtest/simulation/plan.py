"""What a run is made of, drawn from its seed: how large, how hostile, and in which ways.

Each kind of fault is on in some runs and off in others. With everything on all the time, outages hide what only
crashes would show, and the other way round.
"""

from dataclasses import dataclass
from random import Random
from typing import Literal

Disruption = Literal[
    "kill", "stop", "move", "usurp", "stock_down", "ledger_down", "log_down", "stock_empty", "stock_of_old", "new_epoch"
]
"""What chaos does between calls; see `chaos.Chaos`."""

DISRUPTIONS: tuple[Disruption, ...] = (
    "kill", "stop", "move", "usurp", "stock_down", "ledger_down", "log_down", "stock_empty", "stock_of_old", "new_epoch"
)  # fmt: skip

FORGETFUL_SPREAD_S = 48.0
"""So long that what came in the first wave of a forgetful run is forgotten by the second, see `workload`."""

_SHORT = frozenset({"kill", "stop", "move", "usurp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Bounds that a plan is drawn within. Probabilities are of a run having the fault at all."""

    summary: str
    disruptions: tuple[Disruption, ...] = DISRUPTIONS
    faults: bool = True
    """Whether calls get lost, answers get lost, calls come late."""
    forgetful: float = 0.25
    """How often the stock forgets decisions within the run (late duplicates)."""
    stock_rollback: bool = False
    """Whether the stock also comes back with older data under the SAME epoch."""
    split_brain: bool = False
    """Whether a stock of an epoch before also answers those who have not heard of the newer epoch yet."""
    amnesia: bool = False
    """Whether the stock forgets sooner than outages end, and reports come on orders that it has forgotten."""
    late_sweep: bool = False
    """Whether promotions close while a hold is given back that was taken for a repeat the stock had forgotten."""
    patience_s: float = 0.0
    """After which submissions that wait for a store are put aside; 0 is never."""


SCENARIOS = {
    "default": Scenario(summary="every fault that Floodway promises to outlast, a random choice of them a run"),
    "calm": Scenario(summary="no faults at all: only the order of things is random", disruptions=(), faults=False),
    "kills": Scenario(
        summary="processes die, stop and lose partitions; stores answer",
        disruptions=("kill", "stop", "move", "usurp"),
        faults=False,
    ),
    "outages": Scenario(
        summary="stores fail in every way; processes live",
        disruptions=("stock_down", "ledger_down", "log_down", "stock_empty", "stock_of_old", "new_epoch"),
    ),
    "impatient": Scenario(
        summary="every fault, and submissions that wait for a store are soon put aside, to be decided later",
        patience_s=5.0,
        forgetful=0.0,
    ),
    "forgetful": Scenario(
        summary="the stock forgets decisions within the run, so that repeats outlive its memory", forgetful=1.0
    ),
    "gap-rollback": Scenario(
        summary="the stock comes back with older data under the same epoch; NOT caught yet, expect violations",
        disruptions=("kill",),
        stock_rollback=True,
    ),
    "gap-split-brain": Scenario(
        summary="an older stock, of an epoch before, answers workers that have not heard of the newer epoch; NOT "
        "caught yet, expect violations",
        disruptions=("stock_of_old", "new_epoch", "stock_down"),
        split_brain=True,
    ),
    "gap-amnesia": Scenario(
        summary="the stock forgets an order while payments, cancellations or the keeper are still busy with it, and "
        "repeats of it arrive; NOT caught yet, expect violations",
        forgetful=1.0,
        amnesia=True,
    ),
    "gap-late-sweep": Scenario(
        summary="a promotion closes while the stock holds its units for a repeat that it had forgotten; given back, "
        "they go to main, and the ledger does not hear of it; NOT caught yet, expect violations",
        forgetful=1.0,
        late_sweep=True,
    ),
}
"""By name. `gap-` is what Floodway does not outlast yet: on in no other scenario, and here to show when it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run. Times are virtual seconds, probabilities are per call."""

    intake_workers: int
    lifecycle_workers: int
    partitions: int
    submissions: int
    keys: int
    spread_s: float
    """Within which the submissions come."""
    chaos_s: float
    """Until when things break; afterwards all is well."""
    disruptions: tuple[Disruption, ...]
    pause_s: float
    """Mean time between two disruptions."""
    lost_call: float
    lost_answer: float
    late_call: float
    """The caller gives up, and the call is done later all the same."""
    latency_s: float
    skew_ms: int
    """How far a process' clock may be off."""
    hold_ttl_s: float
    retention_s: float
    chunk_max: int
    batch_max: int
    rollback: bool
    split_brain: bool
    reports: bool
    """Whether anybody pays or cancels."""
    promotion_ends: bool
    """Whether the promotion closes within the run."""
    patience_s: float
    waves: tuple[tuple[float, float], ...]
    """From when to when submissions come."""


def draw(scenario: Scenario, rng: Random) -> Plan:
    """A plan for one run."""

    def sometimes(chance: float, value: float) -> float:
        return value * rng.random() if rng.random() < chance else 0.0

    disruptions = tuple(d for d in scenario.disruptions if rng.random() < 0.5)
    forgetful = rng.random() < scenario.forgetful
    hold_ttl_s = rng.choice((4.0, 8.0, 15.0))
    retention_s = 10_000.0
    chunk_max = rng.randint(1, 6)
    spread_s = rng.choice((1.0, 6.0, 15.0))
    pause_s = rng.choice((0.3, 1.0, 3.0))
    latency_s = rng.choice((0.005, 0.05, 0.3))
    if forgetful:
        spread_s = FORGETFUL_SPREAD_S
        hold_ttl_s, retention_s = (4.0, 5.0) if scenario.amnesia else (10.0, 14.0)
        if not scenario.amnesia:  # whatever breaks is whole again long before the stock forgets: no outage lasts a day
            pause_s, latency_s = 5.0, min(latency_s, 0.05)
            disruptions = tuple(d for d in disruptions if d in _SHORT)
    return Plan(
        intake_workers=rng.randint(1, 3),
        lifecycle_workers=rng.randint(1, 2),
        partitions=rng.randint(1, 3),
        submissions=rng.randint(4, 30),
        keys=rng.randint(2, 20),
        spread_s=spread_s,
        chaos_s=spread_s + (1.0 if forgetful else rng.choice((2.0, 10.0))),
        disruptions=disruptions,
        pause_s=pause_s,
        lost_call=sometimes(0.5, 0.2) if scenario.faults else 0.0,
        lost_answer=sometimes(0.5, 0.2) if scenario.faults else 0.0,
        late_call=sometimes(0.4, 0.1) if scenario.faults else 0.0,
        latency_s=latency_s,
        skew_ms=rng.choice((0, 0, 50, 400)),
        hold_ttl_s=hold_ttl_s,
        retention_s=retention_s,
        chunk_max=chunk_max,
        batch_max=chunk_max + rng.randint(0, 8),
        rollback=scenario.stock_rollback,
        split_brain=scenario.split_brain,
        reports=scenario.amnesia or not forgetful,
        patience_s=scenario.patience_s,
        waves=((0.0, 8.0), (36.0, spread_s)) if forgetful else ((0.0, spread_s),),
        promotion_ends=scenario.amnesia or scenario.late_sweep or not forgetful,
    )
