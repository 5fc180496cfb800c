"""How many workers there should be, by what is known of lag, rates and stores. Pure: time comes in, memory goes out.

Workers are added at once, and at most doubled; they are taken away one at a time, when fewer have been enough for a
while. Where a store is away or slow, more workers would only wait for it too: then nobody is added. Nobody is taken
away then either, for the lag that has gathered will need them.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum


class Why(StrEnum):
    """The reason of an advice."""

    NOTHING_KNOWN = "nothing_known"
    STORE_AWAY = "store_away"
    STORE_SLOW = "store_slow"
    NO_GAIN = "no_gain"
    LAG = "lag"
    ARRIVALS = "arrivals"
    ENOUGH = "enough"
    COOLING = "cooling"
    IDLE = "idle"


HOLDING = frozenset({Why.NOTHING_KNOWN, Why.STORE_AWAY, Why.STORE_SLOW, Why.NO_GAIN})
"""Reasons not to add workers although the lag may ask for more."""


@dataclass(frozen=True, slots=True)
class Store:
    """How a store stands: whether it answers and its breakers are closed; how long the smallest call takes, and how
    long the workers' stage that asks it takes with a batch.
    """

    name: str
    is_up: bool
    probe_s: float = 0.0
    stage_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known now. Rates are records a second; `lag` is None while Kafka does not tell.

    `replicas` are the workers that there are; None while nobody knows.
    """

    at_s: float
    lag: int | None
    lag_s: float = 0.0
    arriving_per_s: float = 0.0
    committing_per_s: float = 0.0
    replicas: int | None = None
    stores: tuple[Store, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """What to aim for. Seconds, and records a second."""

    least: int = 1
    most: int = 12
    drain_s: float = 30.0
    """A backlog should be gone in this time."""
    worker_per_s: float = 4_000.0
    """What one worker does, until it has been seen at work."""
    headroom: float = 0.8
    """So much of what a worker can do is counted on."""
    lag_free_s: float = 2.0
    """Lag that is younger is what is in work, and asks for nobody."""
    settle_s: float = 20.0
    """What was changed gets so long to show: workers start, groups rebalance."""
    cool_s: float = 60.0
    """Fewer must have been enough for so long before one goes."""
    slow_s: float = 0.25
    """A store whose smallest call takes longer is slow."""
    slow_stage_s: float = 1.5
    """So is one with which a stage takes longer over a batch."""
    gain: float = 1.1
    """Workers that were added must bring so many times the rate, or more of them would not help."""

    def __post_init__(self) -> None:
        assert 0 <= self.least <= self.most, f"{self.least} to {self.most} workers"
        assert 0 < self.headroom <= 1
        assert self.gain >= 1


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered from one advice to the next; begin with an empty one.

    `desired` is the last advice, `raised_at_s` when it last grew, and from how many workers at which rate;
    `enough_since_s` since when fewer would do. `worker_per_s` is what one worker was seen to do with a backlog.
    """

    desired: int | None = None
    raised_at_s: float = -math.inf
    raised_from: int = 0
    rate_before_per_s: float = 0.0
    enough_since_s: float | None = None
    worker_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """How many workers there should be, and why. `drain_s` is infinite while lag does not shrink."""

    desired: int
    why: Why
    needed: int
    drain_s: float
    held_back: bool
    troubled: tuple[str, ...] = ()


def advise(sight: Sight, policy: Policy, memory: Memory) -> tuple[Advice, Memory]:
    """The advice for now, and what to remember."""
    now = sight.replicas if sight.replicas is not None else memory.desired
    now = policy.least if now is None else now
    if sight.lag is None:
        kept = _bounded(memory.desired if memory.desired is not None else now, policy)
        memory = replace(memory, desired=kept, enough_since_s=None)
        return Advice(kept, Why.NOTHING_KNOWN, kept, math.inf, True), memory
    memory = replace(memory, worker_per_s=_seen_per_worker(sight, policy, memory))
    needed, asked_by = _needed(sight, policy, memory)
    trouble = _trouble(sight, policy)
    desired, why = now, Why.ENOUGH
    if needed > now:
        memory = replace(memory, enough_since_s=None)
        desired, why = _up(sight, policy, memory, now, needed)
        why = asked_by if why is Why.LAG else why
    elif needed < now:
        since_s = sight.at_s if memory.enough_since_s is None else memory.enough_since_s
        memory = replace(memory, enough_since_s=since_s)
        if trouble is not None:
            why = trouble
        elif sight.at_s - since_s >= policy.cool_s:
            desired, why = now - 1, Why.IDLE
            memory = replace(memory, enough_since_s=sight.at_s)
        else:
            why = Why.COOLING
    else:
        memory = replace(memory, enough_since_s=None)
    desired = _bounded(desired, policy)
    if desired > max(now, memory.desired or 0):
        memory = replace(memory, raised_at_s=sight.at_s, raised_from=now, rate_before_per_s=sight.committing_per_s)
    held_back = why in HOLDING and _bounded(needed, policy) > now
    troubled = tuple(store.name for store in sight.stores if not store.is_up or _is_slow(store, policy))
    advice = Advice(desired, why, _bounded(needed, policy), _drain_s(sight), held_back, troubled)
    return advice, replace(memory, desired=desired)


def _up(sight: Sight, policy: Policy, memory: Memory, now: int, needed: int) -> tuple[int, Why]:
    """How many to have when more are needed; `Why.LAG` stands for yes."""
    if now >= policy.least and now > 0:  # below that workers are missing, whatever else is wrong
        trouble = _trouble(sight, policy)
        if trouble is not None:
            return now, trouble
    if memory.desired is not None and now < memory.desired and sight.at_s - memory.raised_at_s < policy.settle_s:
        return min(memory.desired, max(needed, policy.least)), Why.LAG  # they are on their way
    if _was_no_gain(sight, policy, memory, now):
        return max(now, memory.desired or 0), Why.NO_GAIN
    if now and sight.at_s - memory.raised_at_s < policy.settle_s:
        return max(now, min(memory.desired or now, needed)), Why.LAG
    # Those that were advised and have not come in all that time count as well: with fewer it goes on growing.
    return min(needed, max(2 * max(now, memory.desired or 0), policy.least, 1)), Why.LAG


def _trouble(sight: Sight, policy: Policy) -> Why | None:
    if any(not store.is_up for store in sight.stores):
        return Why.STORE_AWAY
    return Why.STORE_SLOW if any(_is_slow(store, policy) for store in sight.stores) else None


def _is_slow(store: Store, policy: Policy) -> bool:
    return store.probe_s > policy.slow_s or store.stage_s > policy.slow_stage_s


def _was_no_gain(sight: Sight, policy: Policy, memory: Memory, now: int) -> bool:
    """Whether those that were added last have settled and brought nothing. Forgotten after ten times as long."""
    age_s = sight.at_s - memory.raised_at_s
    return (
        policy.settle_s <= age_s < 10 * policy.settle_s
        and 0 < memory.raised_from < now
        and memory.rate_before_per_s > 0
        and sight.committing_per_s < policy.gain * memory.rate_before_per_s
    )


def _needed(sight: Sight, policy: Policy, memory: Memory) -> tuple[int, Why]:
    """Workers for what arrives, and for the backlog to be gone in time; and which of the two asks for more."""
    assert sight.lag is not None
    each_per_s = policy.headroom * (memory.worker_per_s or policy.worker_per_s)
    backlog_per_s = sight.lag / policy.drain_s if sight.lag_s > policy.lag_free_s else 0.0
    arrivals = math.ceil(sight.arriving_per_s / each_per_s)
    both = math.ceil((sight.arriving_per_s + backlog_per_s) / each_per_s)
    return max(both, policy.least), Why.LAG if both > arrivals else Why.ARRIVALS


def _seen_per_worker(sight: Sight, policy: Policy, memory: Memory) -> float | None:
    """What a worker does when it has more before it than it can do at once: only then is its rate what it can do."""
    if not sight.replicas or not sight.lag or sight.committing_per_s <= 0 or sight.lag_s <= policy.lag_free_s:
        return memory.worker_per_s
    if _trouble(sight, policy) is not None:
        return memory.worker_per_s
    seen_per_s = sight.committing_per_s / sight.replicas
    before_per_s = memory.worker_per_s or policy.worker_per_s
    return 0.7 * before_per_s + 0.3 * seen_per_s


def _drain_s(sight: Sight) -> float:
    if not sight.lag:
        return 0.0
    shrinking_per_s = sight.committing_per_s - sight.arriving_per_s
    return sight.lag / shrinking_per_s if shrinking_per_s > 0 else math.inf


def _bounded(replicas: int, policy: Policy) -> int:
    return min(max(replicas, policy.least), policy.most)
