"""What is counted is declared, is counted right, and costs an order next to nothing."""

from dataclasses import dataclass, field
from time import process_time

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from streams import metrics, telemetry, timing
from streams.messages import Outcome, Reason
from streams.metrics import ALL, Kind, Teller

DECISIONS_MOST_US = 0.5
"""Of processor time for each decision counted; a tenth of it where nobody else computes."""


@dataclass(frozen=True)
class Decided:
    """What is counted of a decision."""

    outcome: Outcome
    reason: Reason | None = None
    replay: bool = False


@dataclass(frozen=True)
class Record:
    """One of the same kind as all others."""

    timestamp: int
    offset: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass
class Chunk:
    """What is looked at of a chunk: when its first record was written, and how many there are."""

    written_ms: int
    length: int
    topic: str = "orders.submitted.v1"
    partition: int = 0
    records: list[Record] = field(init=False)

    def __post_init__(self) -> None:
        self.records = [Record(self.written_ms)] * self.length

    def acknowledge(self) -> bool:
        """Nobody asks."""
        raise AssertionError


def value(name: str, **labels: str) -> float:
    """A sample as it stands, 0 when there is none."""
    return telemetry.REGISTRY.get_sample_value(name, labels) or 0.0


def test_every_instrument_is_declared() -> None:
    """What the registry of a worker serves has a declaration of that name, kind and help."""
    declared = {metric.name.removesuffix("_total"): metric for metric in ALL if metric.teller is Teller.WORKER}
    served = [one for one in telemetry.REGISTRY.collect() if one.name.startswith("floodway")]
    assert len(served) > 12
    for one in served:
        assert (one.type, one.documentation) == (declared[one.name].kind.value, declared[one.name].help), one.name


def test_names_follow_the_rules() -> None:
    """Snake case with a prefix; histograms have growing buckets; units are base units."""
    for metric in ALL:
        assert metric.name.startswith(("floodway_", "kafka_")), metric.name
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets)), metric.name
        assert not metric.name.endswith(("_ms", "_milliseconds", "_mb", "_percent")), metric.name
        assert metric.help.endswith("."), metric.name


def test_a_batch_is_counted_by_answer_and_age() -> None:
    """Decisions by outcome, reason and replay; all records of a chunk with the age of its first."""
    out = {"outcome": "rejected", "reason": "out_of_stock", "replay": "false"}
    again = {"outcome": "accepted", "reason": "", "replay": "true"}
    before = [value("floodway_decisions_total", **labels) for labels in (out, again)]
    slow_before = value("floodway_decision_latency_seconds_bucket", le="0.5")
    fast_before = value("floodway_decision_latency_seconds_bucket", le="0.1")
    decisions = [Decided(Outcome.REJECTED, Reason.OUT_OF_STOCK)] * 3 + [Decided(Outcome.ACCEPTED, None, True)] * 2
    telemetry.announced(decisions, decisions, [Chunk(9_600, 4), Chunk(9_950, 1)], 10_000)
    assert [value("floodway_decisions_total", **labels) for labels in (out, again)] == [before[0] + 3, before[1] + 2]
    assert value("floodway_decision_latency_seconds_bucket", le="0.1") == fast_before + 1
    assert value("floodway_decision_latency_seconds_bucket", le="0.5") == slow_before + 5


def test_a_clock_ahead_of_ours_makes_no_negative_age() -> None:
    """A producer whose clock is ahead is counted as answered at once; the sum never falls."""
    before = value("floodway_decision_latency_seconds_sum")
    telemetry.announced([], [], [Chunk(99_000, 1)], 10_000)
    assert value("floodway_decision_latency_seconds_sum") == before


def test_many_at_once_is_the_same_as_one_by_one() -> None:
    """The histogram of ours gives what the client's gives for the same observations, bounds included."""
    ours, registry = telemetry.Many(metrics.LATENCY_S), CollectorRegistry()
    theirs = Histogram("other", "x", registry=registry, buckets=metrics.LATENCY_S.buckets)
    for seconds, times in ((0.01, 3), (0.0101, 1), (4_000.0, 2), (0.5, 7)):
        ours.observe(seconds, times)
        for _ in range(times):
            theirs.observe(seconds)
    assert buckets(ours) == buckets(registry)


def buckets(told: Collector | CollectorRegistry) -> dict[float, float]:
    """Counts by upper bound."""
    samples = [sample for one in told.collect() for sample in one.samples if sample.name.endswith("_bucket")]
    return {float(sample.labels["le"]): sample.value for sample in samples}


async def test_a_stage_that_fails_is_timed_too() -> None:
    """Both forms of the stop-watch count calls that return and calls that raise."""

    @timing.timed("reserve")
    async def waits(fails: bool) -> None:
        if fails:
            raise RuntimeError

    @timing.timed_at_once("decode")
    def works(fails: bool) -> int:
        return 1 // (not fails)

    before = [value("floodway_stage_duration_seconds_count", stage=stage) for stage in ("reserve", "decode")]
    await waits(False)
    with pytest.raises(RuntimeError):
        await waits(True)
    works(False)
    with pytest.raises(ZeroDivisionError):
        works(True)
    after = [value("floodway_stage_duration_seconds_count", stage=stage) for stage in ("reserve", "decode")]
    assert after == [before[0] + 2, before[1] + 2]


def test_what_is_served_can_be_read() -> None:
    """Prometheus' own parser takes the text, quotes and line ends in labels too."""
    telemetry.DEAD_LETTERS.labels('a"b\n', "empty").inc()
    read = {one.name: one for one in text_string_to_metric_families(generate_latest(telemetry.REGISTRY).decode())}
    assert 'a"b\n' in {sample.labels["topic"] for sample in read["floodway_dead_letters"].samples}


def test_counting_costs_an_order_next_to_nothing() -> None:
    """Batches of 1,000 are counted in well under a microsecond of processor time for each decision."""
    decisions = [Decided(Outcome.ACCEPTED)] * 900 + [Decided(Outcome.REJECTED, Reason.BUYER_LIMIT)] * 100
    chunks = [Chunk(9_600, 500), Chunk(9_700, 500)]
    spent_s = []
    for _ in range(20):
        began = process_time()
        telemetry.taken(chunks[0])
        telemetry.announced(decisions, decisions, chunks, 10_000)
        spent_s.append(process_time() - began)
    assert min(spent_s) * 1e6 / len(decisions) < DECISIONS_MOST_US
