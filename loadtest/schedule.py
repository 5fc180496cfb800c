"""When each order is meant to be submitted: rates that change over time, and each storefront's share of them.

Pure, and fixed before the first order is sent, so that nothing that happens later moves an order's intended time.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import ceil, sqrt

import msgspec


class Phase(msgspec.Struct, frozen=True):
    """A stretch of time in which the rate, in orders a second, goes from one value to another in a straight line."""

    name: str
    seconds: float
    from_per_s: float
    to_per_s: float

    @property
    def orders(self) -> float:
        """Orders that fall due in it."""
        return self.seconds * (self.from_per_s + self.to_per_s) / 2


class Schedule:
    """Order k, from 0, is meant for the moment at which k orders are due. Times in milliseconds since the start.

    Share `index` of `of` has every `of`-th order, beginning with that number, under numbers of its own from 0.
    """

    def __init__(self, phases: Sequence[Phase], *, index: int = 0, of: int = 1) -> None:
        assert 0 <= index < of
        assert phases, "a schedule has at least one phase"
        self.phases = tuple(phases)
        self._index, self._of = index, of
        self._begin_s = [0.0, *accumulate(phase.seconds for phase in phases)]
        self._begin_orders = [0.0, *accumulate(phase.orders for phase in phases)]
        self.seconds = self._begin_s[-1]
        self.total = self._before(self._begin_orders[-1])

    @classmethod
    def steady(cls, rate_per_s: float, orders: int) -> "Schedule":
        """So many orders at one rate."""
        return cls([Phase("steady", orders / rate_per_s, rate_per_s, rate_per_s)])

    def before(self, ms: float) -> int:
        """How many orders are meant for before this moment."""
        return self._before(self._due(ms / 1000))

    def at_ms(self, order: int) -> float:
        """When an order is meant to be submitted."""
        due = order * self._of + self._index
        at = min(bisect_right(self._begin_orders, due), len(self.phases)) - 1
        phase, left = self.phases[at], due - self._begin_orders[at]
        slope = (phase.to_per_s - phase.from_per_s) / phase.seconds
        # Of the two forms of the root this one stays exact when the rate hardly changes.
        into_s = 2 * left / (phase.from_per_s + sqrt(max(0.0, phase.from_per_s**2 + 2 * slope * left))) if left else 0.0
        return (self._begin_s[at] + into_s) * 1000

    def within(self, begin_s: float, end_s: float) -> float:
        """Orders of all shares together that fall due between two moments."""
        return self._due(end_s) - self._due(begin_s)

    def starts_s(self) -> list[float]:
        """When each phase begins."""
        return self._begin_s[:-1]

    def jumps_s(self) -> list[float]:
        """Moments at which the rate leaps up, by half or more: there a queue for a moment is what is to be expected."""
        leaps = []
        for (before, after), begin_s in zip(pairwise(self.phases), self._begin_s[1:], strict=False):
            if after.from_per_s >= 1.5 * before.to_per_s:
                leaps.append(begin_s)
        return leaps

    def _before(self, due: float) -> int:
        # Sums of fractions may come out a hair above a whole number of orders.
        return max(0, ceil((due - self._index) / self._of - 1e-6))

    def _due(self, s: float) -> float:
        if s <= 0:
            return 0.0
        at = bisect_right(self._begin_s, s) - 1
        if at >= len(self.phases):
            return self._begin_orders[-1]
        phase, into_s = self.phases[at], s - self._begin_s[at]
        slope = (phase.to_per_s - phase.from_per_s) / phase.seconds
        return self._begin_orders[at] + into_s * (phase.from_per_s + slope * into_s / 2)
