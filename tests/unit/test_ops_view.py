"""What is shown of an installation is what its processes counted: rates, quantiles, and words for what is missing."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx  # noqa: PT013 - reads as a word

from agents.exporter.scraping import Told, parse
from agents.ops.attention import Level, notes
from agents.ops.board import as_json
from agents.ops.course import KEPT_S, WINDOW_S, Course, Point
from agents.ops.view import View, view
from agents.ops.window import Look, Window, quantile
from streams.metrics import DECISIONS, LATENCY_S

AT = datetime(2026, 11, 11, tzinfo=UTC)
BOUNDS = (*LATENCY_S.buckets, math.inf)

latencies = st.lists(st.floats(0.0, 5_000.0), max_size=60)
shares = st.floats(0.0, 1.0)


def worker(url: str = "http://127.0.0.1:1", decided: int = 0, took: Sequence[float] = (), more: str = "") -> Told:
    """What an intake worker tells that has decided so many, and took so long."""
    lines = [
        'floodway_worker_info{role="intake",version="1"} 1',
        'floodway_worker_partitions{topic="orders.submitted.v1"} 6',
        f'floodway_decisions_total{{outcome="accepted",reason="",replay="false"}} {decided}',
        *(f'{LATENCY_S.name}_bucket{{le="{bound}"}} {sum(one <= bound for one in took)}' for bound in BOUNDS[:-1]),
        f'{LATENCY_S.name}_bucket{{le="+Inf"}} {len(took)}',
        'floodway_breaker_state{dependency="redis",state="closed"} 1',
        more,
    ]
    head = f"# TYPE floodway_decisions counter\n# TYPE {LATENCY_S.name} histogram\n"
    return parse(url, head + "\n".join(lines) + "\n")


def exporter(text: str = "") -> Told:
    """What an exporter tells: a lag of 7 that is 3 s old, all stores up, and more."""
    lines = [
        'kafka_consumergroup_lag_sum{consumergroup="floodway-intake",topic="orders.submitted.v1"} 7',
        'kafka_consumergroup_lag_seconds{consumergroup="floodway-intake",topic="orders.submitted.v1",partition="0"} 3',
        'kafka_consumergroup_lag_seconds{consumergroup="floodway-intake",topic="orders.submitted.v1",partition="1"} 1',
        *(f'floodway_store_up{{store="{store}"}} 1' for store in ("kafka", "redis", "postgres")),
        text,
    ]
    return parse("http://127.0.0.1:9308", "\n".join(lines) + "\n")


def seen(before: Look, now: Look) -> View:
    """The view between two looks."""
    return view(before, now, AT)


def words(found: View) -> str:
    """All that is said of it."""
    return "\n".join(f"{note.level}: {note.words}" for note in notes(found))


@given(st.integers(0, 10**9), st.integers(0, 10**6), st.floats(0.1, 100.0))
def test_a_rate_is_the_difference_by_the_time(first: int, more: int, took_s: float) -> None:
    """Whatever a worker had decided before is no part of it."""
    found = seen(Look(5.0, [worker(decided=first)]), Look(5.0 + took_s, [worker(decided=first + more)]))
    assert found.flow.decided == approx(more / took_s)
    assert found.flow.accepted == found.flow.decided


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_worker_that_began_anew_counts_from_nothing(before: int, now: int) -> None:
    """A counter that shrank makes no negative rate, and none larger than what was counted since."""
    found = seen(Look(0.0, [worker(decided=before + now)]), Look(1.0, [worker(decided=now)]))
    assert found.flow.decided == now


@given(latencies, latencies)
def test_a_histogram_that_began_anew_is_taken_whole(before: list[float], now: list[float]) -> None:
    """Buckets that seem to have grown while others shrank are those of another life, never of a difference."""
    window = Window(Look(0.0, [worker(took=[*before, *now, 0.0])]), Look(1.0, [worker(took=now)]))
    counts = [count for _, count in window.buckets(LATENCY_S)]
    assert counts == [sum(one <= bound for one in now) for bound in BOUNDS]


def test_a_worker_that_came_or_went_in_between_counts_for_nothing() -> None:
    """Its whole count would be a burst that never was."""
    stays, comes = "http://127.0.0.1:1", "http://127.0.0.1:2"
    found = seen(Look(0.0, [worker(stays, 10)]), Look(1.0, [worker(stays, 14), worker(comes, 10**6)]))
    assert found.flow.decided == 4
    assert [one.per_s is None for one in found.workers] == [False, True]
    assert seen(Look(0.0, [worker(comes, 10)]), Look(1.0, [worker(stays, 14)])).flow.decided is None


def test_a_label_that_is_new_counts_from_nothing() -> None:
    """The first refusal of a worker's life is one."""
    refused = 'floodway_decisions_total{outcome="rejected",reason="out_of_stock",replay="false"} 3'
    found = seen(Look(0.0, [worker(decided=5)]), Look(1.0, [worker(decided=5, more=refused)]))
    assert (found.flow.rejected, found.flow.reasons) == (3, {"out_of_stock": 3})


