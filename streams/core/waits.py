"""How long records have waited to be consumed, told from where a topic ended and how far its group had come. Pure.

Not by the records' own times: those are their producers', and a replay keeps them. A record has waited at least since
the first look at which its partition ended behind it.
"""

from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta

Positions = Mapping[int, int]


class Waits:
    """Of one topic and group. Looks are kept for `memory`, so nothing is known to wait for longer than that."""

    def __init__(self, memory: timedelta = timedelta(hours=2)) -> None:
        self._memory = memory
        self._ends: deque[tuple[datetime, dict[int, int]]] = deque()

    def look(self, now: datetime, ends: Positions, committed: Positions) -> tuple[int, datetime | None]:
        """How many records are not consumed, and since when the one that waits longest was seen; None without any."""
        self._ends.append((now, dict(ends)))
        while now - self._ends[0][0] > self._memory:
            self._ends.popleft()
        waiting = {p: end - committed.get(p, 0) for p, end in ends.items() if end > committed.get(p, 0)}
        if not waiting:
            return 0, None
        since = next(at for at, then in self._ends if any(then.get(p, 0) > committed.get(p, 0) for p in waiting))
        return sum(waiting.values()), since
