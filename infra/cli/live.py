"""How a surge goes while it runs: a line that is drawn anew on a terminal, else a line every few seconds."""

import contextlib
from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table

from infra.cli.context import people

if TYPE_CHECKING:
    from loadtest.surge import Now, Tell

WINDOW_S = 1.0
"""Rates are those of the last second."""
LINE_S = 5.0


class Rates:
    """Sent and decided per second, over the last second."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()

    def per_s(self, now: "Now", at_s: float) -> tuple[float, float]:
        """Take how it stands at a time, and tell both rates."""
        self._seen.append((at_s, now.sent, now.decided))
        while len(self._seen) > 2 and self._seen[1][0] <= at_s - WINDOW_S:
            self._seen.popleft()
        began, sent, decided = self._seen[0]
        seconds = max(0.001, at_s - began)
        return (now.sent - sent) / seconds, (now.decided - decided) / seconds


@contextlib.contextmanager
def live() -> "Iterator[Tell]":
    """Takes how a surge stands, several times a second, and shows it on the standard error stream."""
    rates = Rates()
    if people.is_terminal:
        with Live(console=people, auto_refresh=False) as shown:
            yield lambda now: shown.update(_table(now, *rates.per_s(now, monotonic())), refresh=True)
        return
    began = told_at = monotonic()

    def tell(now: "Now") -> None:
        nonlocal told_at
        sent_per_s, decided_per_s = rates.per_s(now, monotonic())
        if monotonic() - told_at < LINE_S:
            return
        told_at = monotonic()
        people.print(
            f"{told_at - began:5.0f} s  sent {now.sent:,}/{now.total:,} at {sent_per_s:,.0f}/s  decided "
            f"{now.decided:,} at {decided_per_s:,.0f}/s  lag {_lag(now):,}  p99 {now.p99_ms:,.0f} ms",
            soft_wrap=True,
        )

    yield tell


def _lag(now: "Now") -> int:
    return max(0, now.sent - now.decided)


def _table(now: "Now", sent_per_s: float, decided_per_s: float) -> Table:
    table = Table("", "orders", "per second")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("sent", f"{now.sent:,} of {now.total:,}", f"{sent_per_s:,.0f}")
    table.add_row("decided", f"{now.decided:,} of {now.answers:,}", f"{decided_per_s:,.0f}")
    table.add_row("lag", f"{_lag(now):,}", "")
    table.add_row("latency p99 of the last second", f"{now.p99_ms:,.0f} ms", "")
    return table
