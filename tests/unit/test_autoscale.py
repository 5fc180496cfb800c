"""The advice of how many workers there should be: its bounds, what holds it back, and that it comes to rest."""

import math
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streams.core.autoscale import HOLDING, Advice, Memory, Policy, Sight, Store, Why, advise

RATES = st.floats(0, 100_000)
STORES = st.builds(Store, st.sampled_from(["redis", "postgres"]), st.booleans(), st.floats(0, 5), st.floats(0, 5))
SIGHTS = st.builds(
    Sight,
    at_s=st.just(0.0),
    lag=st.none() | st.integers(0, 10_000_000),
    lag_s=st.floats(0, 100_000),
    arriving_per_s=RATES,
    committing_per_s=RATES,
    replicas=st.none() | st.integers(0, 40),
    stores=st.lists(STORES, max_size=3).map(tuple),
)
POLICIES = st.builds(
    lambda least, more, **rest: Policy(least=least, most=least + more, **rest),
    st.integers(0, 5),
    st.integers(0, 20),
    drain_s=st.floats(1, 600),
    worker_per_s=st.floats(1, 20_000),
    settle_s=st.floats(0, 60),
    cool_s=st.floats(0, 300),
)
FINE = (Store("redis", True, 0.001, 0.01), Store("postgres", True, 0.001, 0.02))
TUNED = Policy(least=1, most=8, worker_per_s=1_000.0)


def history(sights: list[Sight], policy: Policy) -> list[tuple[Sight, Memory, Advice]]:
    """Advice on one sight after another, ten seconds apart, each with the memory from before it."""
    memory, found = Memory(), []
    for number, sight in enumerate(sights):
        at = replace(sight, at_s=10.0 * number)
        advice, after = advise(at, policy, memory)
        found.append((at, memory, advice))
        memory = after
    return found


@given(st.lists(SIGHTS, max_size=30), POLICIES)
def test_advice_keeps_its_bounds(sights: list[Sight], policy: Policy) -> None:
    """Never below the least or above the most, never more than twice as many at once, never two fewer."""
    for sight, before, advice in history(sights, policy):
        assert policy.least <= advice.desired <= policy.most
        assert policy.least <= advice.needed <= policy.most
        now = sight.replicas if sight.replicas is not None else before.desired
        now = policy.least if now is None else now
        most_at_once = max(2 * now, policy.least, 1, 2 * (before.desired or 0))
        assert advice.desired <= most_at_once
        if sight.lag is not None:
            assert advice.desired >= min(now, policy.most) - 1
        asks = advice.needed > now or sight.lag is None
        assert advice.held_back == (advice.why in HOLDING and asks)


@given(st.lists(SIGHTS, max_size=30), POLICIES)
def test_nobody_is_added_beside_a_store_in_trouble(sights: list[Sight], policy: Policy) -> None:
    """While a store is away or slow the number that there are, and at least the least, is all that is advised."""
    for sight, _, advice in history(sights, policy):
        trouble = any(not s.is_up or s.probe_s > policy.slow_s or s.stage_s > policy.slow_stage_s for s in sight.stores)
        assert bool(advice.troubled) == (trouble and sight.lag is not None)
        if trouble and sight.lag is not None and sight.replicas:
            assert advice.desired == min(max(sight.replicas, policy.least), policy.most)


@given(st.lists(SIGHTS, max_size=10), POLICIES)
def test_what_is_not_known_changes_nothing(sights: list[Sight], policy: Policy) -> None:
    """When Kafka does not tell the lag, the last advice stands."""
    memory = Memory()
    for _, before, _ in history([*sights, Sight(0.0, 0)], policy):
        memory = before
    advice, after = advise(Sight(1e6, None, replicas=memory.desired), policy, memory)
    assert (advice.why, advice.held_back) == (Why.NOTHING_KNOWN, True)
    assert after.desired == advice.desired
    assert memory.desired is None or advice.desired == memory.desired


@given(st.integers(0, 10**7), st.integers(0, 10**7), RATES, POLICIES)
def test_more_lag_never_asks_for_fewer(lag: int, more: int, arriving: float, policy: Policy) -> None:
    """Of two sights that differ in lag alone the larger needs as many workers or more."""
    sights = [Sight(0.0, n, 60.0, arriving, 0.0, 1, FINE) for n in (lag, lag + more)]
    few, many = (advise(sight, policy, Memory())[0] for sight in sights)
    assert few.needed <= many.needed
    assert few.desired <= many.desired


