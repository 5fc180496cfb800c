"""A surge passes only if everything is right; each thing that is wrong is said, and enough to fail it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loadtest.generator import GeneratorReport
from loadtest.outcome import SurgeReport, outcome
from loadtest.plan import Kind, Plan
from loadtest.processes import Cost
from loadtest.tally import Second, TallyReport, report_bytes, report_from
from streams.audit import AuditReport

START_MS = 1_790_000_000_000
SLOT = START_MS // 100
SENT = GeneratorReport(100, START_MS, START_MS + 1_000, 3.0, {SLOT: 60, SLOT + 5: 40})
SEEN = TallyReport(
    decided=100,
    accepted=70,
    rejected={"out_of_stock": 10},
    replayed=20,
    accepted_by_promotion={"p": 7},
    last_at_ms=START_MS + 2_000,
    latency_ms={"p50": 1.0},
    seconds=[Second(0, 30, 1.0, 2.0), Second(2, 70, 3.0, 4.0)],
    decided_by_slot={SLOT + 4: 30, SLOT + 20: 70},
)


def plan() -> Plan:
    """80 orders and 20 repeats of them; 70 must be accepted, 7 of them in a promotion."""
    kinds = Counter({Kind.ORDER: 80, Kind.REPEAT: 20})
    return Plan(kinds=kinds, accepted=70, rejected={"out_of_stock": 10}, promised={"p": 7})


def report(seen: TallyReport = SEEN, *, dead: int = 0, **options: Any) -> SurgeReport:
    """The outcome of that plan, with books that balance."""
    made = outcome(plan(), seen, SENT, dead, **options)
    return replace(made, books=AuditReport(balanced=True))


def test_what_came_as_planned_passes() -> None:
    """With figures that follow from what was sent and seen: rates over two seconds, the backlog, second by second."""
    found = report(costs={"redis": Cost(1_000, 5.0), "observer": Cost(500, 9.0)})
    assert found.passed
    assert found.failures() == []
    assert (found.orders_per_s, found.accepted_per_s, found.rejected_per_s, found.replayed_per_s) == (50, 35, 5, 10)
    assert (found.sent_per_s, found.seconds, found.lag_peak) == (100, 2.0, 70)
    assert found.cpu_us_per_order == {"redis": 10.0, "observer": 5.0, "pipeline": 10.0, "total": 15.0}
    assert found.peak_rss_mb == {"redis": 5.0, "observer": 9.0}
    moments = [(m.sent, m.decided, m.lag, m.p50_ms, m.p99_ms) for m in found.moments]
    assert moments == [(100, 30, 70, 1.0, 2.0), (0, 0, 70, 0.0, 0.0), (0, 70, 0, 3.0, 4.0)]


WRONG: list[tuple[str, Callable[[TallyReport], object]]] = [
    ("1 answers are missing", lambda seen: setattr(seen, "missing", 1)),
    ("2 decisions were announced beyond", lambda seen: setattr(seen, "repeated", 2)),
    ("without exactly one first decision: 1, planned 0", lambda seen: setattr(seen, "not_decided_once", 1)),
    ("accepted: 69, planned 70", lambda seen: setattr(seen, "accepted", 69)),
    ("replayed: 21, planned 20", lambda seen: setattr(seen, "replayed", 21)),
    ("conflicts: 1, planned 0", lambda seen: setattr(seen, "conflicts", 1)),
    ("rejected as buyer_limit: 1, planned 0", lambda seen: seen.rejected.update(buyer_limit=1)),
    ("rejected as out_of_stock: 9, planned 10", lambda seen: seen.rejected.update(out_of_stock=9)),
    ("accepted in p: 8, planned 7", lambda seen: seen.accepted_by_promotion.update(p=8)),
]


@pytest.mark.parametrize(("words", "spoil"), WRONG, ids=[words for words, _ in WRONG])
def test_each_deviation_fails_and_is_said(words: str, spoil: Callable[[TallyReport], object]) -> None:
    """One thing otherwise than planned is enough."""
    seen = report_from(report_bytes(SEEN))  # a copy, dicts and all
    spoil(seen)
    found = report(seen)
    assert not found.passed
    assert any(words in failure for failure in found.failures()), found.failures()


def test_dead_letters_that_nobody_planned_fail() -> None:
    """They are submissions that went astray."""
    assert "Not as planned: dead letters: 1, planned 0." in report(dead=1).failures()


def test_books_that_do_not_balance_fail() -> None:
    """Whatever was announced."""
    found = replace(report(), books=AuditReport(balanced=False))
    assert not found.passed
    assert found.failures() == ["The books do not balance."]


def test_a_rate_is_reached_or_the_surge_fails_and_says_who_was_slow() -> None:
    """95 % will do; below that either the pipeline did not keep up, or the generator could not."""
    assert report(asked_per_s=52.0).passed
    behind = report(asked_per_s=80.0)
    assert not behind.passed
    assert behind.came_as_planned
    assert "50 of 80 orders/s (62%)" in behind.failures()[0]
    assert "the pipeline did not keep up: its last decision came 0.8 s after" in behind.failures()[0]
    assert "In a run this short" in behind.failures()[0]
    long = replace(behind, submitted=4_000, orders_per_s=50.0, seconds=80.0)
    assert "came 30.0 s after" in long.failures()[0]
    assert "In a run this short" not in long.failures()[0]
    assert "this machine cannot make that load" in report(asked_per_s=200.0).failures()[0]


def test_json_has_units_in_its_names() -> None:
    """What machines read: the verdict, rates, costs, books, at the top level."""
    said = report(asked_per_s=50.0).as_dict()
    wanted = {"passed", "balanced", "missing", "repeated", "orders_per_s", "accepted_per_s", "rejected_per_s"}
    wanted |= {"replayed_per_s", "latency_ms", "cpu_us_per_order", "peak_rss_mb", "lag_peak", "per_second", "books"}
    assert wanted <= said.keys()
    assert said["balanced"] is True
