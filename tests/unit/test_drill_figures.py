"""Drills without servers: when the fault comes, what the figures around it are, and what makes a drill fail."""

from dataclasses import replace
from functools import cache
from random import Random

import pytest

from infra.cli.drill import drill as command
from infra.embedded import Broker
from infra.workers import Ending
from loadtest.drills.drill import Drill, Load, NoFault, moment
from loadtest.drills.floods import POISON_SHARE, TIMES
from loadtest.drills.report import (
    DrillReport,
    around,
    failures,
    first_answer_s,
    longest_gap_s,
    opened,
    recovered_s,
    vacuous,
)
from loadtest.drills.run import planned
from loadtest.drills.table import DRILLS, PAIRABLE, pair
from loadtest.generator import SLOT_MS, GeneratorReport
from loadtest.outcome import SurgeReport
from loadtest.plan import Kind, Plan
from streams.audit import AuditReport
from streams.errors import Refused

PARTITIONS = 12
START_MS = 1_790_000_000_000
FIRST = START_MS // SLOT_MS
SMALL = Load(rate_per_s=300.0)
QUIET = Drill("quiet", "Nothing.", NoFault, lasts_s=(1.0, 4.0), load=SMALL, may_announce_again=False)


def small(name: str) -> Drill:
    """A drill with a tenth of its surge."""
    drill = DRILLS[name]
    return replace(drill, load=replace(drill.load, rate_per_s=drill.load.rate_per_s / 10))


@cache
def plan_of(drill: str) -> Plan:
    """The surge of a drill, made once. Not to be changed."""
    return planned(QUIET if drill == QUIET.name else small(drill), PARTITIONS, 1)


def clean(plan: Plan) -> SurgeReport:
    """A surge from which nothing is missing."""
    books = AuditReport(balanced=True, dead_lettered=plan.kinds[Kind.MALFORMED])
    books.pools = {f"promo:{name}": {"free": 0, "held": units, "sold": 0} for name, units in plan.promised.items()}
    latency_ms = {"p50": 1.0, "p99": 2.0, "p99.9": 3.0, "max": 1_234.0}
    generated = GeneratorReport(plan.total, START_MS, START_MS + 1_000, 0.0)
    return SurgeReport(plan.total, plan.answers, {}, 0, 0, 0, 100.0, latency_ms, generated, books=books)


def test_a_seed_chooses_one_moment_in_the_middle_third() -> None:
    """The same seed gives the same moment and length, others give others, none is outside."""
    moments = [moment(QUIET, 12.0, Random(seed)) for seed in range(200)]
    assert moments == [moment(QUIET, 12.0, Random(seed)) for seed in range(200)]
    assert len(set(moments)) == 200
    assert all(4.0 <= m.at_s <= 8.0 and 1.0 <= m.lasts_s <= 4.0 for m in moments)
    assert min(m.at_s for m in moments) < 4.2
    assert max(m.at_s for m in moments) > 7.8


def test_a_seed_makes_one_surge() -> None:
    """Records, stock and promises are those of the seed."""
    one, same, other = (planned(small("poison-flood"), PARTITIONS, seed) for seed in (3, 3, 4))
    assert (list(one.records), one.stock, one.promised) == (list(same.records), same.stock, same.promised)
    assert list(one.records) != list(other.records)


def test_poison_is_so_large_a_share_and_the_plan_knows() -> None:
    """Six of ten records are malformed, all over the surge, and as many dead letters are due."""
    plan = plan_of("poison-flood")
    kinds = [record.kind for record in plan.records]
    assert kinds.count(Kind.MALFORMED) == plan.kinds[Kind.MALFORMED]
    assert kinds.count(Kind.MALFORMED) / len(kinds) == pytest.approx(POISON_SHARE, abs=0.001)
    assert len(kinds) == plan.total
    for begin in range(0, len(kinds) - 500, 500):
        assert 0.5 < kinds[begin : begin + 500].count(Kind.MALFORMED) / 500 < 0.7


def test_every_order_comes_five_times_and_is_due_five_answers() -> None:
    """Each well-formed record of the mix is there five times, its number is due as many answers as it is sent."""
    plan = plan_of("duplicate-flood")
    records = list(plan.records)
    assert len(records) == plan.total
    assert sum(plan.sends) == plan.answers
    assert all(sends % TIMES == 0 and sends >= TIMES for sends in plan.sends)
    kinds = {kind: sum(record.kind == kind for record in records) for kind in Kind}
    assert kinds == {kind: plan.kinds[kind] for kind in Kind}
    assert kinds[Kind.REPEAT] > 4 * kinds[Kind.ORDER] == 4 * len(plan.sends)


def test_the_longest_gap_is_that_between_answers() -> None:
    """What is before the first and behind the last is no gap; slots without any count as none."""
    assert longest_gap_s({FIRST: 3, FIRST + 1: 1, FIRST + 12: 2, FIRST + 13: 0, FIRST + 14: 1}) == 1.0
    assert longest_gap_s({}) == longest_gap_s({FIRST: 1}) == 0.0


def test_recovery_counts_from_healing_to_the_lag_of_before() -> None:
    """A pipeline that stands for two seconds and then takes twice the rate has caught up two seconds later."""
    sent = {FIRST + i: 100 for i in range(100)}
    answered = {FIRST + i: 100 for i in range(1, 31)}  # one slot late: a lag of 100 is normal
    answered |= {FIRST + i: 200 for i in range(51, 71)}
    answered |= {FIRST + i: 100 for i in range(71, 101)}
    fault_ms, healed_ms = START_MS + 3_000.0, START_MS + 5_000.0
    assert first_answer_s(answered, healed_ms) == 0.1
    assert recovered_s(sent, answered, fault_ms, healed_ms, 0) == 2.0
    assert recovered_s(sent, answered, fault_ms, healed_ms, 1_000) == 1.1
    never = {slot: count for slot, count in answered.items() if slot < FIRST + 60}
    assert recovered_s(sent, never, fault_ms, healed_ms, 0) is None
    assert first_answer_s(never, START_MS + 6_000) is None