def test_workers_that_are_gone_are_asked_for_whatever_the_stores_say() -> None:
    """With nobody at work, even a slow store holds nobody back: the least are to be there."""
    slow = (Store("redis", True, 2.0),)
    advice, _ = advise(Sight(0.0, 500_000, 60.0, 0.0, 0.0, 0, slow), replace(TUNED, least=2), Memory())
    assert advice.desired == 2


def test_with_workers_stopped_the_advice_rises_to_what_is_needed() -> None:
    """Nobody comes, so the lag stays: each time the advice has had its time, twice as many are asked for."""
    sight = Sight(0.0, 1_000_000, 60.0, 0.0, 0.0, 0, FINE)
    advised = [advice.desired for _, _, advice in history([sight] * 12, TUNED)]
    assert advised == sorted(advised)
    assert (advised[0], advised[-1]) == (1, TUNED.most)
    assert set(advised) == {1, 2, 4, 8}


def test_a_lag_in_the_making_asks_for_nobody() -> None:
    """What is younger than a moment is what is in work, however many records that are."""
    advice, _ = advise(Sight(0.0, 20_000, 0.5, 100.0, 100.0, 1, FINE), TUNED, Memory())
    assert (advice.desired, advice.why) == (1, Why.ENOUGH)


def test_workers_that_bring_nothing_are_not_followed_by_more() -> None:
    """After two have become four and the rate has stayed, the bottleneck is elsewhere."""
    at = Sight(0.0, 1_000_000, 60.0, 5_000.0, 2_000.0, 2, FINE)
    first, memory = advise(at, TUNED, Memory())
    assert first.desired == 4
    again, memory = advise(replace(at, at_s=25.0, replicas=4), TUNED, memory)
    assert (again.desired, again.why, again.held_back) == (4, Why.NO_GAIN, True)
    gained, _ = advise(replace(at, at_s=26.0, replicas=4, committing_per_s=3_900.0), TUNED, memory)
    assert gained.desired == 8


def run(arrivals: list[float], policy: Policy, *, each_per_s: float, start_s: int = 3) -> list[tuple[int, float]]:
    """A system of workers under these arrivals, second by second: advice every 5 s, starts take a while."""
    memory, lag, workers, asked = Memory(), 0.0, policy.least, policy.least
    pending: list[tuple[int, int]] = []
    found = []
    for second, arriving in enumerate(arrivals):
        workers = next((n for at, n in reversed(pending) if at <= second), workers)
        done = min(lag + arriving, workers * each_per_s)
        lag += arriving - done
        if second % 5 == 0:
            lag_s = lag / max(1.0, arriving, done)
            sight = Sight(float(second), round(lag), lag_s, arriving, done, workers, FINE)
            advice, memory = advise(sight, policy, memory)
            if advice.desired != asked:
                asked = advice.desired
                pending.append((second + start_s, asked))
        found.append((workers, lag))
    return found


@given(
    st.floats(500, 5_000),
    st.floats(0.05, 0.9),
    st.floats(1.5, 6.0),
    st.integers(60, 300),
    st.floats(1_000, 4_000),
)
def test_a_surge_is_followed_and_left_again(
    each_per_s: float, calm: float, surge: float, lasts_s: int, believed_per_s: float
) -> None:
    """Whatever a worker really does: lag of a surge is gone in minutes, and in the end few are there, at rest."""
    policy = replace(TUNED, worker_per_s=believed_per_s)
    arrivals = [calm * each_per_s] * 60 + [surge * each_per_s] * lasts_s + [calm * each_per_s] * 1_500
    states = run(arrivals, policy, each_per_s=each_per_s)
    peak = max(workers for workers, _ in states)
    assert peak >= min(math.ceil(surge), policy.most)
    assert max(lag for _, lag in states[-600:]) <= each_per_s
    at_rest = [workers for workers, _ in states[-300:]]
    assert max(at_rest) - min(at_rest) <= 1
    assert max(at_rest) <= math.ceil(calm * each_per_s / (policy.headroom * min(believed_per_s, each_per_s))) + 1
    changes = sum(a != b for (a, _), (b, _) in pairwise(states))
    assert changes <= 4 * policy.most
