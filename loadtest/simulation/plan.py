"""What a run is made of, drawn from its seed: how large, how hostile, and in which ways.

Each kind of fault is on in some runs and off in others. With everything on all the time, outages hide what only
crashes would show, and the other way round.
"""

from dataclasses import dataclass
from random import Random
from typing import Literal

Disruption = Literal[
    "kill", "stop", "move", "usurp", "stall",
    "stock_down", "ledger_down", "log_down", "failover",
    "stock_restart", "stock_empty", "stock_older", "stock_of_old", "stock_foreign", "split", "rebuild",
    "restart_amid", "empty_amid", "kill_rebuilder", "two_rebuilders", "unbooked",
]  # fmt: skip
"""What chaos does between calls; see `chaos.Chaos`."""

_OF_PROCESSES: tuple[Disruption, ...] = ("kill", "stop", "move", "usurp", "stall")
_OF_STORES: tuple[Disruption, ...] = ("stock_down", "ledger_down", "log_down", "failover")
"""`failover`: the ledger goes on at another server, which lacks nothing; the stock is taken over under a new epoch."""
_OF_MEMORY: tuple[Disruption, ...] = (
    "stock_restart", "stock_empty", "stock_older", "stock_of_old", "stock_foreign", "split", "rebuild"
)  # fmt: skip

AMID_REBUILDS: tuple[Disruption, ...] = ("restart_amid", "empty_amid", "kill_rebuilder", "two_rebuilders")
"""What waits for the next rebuild."""

AMID: tuple[Disruption, ...] = (*AMID_REBUILDS, "unbooked")
"""What waits for its moment. `unbooked`: the stock has acted for a worker, who stands still before it writes that."""

DISRUPTIONS: tuple[Disruption, ...] = (*_OF_PROCESSES, *_OF_STORES, *_OF_MEMORY, *AMID)

ACTS = (("reserve",), ("confirm", "release", "retake"), ("expire_due",), ("open_promotion", "close_promotion"))
"""What the stock does first and the ledger is told of then: what `unbooked` waits for."""

FORGETFUL_SPREAD_S = 48.0
"""So long that what came in the first wave of a forgetful run is forgotten by the second, see `workload`."""

