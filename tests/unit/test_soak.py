"""A soak without servers: its orders, when memory counts as flat, and what makes it fail."""

from collections import Counter

import pytest

from infra.cli.soak import soak
from infra.embedded import Broker
from infra.workers import Ending
from loadtest.drills.table import DRILLS
from loadtest.generator import GeneratorReport
from loadtest.outcome import SurgeReport
from loadtest.plan import Kind
from loadtest.soak.memory import Course, course, slope_per_window
from loadtest.soak.mix import soak_plan
from loadtest.soak.run import SoakReport, Struck, eligible, failures, recovered_s
from streams.audit import AuditReport
from streams.core.decode import MessageDecoder, Undecodable
from streams.errors import Refused
from streams.messages import Submission

MINUTES = 12


def samples(growth_mb_per_min: float, *, tooth_mb: float = 30.0) -> list[tuple[float, float]]:
    """Samples each two seconds of a role that warms up for two minutes, then grows so fast, with teeth of a minute."""
    return [
        (at, 50 + min(at, 120.0) + tooth_mb * (at % 60) / 60 + growth_mb_per_min * max(0.0, at - 120) / 60)
        for at in range(0, MINUTES * 60, 2)
    ]


@pytest.mark.parametrize(("growth", "is_flat"), [(0.0, True), (1.0, True), (-3.0, True), (2.0, False), (40.0, False)])
def test_growth_after_the_warm_up_is_seen(growth: float, *, is_flat: bool) -> None:
    """Eight bytes an order are; the warm-up itself and a saw that rises and falls within a minute are not."""
    found = course("redis", samples(growth), 1.5, warm_s=180)
    assert found.is_flat is is_flat
    assert found.slope_mb_per_min == pytest.approx(growth, abs=0.1)


def test_a_dent_does_not_turn_the_slope() -> None:
    """A process that was killed begins small; a minute of that is no shrinking, nor is its return a growth."""
    some = [(at, 10.0 if 300 <= at < 420 else mb) for at, mb in samples(0.0)]
    assert course("intake_workers", some, 1.5, warm_s=180).slope_mb_per_min == pytest.approx(0.0, abs=0.1)


def test_too_little_is_not_judged() -> None:
    """Three minutes are no proof, and say so; neither is a role without a bound."""
    assert slope_per_window([1.0, 2.0, 3.0]) is None
    assert course("redis", samples(50.0)[:150], 1.5, warm_s=180).is_flat is None
    assert course("broker", samples(50.0), None, warm_s=180).is_flat is None


def test_the_orders_of_a_soak_are_as_said() -> None:
    """So many first orders, repeats behind them and malformed ones; made anew each time, always the same."""
    plan = soak_plan(20_000, 12, seed=3, run="-3")
    made = list(plan.records)
    assert made == list(plan.records)
    assert Counter(record.kind for record in made) == plan.kinds
    assert plan.total == pytest.approx(20_000, rel=0.01)
    assert sum(plan.sends) == plan.answers
    assert plan.kinds[Kind.REPEAT] / plan.total == pytest.approx(0.05, abs=0.01)
    assert sum(plan.stock.values()) == plan.kinds[Kind.ORDER] == plan.accepted
    seen: set[bytes | None] = set()
    decoder = MessageDecoder(Submission)
    for record in made:
        assert (record.kind == Kind.REPEAT) == (record.key in seen)
        if record.kind == Kind.MALFORMED:
            assert isinstance(decoder.decode(record.head), Undecodable)
        else:
            assert isinstance(decoder.decode(record.head + b'2026-11-11T00:00:00Z"}'), Submission)
            seen.add(record.key)


def test_tansu_is_not_killed() -> None:
    """It keeps all in memory; every fault that needs another broker is left out, and the rest is there."""
    assert "broker-restart" in eligible(Broker.KAFKA)
    assert set(eligible(Broker.TANSU)) == set(eligible(Broker.KAFKA)) - {"broker-restart"}
    assert not any(DRILLS[name].settings.get("prepare") for name in eligible(Broker.KAFKA))


def test_recovery_is_counted_from_each_healing() -> None:
    """The backlog of the first fault is no standard for the second."""
    sent = dict.fromkeys(range(100), 10)
    answered = {slot: 10 for slot in range(100) if not (20 <= slot < 30 or 60 <= slot < 70)} | {35: 110, 80: 110}
    assert recovered_s(sent, answered, 3_000, normal=15) == 0.5
    assert recovered_s(sent, answered, 7_000, normal=15) == 1.0
    assert recovered_s(sent, {}, 3_000, normal=15) is None


def test_what_fails_a_soak() -> None:
    """Books, answers, growth, a death of its own accord, a fault without an end: each by itself."""
    latency_ms = {"p50": 1.0, "p99": 2.0, "p99.9": 3.0, "max": 4.0}

    def surge(*, oversold: int = 0, gone: int = 0) -> SurgeReport:
        books = AuditReport(balanced=not oversold, oversold=oversold)
        generated = GeneratorReport(1, 0, 1, 0.0)
        return SurgeReport(1, 1, {}, 0, 0, 0, 1.0, latency_ms, generated, missing=gone, books=books)

    def report() -> SoakReport:
        return SoakReport(20, 3_200, 60, 1, "kafka")

    assert failures(report(), surge(), [Ending("intake", 0, -9, False), Ending("intake", 1, 0, False)]) == []
    assert any("oversold 2" in line for line in failures(report(), surge(oversold=2), []))
    assert any("3 answers are missing" in line for line in failures(report(), surge(gone=3), []))
    assert any("nobody had killed" in line for line in failures(report(), surge(), [Ending("intake", 0, 1, False)]))
    grown = report()
    grown.memory = [Course("redis", 3.0, [1.0, 9.0], 8.0)]
    assert any("redis grew by 8.0 MB" in line for line in failures(grown, surge(), []))
    stuck = report()
    stuck.faults = [Struck("redis-kill", 30.0)]
    assert any("redis-kill it did not recover" in line for line in failures(stuck, surge(), []))


@pytest.mark.parametrize("asked", [{"minutes": 0.0}, {"rate": 0.0}, {"workers": 0}, {"fault_every_s": 0.0}])
def test_nonsense_is_refused_before_anything_starts(asked: dict[str, float]) -> None:
    """With the options' names."""
    with pytest.raises(Refused, match="--minutes"):
        soak(**asked)  # type: ignore[arg-type]
