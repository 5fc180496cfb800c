"""What `demo`, `surge`, `soak` and `drill` share: rehearsals that speak to people, and bars of progress."""

import contextlib
from collections.abc import Iterator
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from infra import rehearsal
from infra.cli.context import people
from infra.rehearsal import LIFECYCLE_WORKERS, PARTITIONS_A_WORKER, Pids, joined, lasting_broker

if TYPE_CHECKING:
    from loadtest.surge import Show

__all__ = [
    "LIFECYCLE_WORKERS",
    "PARTITIONS_A_WORKER",
    "Pids",
    "joined",
    "lasting_broker",
    "progress",
    "servers",
    "supervised",
]

servers = partial(rehearsal.servers, say=people.print)
supervised = partial(rehearsal.supervised, say=people.print)


@contextlib.contextmanager
def progress() -> "Iterator[Show]":
    """Bars by what is going on, on the standard error stream."""
    bars: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[done]:>17}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[rate]}"), console=people) as shown:
        began: dict[str, float] = {}

        def show(what: str, done: int, of: int) -> None:
            what, _, detail = what.partition(": ")
            if what not in bars:
                bars[what] = shown.add_task(what, total=None, rate="", done="")
                began[what] = monotonic()
            seconds = max(0.001, monotonic() - began[what])
            rate = detail or (f"{done / seconds:,.0f}/s" if done > 1_000 else "")
            counted = f"{done:,}/{of:,}" if of else ""
            shown.update(bars[what], completed=done, total=of or None, rate=rate, done=counted)

        yield show