def test_a_surge_without_a_fault_has_no_recovery() -> None:
    """Only the figures of the surge itself are told."""
    plan = plan_of("quiet")
    report = DrillReport("quiet", 1, "tansu")
    around(report, clean(plan), None, None)
    assert (report.worst_latency_s, report.injected_at_s, report.recovered_s) == (1.2, None, None)


def test_a_clean_run_has_no_failures() -> None:
    """What comes out as planned passes, for every drill's surge."""
    plan = plan_of("quiet")
    assert plan.promised
    assert failures(QUIET, plan, clean(plan)) == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("missing", "2 answers are missing"),
        ("again", "3 answers came again"),
        ("books", "do not balance: lost_holds 4"),
        ("waiting", "5 submissions are not committed"),
        ("review", "6 submissions are still under review"),
        ("letters", "dead letters of"),
        ("promise", "units and more buyers"),
        ("sent", "records were sent, not"),
    ],
)
def test_everything_that_must_hold_can_fail(what: str, words: str) -> None:
    """Each fault alone is one failure with its number."""
    plan = plan_of("quiet")
    surge = clean(plan)
    match what:
        case "missing":
            surge.missing = 2
        case "again":
            surge.repeated = 3
        case "books":
            surge.books.lost_holds = 4
        case "waiting":
            surge.books.waiting = 5
        case "review":
            surge.books.under_review = 6
        case "letters":
            surge.books.dead_lettered -= 1
        case "promise":
            next(iter(surge.books.pools.values()))["held"] -= 1
        case "sent":
            surge.submitted -= 1
    found = failures(QUIET, plan, surge)
    assert len(found) == 1
    assert words in found[0]


def test_a_fault_that_stopped_nothing_fails_its_drill() -> None:
    """Where nothing can be decided during the fault, decisions must have paused; elsewhere they need not."""
    report = DrillReport("network-cut-redis", 1, "tansu", longest_gap_s=0.4)
    assert "nothing was put to the test" in vacuous(DRILLS["network-cut-redis"], report, 4.0)[0]
    assert vacuous(DRILLS["network-delay-kafka"], report, 4.0) == []
    report.longest_gap_s = 3.9
    assert vacuous(DRILLS["network-cut-redis"], report, 4.0) == []


def test_a_breaker_that_should_have_opened_and_did_not_fails_its_drill() -> None:
    """By what the workers say: each breaker's times are added up, those of others do not count."""
    report = DrillReport("redis-slow", 1, "tansu")
    quiet = {"breakers": {"redis": {"opened": 0}, "postgres": {"opened": 2}}}
    report.breakers_opened = opened([quiet, quiet])
    assert report.breakers_opened == {"postgres": 4}
    assert vacuous(DRILLS["redis-slow"], report, 4.0) == ["The breaker of redis opened in no worker."]
    report.breakers_opened = opened([quiet, {"breakers": {"redis": {"opened": 1}}}])
    assert vacuous(DRILLS["redis-slow"], report, 4.0) == []


def test_a_worker_that_died_by_itself_fails_its_drill() -> None:
    """Killed ones and those told to end do not count, nor where one may die."""
    plan = plan_of("quiet")
    asked = [Ending("intake", 0, -9, was_asked=False), Ending("intake", 1, 0, was_asked=True)]
    assert failures(QUIET, plan, clean(plan), asked) == []
    died = [*asked, Ending("lifecycle", 0, 1, was_asked=False)]
    assert failures(QUIET, plan, clean(plan), died) == ["Workers ended that nobody had killed: lifecycle 0 with 1."]
    assert failures(replace(QUIET, may_die=True), plan, clean(plan), died) == []


def test_answers_may_come_again_where_somebody_dies() -> None:
    """A killed worker's last announcements are repeated by the next: told, and no failure."""
    plan = plan_of("quiet")
    surge = clean(plan)
    surge.repeated = 3
    assert failures(DRILLS["worker-kill"], plan, surge) == []


def test_two_at_once_are_of_different_parts() -> None:
    """No pair has both faults on one server or link, every fault is drawn, and a seed draws the same pair."""
    pairs = [pair(Random(seed)) for seed in range(500)]
    assert pairs == [pair(Random(seed)) for seed in range(500)]
    for first, second in pairs:
        part = {name for name in ("worker", "redis", "postgres", "kafka") if name in first.name and name in second.name}
        assert not part, (first.name, second.name)
    assert {drill.name for both in pairs for drill in both} == set(PAIRABLE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--list tells"),
        ({"name": "worker-kill", "all_": True}, "--list tells"),
        ({"name": "nonesuch"}, "no drill 'nonesuch'"),
        ({"name": "worker-kill", "rounds": 0}, "--rounds 0"),
        ({"name": "worker-kill", "rate": -1.0}, "--rate -1"),
        ({"name": "broker-kill", "broker": Broker.TANSU}, "needs --broker kafka"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_starts(options: dict[str, object], words: str) -> None:
    """With words that name the option, or what there is."""
    with pytest.raises(Refused, match=words):
        command(**options)  # type: ignore[arg-type]
