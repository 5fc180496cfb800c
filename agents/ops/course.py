"""How it went: views made one after the other, each over the last seconds, and figures over minutes. Pure."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from agents.ops.view import View, view
from agents.ops.window import Look

WINDOW_S = 5.0
"""Rates and quantiles are those of so many seconds: less jumps with every batch, more hides what happens now."""
KEPT_S = 600.0


@dataclass(frozen=True, slots=True)
class Point:
    """What is drawn over time; None where it was not known."""

    at: datetime
    arriving: float | None
    decided: float | None
    lag: float | None
    oldest_s: float | None
    p50_s: float | None
    p99_s: float | None


@dataclass(slots=True)
class Course:
    """Keeps the looks of a window and the points of ten minutes."""

    points: deque[Point] = field(default_factory=deque)
    newest: View | None = None
    _looks: deque[Look] = field(default_factory=deque)

    def add(self, look: Look, at: datetime) -> View:
        """Take a look in, and tell how it stands."""
        self._looks.append(look)
        while len(self._looks) > 2 and self._looks[1].at_s <= look.at_s - WINDOW_S:
            self._looks.popleft()
        self.newest = seen = view(self._looks[0], look, at)
        lag = seen.lag("intake")
        self.points.append(
            Point(
                at,
                seen.flow.arriving,
                seen.flow.decided,
                None if lag is None else lag.records,
                None if lag is None else lag.oldest_s,
                seen.p50_s,
                seen.p99_s,
            )
        )
        self._forget(at)
        return seen

    def remember(self, points: Iterable[Point]) -> None:
        """Begin with what somebody else has seen before."""
        self.points.extendleft(sorted(points, key=lambda point: point.at, reverse=True))

    def _forget(self, at: datetime) -> None:
        while self.points and (at - self.points[0].at).total_seconds() > KEPT_S:
            self.points.popleft()
