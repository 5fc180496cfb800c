"""Every order has its intended time before the first is sent, whatever the rate does."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.schedule import Phase, Schedule

RATES = st.floats(1, 5_000)
PHASES = st.lists(st.builds(Phase, st.just("some"), st.floats(0.2, 5), RATES, RATES), min_size=1, max_size=4)


def test_a_steady_rate_is_evenly_spaced() -> None:
    """Order k of a steady rate is meant for k / rate, and the last falls due one interval before the end."""
    schedule = Schedule.steady(200, 400)
    assert (schedule.total, schedule.seconds) == (400, 2.0)
    assert [schedule.at_ms(order) for order in (0, 1, 399)] == [0, 5, 1_995]
    assert [schedule.before(ms) for ms in (-1, 0, 0.001, 5, 5.001, 1_995, 1_996, 9_999)] == [
        0,
        0,
        1,
        1,
        2,
        399,
        400,
        400,
    ]


def test_a_ramp_grows_by_the_square() -> None:
    """From 0 to 100/s in 10 s: 500 orders, a quarter of them in the first half of the time."""
    schedule = Schedule([Phase("ramp", 10, 0, 100)])
    assert schedule.total == 500
    assert schedule.before(5_000) == 125
    assert schedule.at_ms(125) == pytest.approx(5_000)
    assert schedule.at_ms(499) < 10_000


@given(PHASES)
def test_orders_come_in_their_order_and_both_directions_agree(phases: list[Phase]) -> None:
    """Times grow, stay within the schedule, and exactly k orders are meant for before order k's own time."""
    schedule = Schedule(phases)
    some = sorted({0, 1, schedule.total // 3, schedule.total // 2, schedule.total - 1} & set(range(schedule.total)))
    times = [schedule.at_ms(order) for order in some]
    assert all(before < after for before, after in pairwise(times))
    assert times[-1] <= schedule.seconds * 1_000 + 1e-6
    for order, ms in zip(some, times, strict=True):
        assert schedule.before(ms - 0.01) <= order <= schedule.before(ms + 0.01)
    assert schedule.before(schedule.seconds * 1_000) == schedule.total


@given(PHASES, st.integers(1, 5))
def test_shares_make_up_the_whole(phases: list[Phase], of: int) -> None:
    """Storefronts have every order once between them, each at the time that it has in the whole."""
    whole = Schedule(phases)
    shares = [Schedule(phases, index=index, of=of) for index in range(of)]
    assert sum(share.total for share in shares) == whole.total
    for order in {0, whole.total // 2, whole.total - 1} & set(range(whole.total)):
        assert shares[order % of].at_ms(order // of) == whole.at_ms(order)


def test_only_leaps_are_jumps() -> None:
    """A spike is one; a steep ramp and a slight rise are none."""
    phases = [Phase("eve", 2, 100, 300), Phase("spike", 1, 900, 900), Phase("plateau", 1, 500, 500)]
    assert Schedule([*phases, Phase("later", 1, 600, 600)]).jumps_s() == [2]
