"""The arithmetic of measurements: from rounds to medians, spreads and ratios."""

import os
from time import process_time

import pytest

from loadtest.bench.cpu import cpu_s, difference, main_thread_cpu_us
from loadtest.bench.figures import NOISY_SPREAD, Sample, Series, noise, ratio, summed


def series(*rates: float, name: str = "part", client_us: float = 2.0, server_us: float = 3.0) -> Series:
    """Rounds of 1,000 records at these rates."""
    made = [Sample(1_000, 1_000 / rate, client_us / 1e3, {"redis": server_us / 1e3}) for rate in rates]
    return Series(name, made)


def test_median_and_best_are_over_the_rounds() -> None:
    """One slow round moves the median to a neighbour, and the best not at all."""
    measured = series(1_000, 4_000, 5_000)
    assert measured.per_s == pytest.approx(4_000)
    assert measured.best_per_s == pytest.approx(5_000)


def test_cpu_is_a_record_and_adds_up_over_servers() -> None:
    """CPU is told in microseconds a record; all servers together, and with the client."""
    sample = Sample(1_000, 1.0, 0.002, {"redis": 0.003, "kafka": 0.001})
    assert sample.client_cpu_us == pytest.approx(2)
    assert sample.servers_cpu_us == pytest.approx(4)
    assert Series("part", [sample]).cpu_us == pytest.approx(6)


def test_a_noisy_machine_is_named() -> None:
    """Rounds over 30 % apart are told with their part, others are not."""
    quiet, disturbed = series(1_000, 1_100, name="quiet"), series(1_000, 1_500, name="disturbed")
    assert disturbed.spread == pytest.approx(0.4)
    assert disturbed.spread > NOISY_SPREAD > quiet.spread
    said = noise([quiet, disturbed])
    assert said is not None
    assert "disturbed 40%" in said
    assert "quiet" not in said
    assert noise([quiet]) is None


def test_parts_add_up_as_time_not_as_rates() -> None:
    """Two parts at 10,000/s, one after the other, take 200 µs a record."""
    wall_us, cpu_us = summed([series(10_000), series(10_000, client_us=1.0)])
    assert wall_us == pytest.approx(200)
    assert cpu_us == pytest.approx(9)


def test_a_ratio_to_nothing_is_none() -> None:
    """A part without a figure makes no ratio, and no error."""
    assert ratio(10, 4) == 2.5
    assert ratio(10, 0) is None


def test_json_carries_units_in_its_names() -> None:
    """Every number's name says what it counts, in what, and of whom."""
    sample = Sample(1_000, 0.5, 0.002, {"redis": 0.003}, {"script_us_per_record": 1.5})
    assert Series("part", [sample]).as_dict() == {
        "name": "part",
        "records": 1_000,
        "rounds": 1,
        "best_records_per_s": 2_000.0,
        "median_records_per_s": 2_000.0,
        "spread_ratio": 0.0,
        "noisy": False,
        "client_cpu_us_per_record": 2.0,
        "servers_cpu_us_per_record": 3.0,
        "redis_cpu_us_per_record": 3.0,
        "script_us_per_record": 1.5,
    }


def test_own_cpu_grows_with_work() -> None:
    """Work of this process shows, by both ways of looking; a process that is gone has used nothing."""
    me = os.getpid()
    began_s, all_s, thread_us = process_time(), cpu_s(me), main_thread_cpu_us(me)
    while process_time() - began_s < 0.1:
        sum(range(100_000))
    assert cpu_s(me) - all_s >= 0.08
    assert main_thread_cpu_us(me) - thread_us >= 80_000
    assert cpu_s(1 << 22) == 0.0


def test_what_was_used_is_never_negative() -> None:
    """A child that ends between two reads of one look makes the second one smaller; that is no work undone."""
    assert difference({"redis": 2.0, "kafka": 1.0}, {"redis": 1.5, "kafka": 1.1}) == {"redis": 0.5, "kafka": 0.0}
