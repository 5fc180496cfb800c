"""Orders for those who submit them over HTTP: each is handed out when it is due, to whoever is free."""

import threading
import time
from itertools import islice
from typing import NamedTuple

from loadtest.plan import finish
from loadtest.swarm.words import Share
from streams.instants import to_datetime

GATHER_S = 0.02
"""A batch is made of what has fallen due within so long."""


class Due(NamedTuple):
    """An order: its message, and when it was meant to be submitted, in milliseconds since 1970."""

    message: bytes
    intended_ms: float


class OrdersDue:
    """A share's orders, one after another. Any number of threads may ask; each order goes to one of them."""

    def __init__(self, share: Share, started_at_ms: int) -> None:
        assert share.schedule is not None, "over HTTP there is always a rate"
        self._schedule = share.schedule
        self._records = iter(share.plan().records)
        self._started_at_ms = started_at_ms
        self.handed_out = 0
        self.late_ms_max = 0.0
        """How long after its time an order was handed out: so long nobody was free, or this process had no time."""
        self._lock = threading.Lock()
        self.stopped = False

    def next(self, most: int) -> list[Due]:
        """Up to so many orders that are due, at least one; none when there are no more. Waits until one is due."""
        with self._lock:
            if self.stopped or self.handed_out >= self._schedule.total:
                return []
            self._sleep_until(self._schedule.at_ms(self.handed_out))
            if most > 1:
                time.sleep(GATHER_S)
            due = self._schedule.before(time.time_ns() / 1e6 - self._started_at_ms)
            count = max(1, min(most, due - self.handed_out))
            late_ms = time.time_ns() / 1e6 - self._started_at_ms - self._schedule.at_ms(self.handed_out)
            self.late_ms_max = max(self.late_ms_max, late_ms)
            first, self.handed_out = self.handed_out, self.handed_out + count
            heads = [record.head for record in islice(self._records, count)]
        return [self._order(first + at, head) for at, head in enumerate(heads)]

    def _order(self, number: int, head: bytes) -> Due:
        intended_ms = self._started_at_ms + self._schedule.at_ms(number)
        stamp = to_datetime(int(intended_ms)).isoformat(timespec="milliseconds").encode()
        return Due(finish(head, stamp), intended_ms)

    def _sleep_until(self, ms: float) -> None:
        left_s = (self._started_at_ms + ms) / 1000 - time.time()
        if left_s > 0:
            time.sleep(left_s)
