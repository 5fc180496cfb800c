"""What a front process counts: requests by route, method and status, how long they took, and what is in hand."""

from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from streams import metrics
from streams.telemetry import Many, family

NO_ROUTE = "none"
"""What was asked for and is not there; its path could be anything."""


class Requests(Collector):
    """Counts plainly, for it is done once a request: the client's counters take seven times as long."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], int] = {}
        self._took_s = Many(metrics.HTTP_TOOK_S)
        self.in_hand: Callable[[], int] = int
        self.backlog_bytes: Callable[[], int] = int

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one that was answered."""
        key = route, method, status
        self._counts[key] = self._counts.get(key, 0) + 1
        self._took_s.observe(seconds, 1, route)

    def collect(self) -> Iterator[Family]:
        """See the client."""
        yield family(metrics.HTTP_REQUESTS, list(self._counts.items()))
        yield from self._took_s.collect()
        yield family(metrics.HTTP_IN_HAND, [((), self.in_hand())])
        yield family(metrics.HTTP_BACKLOG, [((), self.backlog_bytes())])