_SHORT = frozenset(_OF_PROCESSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Bounds that a plan is drawn within. Probabilities are of a run having the fault at all."""

    summary: str
    disruptions: tuple[Disruption, ...] = DISRUPTIONS
    acts: tuple[tuple[str, ...], ...] = ACTS
    """Those that `unbooked` draws from."""
    hold_ttls_s: tuple[float, ...] = (4.0, 8.0, 15.0)
    spreads_s: tuple[float, ...] = (1.0, 6.0, 15.0)
    latencies_s: tuple[float, ...] = (0.005, 0.05, 0.3)
    pauses_s: tuple[float, ...] = (0.3, 1.0, 3.0)
    """Mean times between two disruptions."""
    each: float = 0.5
    """How often a run has each of the disruptions."""
    faults: float = 0.5
    """How often a run has each of: calls get lost, answers get lost, calls come late."""
    forgetful: float = 0.25
    """How often the stock forgets decisions within the run (late duplicates)."""
    scarce: bool = False
    """Whether there are fewer goods, more who want those of the promotion, more repeats and conflicts."""
    amnesia: bool = False
    """Whether the stock forgets sooner than outages end, and reports come on orders that it has forgotten."""
    patience_s: float = 0.0
    """After which submissions that wait for a store are put aside; 0 is never."""
    silent_expiry: bool = False
    """Whether an expiry must also be announced when the stock is rebuilt before that is done."""


SCENARIOS = {
    "default": Scenario(summary="every fault that Floodway promises to outlast, a random choice of them a run"),
    "calm": Scenario(summary="no faults at all: only the order of things is random", disruptions=(), faults=0.0),
    "kills": Scenario(
        summary="processes die, stop and lose partitions; stores answer",
        disruptions=_OF_PROCESSES,
        faults=0.0,
    ),
    "outages": Scenario(
        summary="stores fail in every way; processes live",
        disruptions=(*_OF_STORES, *_OF_MEMORY),
    ),
    "rebuilds": Scenario(
        summary="the stock loses its memory again and again, in the middle of rebuilds too; holds are short, goods "
        "few, many orders name the promotion",
        disruptions=("kill", "stall", *_OF_MEMORY, *AMID),
        hold_ttls_s=(4.0,),
        spreads_s=(3.0, 6.0, 15.0),
        latencies_s=(0.005, 0.05),
        faults=0.0,
        forgetful=0.0,
        scarce=True,
    ),
    "backlog": Scenario(
        summary="everything is sent at once, much of it twice; workers stand still and the stock is lost meanwhile",
        disruptions=("stock_restart", "unbooked", "stall"),
        spreads_s=(0.5,),
        latencies_s=(0.05, 0.3),
        pauses_s=(0.1, 0.3),
        faults=0.0,
        forgetful=0.0,
        scarce=True,
    ),
    "answers": Scenario(
        summary="processes live, stores keep what they know; calls and answers get lost or come late, in every run",
        disruptions=(),
        faults=1.0,
        forgetful=0.0,
    ),
    "unbooked": Scenario(
        summary="again and again whoever has reserved stands still before that is booked, and the stock is lost",
        disruptions=("unbooked",),
        each=1.0,
        acts=(ACTS[0],),
        hold_ttls_s=(8.0,),
        spreads_s=(3.0, 6.0),
        latencies_s=(0.005,),
        pauses_s=(0.3, 1.0),
        faults=0.0,
        forgetful=0.0,
        scarce=True,
    ),
    "promotions": Scenario(
        summary="who opens or closes the promotion stands still before that is booked, and the stock is lost meanwhile",
        disruptions=("unbooked", "stock_restart"),
        each=1.0,
        acts=(ACTS[3],),
        hold_ttls_s=(4.0, 8.0),
        spreads_s=(3.0, 6.0),
        latencies_s=(0.005, 0.05),
        pauses_s=(1.0,),
        faults=0.0,
        forgetful=0.0,
        scarce=True,
    ),
    "losses": Scenario(
        summary="as `unbooked`, and the stock is lost once more while it is rebuilt, or two rebuild it",
        disruptions=("unbooked", "two_rebuilders", "restart_amid"),
        each=1.0,
        acts=(ACTS[0],),
        hold_ttls_s=(8.0,),
        spreads_s=(3.0, 6.0),
        latencies_s=(0.005,),
        pauses_s=(0.3, 1.0),
        faults=0.0,
        forgetful=0.0,
        scarce=True,
    ),
    "split": Scenario(
        summary="single workers are left with the stock of before, while the others have gone on to another",
        disruptions=("split",),
        each=1.0,
        hold_ttls_s=(4.0, 8.0),
        spreads_s=(6.0, 15.0),
        latencies_s=(0.005, 0.05),
        pauses_s=(1.0, 3.0),
        faults=0.0,
        forgetful=0.0,
    ),
    "impatient": Scenario(
        summary="every fault, and submissions that wait for a store are soon put aside, to be decided later",
        patience_s=5.0,
        forgetful=0.0,
    ),
    "forgetful": Scenario(
        summary="the stock forgets decisions within the run, so that repeats outlive its memory", forgetful=1.0
    ),
    "failovers": Scenario(
        summary="the ledger goes on at another server again and again; goods are few, many orders name the promotion",
        disruptions=("failover",),
        each=1.0,
        latencies_s=(0.05,),
        forgetful=0.0,
        scarce=True,
    ),
    "gap-silent-expiry": Scenario(
        summary="an expiry is booked, the stock is rebuilt, and nobody is left who knows that it has not been "
        "announced; NOT caught yet, expect violations",
        forgetful=0.0,
        silent_expiry=True,
    ),
    "gap-amnesia": Scenario(
        summary="outages last longer than the stock remembers: what was booked then, and not announced before that, "
        "is announced by nobody; NOT caught yet, expect violations",
        forgetful=1.0,
        amnesia=True,
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
    acts: tuple[tuple[str, ...], ...]
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
    silent_expiry: bool
    scarce: bool
    operator_dies: bool
    """Whether whoever gives commands may die in the middle of one, and give it again a while later."""
    reports: bool
    """Whether anybody pays or cancels."""
    patience_s: float
    waves: tuple[tuple[float, float], ...]
    """From when to when submissions come."""


def draw(scenario: Scenario, rng: Random) -> Plan:
    """A plan for one run."""

    def sometimes(chance: float, value: float) -> float:
        return value * rng.random() if rng.random() < chance else 0.0

    disruptions = tuple(d for d in scenario.disruptions if rng.random() < scenario.each)
    forgetful = rng.random() < scenario.forgetful
    hold_ttl_s = rng.choice(scenario.hold_ttls_s)
    retention_s = 10_000.0
    chunk_max = rng.randint(1, 6)
    spread_s = rng.choice(scenario.spreads_s)
    pause_s = rng.choice(scenario.pauses_s)
    latency_s = rng.choice(scenario.latencies_s)
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
        keys=rng.randint(2, 20 if not scenario.scarce or rng.random() < 0.5 else 5),
        spread_s=spread_s,
        chaos_s=spread_s + (1.0 if forgetful else rng.choice((2.0, 10.0))),
        disruptions=disruptions,
        acts=scenario.acts,
        pause_s=pause_s,
        lost_call=sometimes(scenario.faults, 0.2),
        lost_answer=sometimes(scenario.faults, 0.2),
        late_call=sometimes(scenario.faults, 0.1),
        latency_s=latency_s,
        skew_ms=rng.choice((0, 0, 50, 400)),
        hold_ttl_s=hold_ttl_s,
        retention_s=retention_s,
        chunk_max=chunk_max,
        batch_max=chunk_max + rng.randint(0, 8),
        silent_expiry=scenario.silent_expiry,
        scarce=scenario.scarce,
        operator_dies="kill" in scenario.disruptions and rng.random() < 0.5,
        reports=scenario.amnesia or not forgetful,
        patience_s=scenario.patience_s,
        waves=((0.0, 8.0), (36.0, spread_s)) if forgetful else ((0.0, spread_s),),
    )