@given(latencies.filter(bool), shares)
def test_a_quantile_lies_in_the_bucket_of_the_value_it_stands_for(took: list[float], share: float) -> None:
    """Between the bounds around the observation of that rank; beyond the last bound it is that bound."""
    buckets = [(bound, float(sum(one <= bound for one in took))) for bound in BOUNDS]
    found = quantile(buckets, share)
    assert found is not None
    real = sorted(took)[max(0, math.ceil(share * len(took)) - 1)]
    above = next(bound for bound in BOUNDS if real <= bound)
    below = max((bound for bound in BOUNDS if bound < real), default=0.0)
    last = LATENCY_S.buckets[-1]
    assert min(below, last) - 1e-9 <= found <= min(above, last) + 1e-9 or share == 0.0


@given(latencies, shares, shares)
def test_quantiles_do_not_cross(took: list[float], one: float, other: float) -> None:
    """A larger share is never told as faster; without observations there is no figure at all."""
    buckets = [(bound, float(sum(one <= bound for one in took))) for bound in BOUNDS]
    low, high = quantile(buckets, min(one, other)), quantile(buckets, max(one, other))
    assert (low is None) == (high is None) == (not took)
    if low is not None and high is not None:
        assert low <= high


@given(latencies, latencies, latencies)
def test_workers_are_added_up_before_the_quantile(old: list[float], here: list[float], there: list[float]) -> None:
    """Two workers tell what one would that did the work of both: quantiles are not averaged."""
    one, other = "http://127.0.0.1:1", "http://127.0.0.1:2"
    both = seen(
        Look(0.0, [worker(one, took=old), worker(other)]),
        Look(1.0, [worker(one, took=[*old, *here]), worker(other, took=there)]),
    )
    alone = seen(Look(0.0, [worker(one)]), Look(1.0, [worker(one, took=[*here, *there])]))
    assert (both.p50_s, both.p99_s) == (alone.p50_s, alone.p99_s)


def test_an_empty_histogram_has_no_quantile() -> None:
    """A quiet second, and a worker without the metric, have no latency, which is not one of zero."""
    assert quantile([], 0.5) is None
    quiet = worker(took=[1.0, 2.0])
    assert seen(Look(0.0, [quiet]), Look(1.0, [quiet])).p99_s is None


def test_the_same_look_twice_tells_no_rates() -> None:
    """The first frame shows what stands, and leaves open what only time can tell."""
    look = Look(1.0, [worker(decided=9)], exporter())
    found = seen(look, look)
    assert (found.flow.decided, found.p50_s, found.workers[0].per_s) == (None, None, None)
    assert [(lag.role, lag.records, lag.oldest_s) for lag in found.lags] == [("intake", 7, 3)]


def test_arriving_goes_by_the_looks_of_the_exporter() -> None:
    """Its pace is not ours: between two looks of ours it may have looked once, or not at all."""

    def told(end: int, looked_at: float) -> Told:
        return exporter(
            f'kafka_topic_partition_current_offset{{topic="orders.submitted.v1",partition="0"}} {end}\n'
            f"floodway_lag_looked_timestamp_seconds {looked_at}\n"
            'floodway_arriving_per_second{topic="orders.submitted.v1"} 11'
        )

    before = Look(0.0, [], told(100, 50.0))
    assert seen(before, Look(5.0, [], told(300, 54.0))).flow.arriving == 50
    assert seen(before, Look(5.0, [], told(100, 50.0))).flow.arriving == 11
    assert seen(before, Look(5.0, [], told(40, 54.0))).flow.arriving == 11


