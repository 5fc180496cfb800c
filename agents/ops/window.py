"""What workers did between two looks at their counters: pure. As Prometheus' `increase` and `histogram_quantile` do."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.exporter.scraping import Labels, Told
from streams.metrics import Metric

Buckets = Sequence[tuple[float, float]]
"""Upper bound and how many are not above it, by bound."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was read at a moment of a clock that only goes forward. `exporter` is None when it did not answer."""

    at_s: float
    workers: Sequence[Told]
    exporter: Told | None = None


class Window:
    """Two looks. A worker counts from the second look at it on; one that began anew counts from nothing."""

    def __init__(self, before: Look, now: Look) -> None:
        self.seconds = max(0.0, now.at_s - before.at_s)
        earlier = {told.url: told for told in before.workers}
        self._pairs = [(earlier[told.url], told) for told in now.workers if told.url in earlier]

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be said of it: no time went by, or no worker was there at both ends."""
        return not self._pairs or self.seconds <= 0

    def only(self, url: str) -> "Window":
        """The same of one worker."""
        made = Window(Look(0.0, ()), Look(self.seconds, ()))
        made._pairs = [pair for pair in self._pairs if pair[1].url == url]
        return made

    def grown(self, name: str) -> dict[Labels, float]:
        """By how much each series of a counter grew, over all workers."""
        found: dict[Labels, float] = {}
        for before, now in self._pairs:
            for labels, grown in _grown(before.samples.get(name, {}), now.samples.get(name, {})).items():
                found[labels] = found.get(labels, 0.0) + grown
        return found

    def per_s(self, metric: Metric, **wanted: str) -> float | None:
        """How fast a counter grew, over the series with these labels; None when nothing is known."""
        if self.is_empty:
            return None
        chosen = wanted.items()
        return sum(grown for labels, grown in self.grown(metric.name).items() if chosen <= labels) / self.seconds

    def by(self, metric: Metric, label: str, **wanted: str) -> dict[str, float]:
        """How fast a counter grew, by one of its labels."""
        found: dict[str, float] = {}
        for labels, grown in self.grown(metric.name).items():
            if grown and wanted.items() <= labels and not self.is_empty:
                value = dict(labels).get(label, "")
                found[value] = found.get(value, 0.0) + grown / self.seconds
        return found

    def buckets(self, metric: Metric, **wanted: str) -> Buckets:
        """A histogram of what was observed in between, over all workers."""
        found: dict[float, float] = {}
        for labels, grown in self.grown(f"{metric.name}_bucket").items():
            if wanted.items() <= labels:
                bound = float(dict(labels)["le"])
                found[bound] = found.get(bound, 0.0) + grown
        return sorted(found.items())

    def mean(self, metric: Metric, **wanted: str) -> float | None:
        """The mean of what was observed in between; None when nothing was."""
        sums, counts = self.grown(f"{metric.name}_sum"), self.grown(f"{metric.name}_count")
        count = sum(grown for labels, grown in counts.items() if wanted.items() <= labels)
        total = sum(grown for labels, grown in sums.items() if wanted.items() <= labels)
        return total / count if count else None


def quantile(buckets: Buckets, share: float) -> float | None:
    """The value that this share of the observations is not above, evenly spread within its bucket; None without any.

    What lies beyond the last finite bound is told as that bound.
    """
    count = buckets[-1][1] if buckets else 0.0
    if count <= 0:
        return None
    rank, low, below = share * count, 0.0, 0.0
    for bound, reached in buckets:
        if math.isinf(bound):
            return low
        if reached >= rank and reached > below:
            return low + (bound - low) * max(0.0, rank - below) / (reached - below)
        low, below = bound, max(below, reached)
    return low


def _grown(before: Mapping[Labels, float], now: Mapping[Labels, float]) -> dict[Labels, float]:
    """A process that began anew has lost all counts of a metric, so all of them are from nothing, or none is."""
    if any(value < before.get(labels, 0.0) for labels, value in now.items()):
        return dict(now)
    return {labels: value - before.get(labels, 0.0) for labels, value in now.items()}
