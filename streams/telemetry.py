"""Counting, in the process that does the work: once a chunk or a batch, never once an order.

Counters and histograms live for as long as the process, in one registry; `/metrics` serves it. How things stand at a
moment (breakers, partitions) is asked for when somebody looks, see `agents.observe`.
"""

import logging
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from streams import metrics
from streams.chunks import Chunk
from streams.metrics import Kind, Metric
from streams.topics import SUBMITTED

REGISTRY = CollectorRegistry()

logger = logging.getLogger(__name__)

LETTERS_PER_S = 5
"""Dead letters logged; all are counted, and kept in their topic."""
MAX_AGE_S = 604_800.0
"""A week, as long as a record is kept: what claims to be older has no clock, and must not spoil the sum."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, which nobody asks for


def counter(metric: Metric) -> Counter:
    """The counter of a declared metric."""
    return Counter(metric.name, metric.help, metric.labels, registry=REGISTRY)


def histogram(metric: Metric) -> Histogram:
    """The histogram of a declared metric."""
    return Histogram(metric.name, metric.help, metric.labels, registry=REGISTRY, buckets=metric.buckets)


def family(metric: Metric, samples: Iterable[tuple[Sequence[object], float]]) -> Family:
    """A declared metric with the values that it has now, each with its labels' values."""
    made: GaugeMetricFamily | CounterMetricFamily
    if metric.kind is Kind.COUNTER:
        made = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    else:
        assert metric.kind is Kind.GAUGE
        made = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        made.add_metric([str(label) for label in labels], value)
    return made


class Many(Collector):
    """A histogram that takes many observations of the same value at once, which the client's cannot."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._bounds = [*metric.buckets, float("inf")]
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        if not metric.labels:
            self.observe(0.0, 0)

    def observe(self, value: float, times: int, *labels: str) -> None:
        """Count a value so many times."""
        counts = self._counts.get(labels)
        if counts is None:
            assert len(labels) == len(self._metric.labels), "a value for each label"
            counts = self._counts[labels] = [0] * len(self._bounds)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, value)] += times
        self._sums[labels] += value * times

    def collect(self) -> Iterator[Family]:
        """See the client."""
        made = HistogramMetricFamily(self._metric.name, self._metric.help, labels=self._metric.labels)
        for labels, counts in self._counts.items():
            reached, buckets = 0, []
            for bound, count in zip(self._bounds, counts, strict=True):
                reached += count
                buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(reached)))
            made.add_metric(labels, buckets, self._sums[labels])
        yield made


RECORDS = counter(metrics.RECORDS)
CHUNK_RECORDS = histogram(metrics.CHUNK_RECORDS)
BATCH_ORDERS = histogram(metrics.BATCH_ORDERS)
STAGE_S = histogram(metrics.STAGE_S)
DECISIONS = counter(metrics.DECISIONS)
REPORTS = counter(metrics.REPORTS)
EXPIRED = counter(metrics.EXPIRED)
DELIVERIES = counter(metrics.DELIVERIES)
DEAD_LETTERS = counter(metrics.DEAD_LETTERS)
PUT_ASIDE = counter(metrics.PUT_ASIDE)
RETRIES = counter(metrics.RETRIES)
FENCED = counter(metrics.FENCED)
REBALANCES = counter(metrics.REBALANCES)
LATENCY_S = Many(metrics.LATENCY_S)
SYNC_DELAY_S = Many(metrics.SYNC_DELAY_S)
REGISTRY.register(LATENCY_S)
REGISTRY.register(SYNC_DELAY_S)

_answer = attrgetter("outcome", "reason", "replay")


def taken(chunk: Chunk) -> None:
    """Count a chunk that was handed to the stages."""
    records = len(chunk.records)
    RECORDS.labels(chunk.topic).inc(records)
    CHUNK_RECORDS.labels(chunk.topic).observe(records)


def announced(intents: Sequence[Any], decisions: Sequence[Any], chunks: Iterable[Chunk], now_ms: int) -> None:
    """Count the decisions of a batch, and how long they took since its chunks' first records were written."""
    BATCH_ORDERS.observe(len(decisions))
    if SAMPLE.one_in:
        SAMPLE.log(intents, decisions)
    for (outcome, reason, replay), count in Tally(map(_answer, decisions)).items():
        DECISIONS.labels(outcome, reason or "", "true" if replay else "false").inc(count)
    for chunk in chunks:
        age_s = (now_ms - chunk.records[0].timestamp) / 1000
        LATENCY_S.observe(min(max(0.0, age_s), MAX_AGE_S), len(chunk.records))


class Sample:
    """Logs one of so many decisions, with where its submission stood and its trace; none for 0."""

    def __init__(self) -> None:
        self.one_in = 0
        self._seen = 0

    def log(self, intents: Sequence[Any], decisions: Sequence[Any]) -> None:
        """Take a batch in. Both run parallel."""
        for at in range(-self._seen % self.one_in, len(decisions), self.one_in):
            intent, decision = intents[at], decisions[at]
            logger.info(
                "decided",
                extra={
                    "trace": decision.trace_id,
                    "order": decision.order_id,
                    "topic": SUBMITTED.name,
                    "partition": intent.partition,
                    "offset": intent.offset,
                    "outcome": decision.outcome.value,
                    "reason": decision.reason and decision.reason.value,
                },
            )
        self._seen += len(decisions)


class Sparingly:
    """Lets so many lines a second be logged; tells with the next how many were left out."""

    def __init__(self, most_per_s: int) -> None:
        self._most_per_s = most_per_s
        self._second, self._logged, self._left_out = 0, 0, 0

    def left_out(self, now_s: float) -> int | None:
        """How many were left out since the last line; None when this one is to be left out too."""
        if int(now_s) != self._second:
            self._second, self._logged = int(now_s), 0
        if self._logged == self._most_per_s:
            self._left_out += 1
            return None
        self._logged += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


SAMPLE = Sample()
_letters = Sparingly(LETTERS_PER_S)


def buried(topic: str, partition: int, offset: int, reason: str, detail: str) -> None:
    """Count a dead letter, and log it; of many at once only some, for a producer gone wrong makes thousands."""
    DEAD_LETTERS.labels(topic, reason).inc()
    left_out = _letters.left_out(monotonic())
    if left_out is not None:
        also = f" (and {left_out} more before it)" if left_out else ""
        extra = {"topic": topic, "partition": partition, "offset": offset, "reason": reason}
        logger.info("buried: %s%s", detail[:200], also, extra=extra)


def reported(types: Iterable[str]) -> None:
    """Count reports that were understood."""
    for kind, count in Tally(types).items():
        REPORTS.labels(kind).inc(count)


def synced(steps: Iterable[tuple[str, datetime]], now: datetime) -> None:
    """Count how late sources were, by the times that they gave, with what was announced just now."""
    for source, occurred_at in steps:
        late_s = (now - occurred_at).total_seconds()
        SYNC_DELAY_S.observe(min(max(0.0, late_s), MAX_AGE_S), 1, source)
