"""The load test's own arithmetic: scenarios, deadlines, the course of a run, the verdict. No servers."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.swarm.charts import charts, live
from loadtest.swarm.course import Course, peak_per_s, window_s
from loadtest.swarm.deadlines import Deadlines
from loadtest.swarm.report import lines
from loadtest.swarm.scenarios import SCENARIOS, Asked, scenario
from loadtest.swarm.verdict import Verdict, verdict
from loadtest.swarm.words import Beat, Ended, Share, beat_from, plain, quantile_ms, share_from
from streams.errors import Refused

BALANCED = {"balanced": True, "submissions": 100}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_has_a_length_and_orders(name: str) -> None:
    """As it is by default: its orders are those of its schedule, and its highest rate is in it."""
    found = scenario(name)
    if found.schedule is None:
        assert (found.orders, found.window) == (1_000_000, 20_000)
    else:
        assert found.orders == found.schedule.total > 0
        assert found.rate_per_s == max(phase.to_per_s for phase in found.phases)


def test_double11_leaps_at_midnight_beyond_3200() -> None:
    """Ramp, spike, plateau, second spike, tail: two leaps, the first the highest and beyond what a second must take."""
    found = scenario("double11")
    assert found.schedule is not None
    names = [phase.name for phase in found.phases]
    leaps = [names[found.schedule.starts_s().index(leap)] for leap in found.schedule.jumps_s()]
    assert leaps == ["midnight", "second spike"]
    spike = found.phases[names.index("midnight")]
    assert spike.from_per_s == found.rate_per_s == 4_000
    assert spike.seconds > 10


@pytest.mark.parametrize("name", ["steady", "soak", "flash", "double11"])
def test_two_numbers_give_the_third(name: str) -> None:
    """Rate and length, rate and orders, orders and length: each pair makes the same run."""
    asked = scenario(name, Asked(rate_per_s=200, seconds=30))
    for same in (Asked(rate_per_s=200, orders=asked.orders), Asked(orders=asked.orders, seconds=30)):
        again = scenario(name, same)
        assert again.orders == asked.orders
        assert sum(phase.seconds for phase in again.phases) == pytest.approx(30, rel=1e-3)
        assert again.rate_per_s == pytest.approx(200, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("black-friday", Asked()),
        ("steady", Asked(rate_per_s=-1)),
        ("steady", Asked(1, 2, 3)),
        ("million", Asked(rate_per_s=3_200)),
        ("flash", Asked(mix="baskets")),
    ],
)
def test_what_does_not_go_together_is_refused(name: str, asked: Asked) -> None:
    """Before anything is started, in words."""
    with pytest.raises(Refused):
        scenario(name, asked)


def test_shares_travel_as_plain_values() -> None:
    """What goes through JSON or Locust's own messages comes out the same, schedule and counts by number included."""
    share = Share("-1-0", 0, 2, 100, 4, 5.0, phases=scenario("double11").phases, environment={"A": "b"})
    assert share_from(plain(share)) == share
    beat = Beat(3, 10, {5: 7}, {20: 3}, {20: 1}, {"accepted": 3}, 1)
    assert beat_from(plain(beat)) == beat


def test_shares_of_one_run_have_numbers_and_units_of_their_own() -> None:
    """Two storefronts of one run: no submission id in both, and the stock is what both need together."""
    plans = [Share(f"-7-{index}", index, 2, 50, 4, 5.0).plan() for index in range(2)]
    keys = [record.key for plan in plans for record in plan.records]
    assert len(set(keys)) == len(keys) == 100
    assert sum((plan.stock for plan in plans), Counter()).total() == 100


def test_an_order_times_out_once() -> None:
    """Undecided when its time is over, or decided after it: one failure, whichever is noticed first."""
    due = {0, 1, 2, 3}
    deadlines = Deadlines(lambda ms: max(0, int(ms / 10)), due.__contains__, timeout_ms=100)
    assert deadlines.pass_to(110, [], of=4) == 1  # order 0 is meant for 0 ms, and has had its 100
    due.remove(0)
    assert deadlines.pass_to(115, [0], of=4) == 0  # it comes after all: counted already
    due.remove(2)
    assert deadlines.pass_to(115, [2], of=4) == 1  # late, but not passed yet
    due.remove(1)
    assert deadlines.pass_to(500, [], of=4) == 1  # 1 came in time, 2 was counted, 3 never came
    assert deadlines.timed_out == 3


@given(st.lists(st.tuples(st.floats(0, 400), st.booleans()), min_size=1, max_size=40), st.integers(1, 60))
def test_whenever_it_is_looked_each_late_order_counts_once(orders: list[tuple[float, bool]], step: int) -> None:
    """However often deadlines are passed, what has timed out in the end is what came late or never."""
    answers = {number: number * 10 + after if comes else None for number, (after, comes) in enumerate(orders)}
    due = set(answers)
    deadlines = Deadlines(lambda ms: sum(number * 10 < ms for number in answers), due.__contains__, timeout_ms=100)
    for now in range(0, 1_200, step):
        came = [n for n, at in answers.items() if at is not None and n in due and at <= now]
        due.difference_update(came)
        late = [n for n in came if (answers[n] or 0) - n * 10 > 100]
        # Between an answer and the look at it no deadline is judged by another time than the answer's.
        deadlines.pass_to(now - step, late, of=len(orders))
    deadlines.pass_to(5_000, [], of=len(orders))
    assert deadlines.timed_out == sum(not comes or after > 100 for after, comes in orders)


