"""Which orders have had no decision in time. Pure: whoever calls it says what time it is."""

from collections.abc import Callable


class Deadlines:
    """Each order has `timeout_ms` from its intended time. One that is decided later has timed out all the same.

    `before` tells how many orders were meant for before a moment, `is_due` whether an order has no decision yet.
    """

    def __init__(self, before: Callable[[float], int], is_due: Callable[[int], bool], timeout_ms: float) -> None:
        self._before, self._is_due = before, is_due
        self._timeout_ms = timeout_ms
        self._passed = 0
        self.timed_out = 0

    def pass_to(self, now_ms: float, late: list[int], *, of: int) -> int:
        """How many have timed out since the last call; only the first `of` orders count.

        `late` are the orders whose decision came since then, after their time.
        """
        passed = max(self._passed, min(of, self._before(now_ms - self._timeout_ms)))
        # Those passed earlier were counted when they were passed; of the others, the decided ones are not due any more.
        found = sum(1 for order in late if order >= self._passed)
        found += sum(1 for order in range(self._passed, passed) if self._is_due(order))
        self._passed = passed
        self.timed_out += found
        return found
