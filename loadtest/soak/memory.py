"""Memory of each role over time, and whether it is flat. Only its own: shared buffers fill until they are full."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median
from time import monotonic
from typing import Any

from loadtest.processes import Roots, anonymous_mb, available, stats, tree

LOOK_S = 2.0
WINDOW_S = 60.0
"""Of so much time the highest counts: Redis drops a generation of what it remembers once in `RETENTION_S`, which makes
teeth, and a fault makes a dent."""
LEAST_WINDOWS = 4
"""So many after the warm-up make a slope; fewer are no proof of anything."""


@dataclass(slots=True)
class Course:
    """One role. `slope_mb_per_min` is the median of the slopes between all windows; None if there were too few."""

    role: str
    most_mb_per_min: float | None
    """What it may grow by; None for what is not judged."""
    windows_mb: list[float] = field(default_factory=list)
    slope_mb_per_min: float | None = None

    @property
    def is_flat(self) -> bool | None:
        """None when that cannot be told, or is not asked."""
        if self.most_mb_per_min is None or self.slope_mb_per_min is None:
            return None
        return self.slope_mb_per_min <= self.most_mb_per_min

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "most_mb_per_min": self.most_mb_per_min,
            "slope_mb_per_min": self.slope_mb_per_min,
            "is_flat": self.is_flat,
            "highest_by_minute_mb": self.windows_mb,
        }


def slope_per_window(highest: Sequence[float]) -> float | None:
    """The median of the slopes between any two windows: a few of them, in which something died, do not turn it."""
    if len(highest) < LEAST_WINDOWS:
        return None
    return median((b - a) / (j - i) for (i, a), (j, b) in combinations(enumerate(highest), 2))


def course(role: str, samples: Sequence[tuple[float, float]], most: float | None, *, warm_s: float) -> Course:
    """From samples of seconds and MB. The last window may be a part of one, and is left out with less than half."""
    by_window: dict[int, list[float]] = {}
    for at_s, mb in samples:
        by_window.setdefault(int(at_s / WINDOW_S), []).append(mb)
    last_s = samples[-1][0] if samples else 0.0
    windows = {n: max(some) for n, some in by_window.items() if last_s - n * WINDOW_S >= WINDOW_S / 2}
    warm = [mb for n, mb in sorted(windows.items()) if n * WINDOW_S >= warm_s]
    slope = slope_per_window(warm)
    per_min = None if slope is None else round(slope * 60 / WINDOW_S, 2)
    return Course(role, most, [round(mb, 1) for _, mb in sorted(windows.items())], per_min)


class Watch:
    """Looks at roles every `LOOK_S` until it is cancelled."""

    def __init__(self, roles: Mapping[str, Roots]) -> None:
        self._roles = roles
        self.samples: dict[str, list[tuple[float, float]]] = {role: [] for role in roles}

    async def run(self) -> None:
        """Look, and look again."""
        began = monotonic()
        while available():
            now = await asyncio.to_thread(self._look)
            for role, mb in now.items():
                self.samples[role].append((monotonic() - began, mb))
            await asyncio.sleep(LOOK_S)

    def _look(self) -> dict[str, float]:
        everybody = stats()
        found = {}
        for role, roots in self._roles.items():
            pids = [pid for root in roots() for pid in tree(root, everybody)]
            if pids:  # else it is being started again
                found[role] = anonymous_mb(pids)
        return found