def beats(rate: int, seconds: int, *, latency_ms: int = 50) -> Course:
    """A run in which all goes evenly."""
    course = Course()
    for at_s in range(seconds):
        course.add(Beat(at_s, rate, {5: rate}, {latency_ms: rate}, {}, {"accepted": rate}))
    return course


def ended(orders: int, *, last_at_ms: int = 10_050, **more: Any) -> Ended:
    """A storefront's end."""
    return Ended(0, orders, orders, 0, last_at_ms, **more)


def judged(course: Course, ends: list[Ended], books: dict[str, Any] | None = None, **more: Any) -> Verdict:
    """The verdict on ten steady seconds of ten orders."""
    found = scenario("steady", Asked(rate_per_s=10, seconds=10))
    return verdict(found, course, ends, BALANCED if books is None else books, **more)


def test_a_run_as_planned_passes() -> None:
    """Rates, quantiles and counts are told; the page and the lines say so."""
    found = judged(beats(10, 10), [ended(100)])
    assert (found.passed, found.failures) == (True, [])
    assert (found.sent, found.decided, found.peak_per_s, found.target_peak_per_s) == (100, 100, 10, 10)
    assert (found.produce_ms["p99"], found.decision_ms["p99"]) == (5, 50)
    assert lines(found)[-1] == "All came out as planned, and the books balance."
    made = charts(found, beats(10, 10).moments())
    assert made.count("<svg") == 4
    assert "books balance" in made
    assert 'http-equiv="refresh"' in live("steady", beats(10, 3).moments())


@pytest.mark.parametrize(
    ("course", "end", "books", "words"),
    [
        (beats(10, 10), ended(100, last_at_ms=13_000), BALANCED, "The rate was not reached"),
        (beats(5, 20), ended(100), BALANCED, "5 of 10 orders/s at the peak (50%)"),
        (beats(98, 1), ended(98), BALANCED, "Only 98 of 100 orders were sent"),
        (beats(10, 10), ended(100, missing=1), BALANCED, "1 decisions never came"),
        (beats(10, 10), ended(100, repeated=2), BALANCED, "2 decisions were announced beyond"),
        (beats(10, 10), ended(100, unexpected=["accepted: 99, planned 100"]), BALANCED, "Not as planned"),
        (beats(10, 10), ended(100, stopped=True), BALANCED, "stopped before its end"),
        (beats(10, 10), ended(100), {"balanced": False}, "The books do not balance"),
        (beats(10, 10, latency_ms=900), ended(100), BALANCED, "The slowest hundredth took 900 ms"),
    ],
)
def test_what_is_wrong_fails_the_run(course: Course, end: Ended, books: dict[str, Any], words: str) -> None:
    """Each by itself, and says what it is."""
    found = judged(course, [end], books, max_p99_ms=250)
    assert not found.passed
    assert len(found.failures) == 1
    assert words in found.failures[0]


def test_a_run_without_an_audit_fails() -> None:
    """Nobody looked at the books: that is no success."""
    found = verdict(scenario("steady", Asked(10, 100)), beats(10, 10), [ended(100)], None)
    assert found.failures == ["The books were not audited."]


def test_failures_of_orders_fail_the_run() -> None:
    """What timed out or was not confirmed is counted, beside what else went well."""
    course = beats(10, 10)
    course.add(Beat(10, timed_out=2, unproduced=3, why="gone"))
    assert [words.split(" ", 1)[0] for words in judged(course, [ended(100)]).failures] == ["3", "2"]


def test_latency_after_a_leap_is_told_apart() -> None:
    """What was meant for the first second of a spike counts in the whole, and not in what is judged."""
    course = beats(10, 10)
    course.add(Beat(4, decided={800: 5}, leapt={800: 5}))
    found = judged(course, [ended(100)], max_p99_ms=250)
    assert (found.decision_ms["p99"], found.decision_calm_ms["p99"]) == (800, 50)
    assert found.passed


def test_lag_is_what_was_sent_and_not_decided() -> None:
    """Over the seconds, also those in which nothing was told."""
    course = Course()
    course.add(Beat(0, sent=10, outcomes={"accepted": 4}))
    course.add(Beat(2, sent=5, outcomes={"out_of_stock": 11}))
    course.add_pools(1, {"main": {"free": 3, "held": 4}})
    assert [moment.lag for moment in course.moments()] == [6, 6, 0]
    assert [moment.pools for moment in course.moments()] == [{}, *[{"main": {"free": 3, "held": 4}}] * 2]
    assert course.outcomes == {"accepted": 4, "out_of_stock": 11}


def test_peaks_are_means_over_a_window() -> None:
    """One busy second is no peak; a run shorter than the window is its own mean."""
    assert peak_per_s([0, 100, 0, 0], 2) == 50
    assert peak_per_s([10, 20], 5) == 15
    assert peak_per_s([], 5) == 0
    assert [window_s(seconds) for seconds in (0.5, 8, 20, 3_600)] == [1, 2, 5, 5]


@given(st.dictionaries(st.integers(0, 2_000), st.integers(1, 50), min_size=1), st.sampled_from([0.5, 0.99, 1.0]))
def test_quantiles_of_counts_are_those_of_the_values(counts: dict[int, int], q: float) -> None:
    """Counting by milliseconds loses nothing but fractions."""
    values = sorted(ms for ms, count in counts.items() for _ in range(count))
    assert quantile_ms(counts, q) == values[min(len(values) - 1, int(q * len(values)))]