def test_what_is_missing_is_said_with_what_starts_it() -> None:
    """No exporter, no workers, nothing at all: each has its own words, and figures are open, not zero."""
    nothing, alone, blind = Look(0.0, []), Look(0.0, [worker()]), Look(0.0, [], exporter())
    assert "`floodway up`" in words(seen(nothing, nothing))
    assert "`floodway exporter` starts one" in words(seen(alone, alone))
    assert "`floodway worker` starts some" in words(seen(blind, blind))
    assert seen(alone, alone).lags == ()
    assert seen(alone, alone).pools == ()
    assert seen(alone, alone).aside.books_differences is None
    whole = Look(0.0, [worker()], exporter())
    assert words(seen(whole, whole)) == ""


def test_what_is_wrong_comes_first() -> None:
    """Stores that are away, open breakers, another epoch, books that differ; then what somebody should look at."""
    bad = exporter('floodway_epoch_mismatch 1\nfloodway_tickets_open 2\nfloodway_books_differences{kind="pool"} 4')
    states = worker(more='floodway_breaker_state{dependency="kafka",state="open"} 1')
    told = replace(bad, samples={**bad.samples, "floodway_store_up": {frozenset({("store", "redis")}): 0.0}})
    look = Look(0.0, [states, worker("http://127.0.0.1:2")], told)
    found = notes(seen(look, look))
    assert [note.level for note in found] == [Level.BAD] * 4 + [Level.LOOK]
    assert "Kafka is open in 1 of 1 workers" in found[0].words
    assert "Redis does not answer" in found[1].words


def test_lag_that_nobody_reads_is_said_of_those_that_are_needed() -> None:
    """Intake without a worker is bad; notices without one are somebody's choice."""
    other = 'kafka_consumergroup_lag_sum{consumergroup="floodway-notify",topic="notifications.v1"} 5'
    lifecycle = replace(worker(), samples={"floodway_worker_info": {frozenset({("role", "lifecycle")}): 1.0}})
    look = Look(0.0, [lifecycle], exporter(other))
    assert words(seen(look, look)) == "bad: 7 records wait, and no intake worker is to be seen."


@given(st.lists(st.tuples(st.floats(0.05, 30.0), st.integers(0, 5_000)), min_size=1, max_size=80))
def test_a_course_looks_back_one_window_and_keeps_ten_minutes(steps: list[tuple[float, int]]) -> None:
    """Rates are never over less than was there, nor over much more than the window; points do not grow for ever."""
    course, at_s, count = Course(), 0.0, 0
    for step_s, more in steps:
        at_s, count = at_s + step_s, count + more
        found = course.add(Look(at_s, [worker(decided=count)]), AT + timedelta(seconds=at_s))
        assert found.window_s <= WINDOW_S + step_s + 1e-6 or found.window_s <= 60.0
        assert len(course.points) <= 1 + KEPT_S / 0.05
    assert course.points[-1].decided == course.newest.flow.decided if course.newest else True
    assert (course.points[-1].at - course.points[0].at).total_seconds() <= KEPT_S


def test_a_course_goes_on_where_another_was() -> None:
    """What the exporter has seen before stands before what is seen now, in its order."""
    course = Course()
    course.add(Look(0.0, []), AT)
    earlier = [Point(AT - timedelta(seconds=s), 1.0, float(s), None, None, None, None) for s in (3, 1, 2)]
    course.remember(earlier)
    assert [point.decided for point in course.points] == [3.0, 2.0, 1.0, None]


def test_what_is_endless_is_null_in_json() -> None:
    """JSON knows neither infinity nor NaN; readers in other languages must not meet them."""
    import orjson

    lag = exporter('floodway_drain_seconds{role="intake"} +Inf\nfloodway_epoch 1')
    look = Look(0.0, [worker(decided=1)], lag)
    told = orjson.loads(orjson.dumps(as_json(seen(look, look))))
    assert told["lags"][0]["drain_s"] is None
    assert told["flow"]["decided"] is None
    assert DECISIONS.name not in str(told)
