"""Peers: what an outcome may be accused of, how series are compared, and what a peer makes of an order."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from loadtest.bench.figures import Sample, Series
from loadtest.bench.orders import Orders
from loadtest.bench.peers.contender import faults
from loadtest.bench.peers.job import HOLD, announcement, job, row
from loadtest.bench.peers_run import BY_HAND, FAUST, LEAST_ORDERS, LOCKS_HOT, OURS, SHARES, PeersReport, orders_of
from streams.messages import Decision, Outcome, Reason

AT = datetime(2026, 11, 11, tzinfo=UTC)


def test_a_good_outcome_has_no_fault() -> None:
    """All decided and announced once, units taken as accepted, nothing below zero."""
    assert faults("x", 100, 100, 100, 80, 80, 0) == []


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ((100, 99, 100, 80, 80, 0), "x: 99 of 100 orders decided"),
        ((100, 100, 101, 80, 80, 0), "x: 101 decisions announced for 100 orders"),
        ((100, 100, 100, 80, 81, 0), "x: 81 units taken for 80 accepted"),
        ((100, 100, 100, 80, 80, -1), "x: a SKU has -1 units free"),
    ],
)
def test_each_fault_is_told(outcome: tuple[int, int, int, int, int, int], said: str) -> None:
    """An order lost, a decision twice, a unit taken for nobody, a SKU oversold."""
    assert faults("x", *outcome) == [said]


def test_ratios_compare_ours_with_each_peer() -> None:
    """Ten times the rate at a tenth of the CPU; a peer that was not measured is left out."""
    ours, peer = Sample(1_000, 0.1, 0.03, {"redis": 0.02}), Sample(100, 0.1, 0.03, {"redis": 0.02})
    report = PeersReport({OURS: Series(OURS, [ours]), FAUST: Series(FAUST, [peer])}, {1: 100.0, 8: 300.0, 32: 200.0})
    assert report.ratios() == {"ours_per_faust_rate": 10.0, "ours_per_faust_cpu_saved": 10.0}
    assert report.best_concurrency == 8
    assert report.as_dict()["faust_concurrency"] == 8


def test_slow_ones_get_fewer_orders() -> None:
    """By their share, and never so few that the clocks are too coarse."""
    assert orders_of(OURS, 40_000) == orders_of(BY_HAND, 40_000) == 40_000
    assert orders_of(LOCKS_HOT, 40_000) == 40_000 // SHARES[LOCKS_HOT]
    assert orders_of(LOCKS_HOT, 1_000) == LEAST_ORDERS


def test_a_peers_decision_says_what_ours_says() -> None:
    """Same message type, the units by SKU, a hold with a deadline; a refusal has its reason and holds nothing."""
    (made,) = Orders("t").make(1, lines=5)
    found = job(made.value)
    assert job(made.value).order_id == found.order_id
    assert sum(found.units.values()) == made.units
    key, value = announcement(found, accepted=True, decided_at=AT)
    decision = msgspec.json.decode(value, type=Decision)
    assert key == str(decision.order_id).encode()
    assert (decision.outcome, len(decision.lines)) == (Outcome.ACCEPTED, 5)
    assert decision.held_until == AT + timedelta(minutes=30)
    refused = msgspec.json.decode(announcement(found, accepted=False, decided_at=AT)[1], type=Decision)
    assert (refused.reason, refused.lines, refused.held_until) == (Reason.OUT_OF_STOCK, (), None)


def test_a_peers_row_has_all_lines() -> None:
    """The arguments of its one statement: lines as arrays of equal length, the deadline after the decision."""
    (made,) = Orders("t").make(1, lines=5)
    arguments = row(job(made.value), accepted=True, decided_at=AT)
    assert len(arguments) == 15
    assert [len(column) for column in arguments[-3:]] == [5, 5, 5]
    assert arguments[11] - arguments[6] == HOLD
