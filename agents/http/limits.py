"""How much at a time: a bucket for each caller, and gates for what is in hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from agents.http.problems import Refusal, come_again
from agents.http.tokens import Caller


class Rates:
    """A bucket of tokens for each caller, filled at its rate. A batch may take more than there is, and is paid off."""

    def __init__(self, burst_s: float, now_s: Callable[[], float] = monotonic) -> None:
        self._burst_s, self._now_s = burst_s, now_s
        self._buckets: dict[str, tuple[float, float]] = {}
        """By caller: what is in it, and when that was so. Callers are those of the settings, so it is bounded."""

    def take(self, caller: Caller) -> None:
        """Take one. Raises `Refusal` when there is none."""
        left = self._left(caller)
        if left < 1:
            raise _too_many((1 - left) / caller.rate_per_s)
        self._buckets[caller.name] = (left - 1, self._now_s())

    def charge(self, caller: Caller, orders: int) -> None:
        """Take so many, there or not: what lacks keeps the next request waiting."""
        self._buckets[caller.name] = (self._left(caller) - orders, self._now_s())

    def _left(self, caller: Caller) -> float:
        full = max(1.0, caller.rate_per_s * self._burst_s)
        left, at_s = self._buckets.get(caller.name, (full, 0.0))
        return min(full, left + (self._now_s() - at_s) * caller.rate_per_s)


class Gate:
    """At most so many inside at a time."""

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what = most, what
        self.inside = 0

    @property
    def is_full(self) -> bool:
        """Whether nobody more may enter."""
        return self.inside >= self._most

    def refusal(self) -> Refusal:
        """What is said at a full gate."""
        return come_again("busy", f"{self._most} {self._what} are in hand")

    @contextmanager
    def enter(self) -> Iterator[None]:
        """For the time of the block. Raises `Refusal` when it is full."""
        if self.is_full:
            raise self.refusal()
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


def _too_many(after_s: float) -> Refusal:
    return come_again("too_many", "this token's rate is used up", after_s=after_s + 0.5, status=429)
