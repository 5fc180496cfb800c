"""What `demo` and `surge` share: servers for the time of a rehearsal, workers, bars of progress."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from infra.cli.context import people
from infra.embedded import Broker, Stack
from infra.embedded.kafka import jars_dir
from infra.workers import Supervisor, worker_argv
from streams.errors import Unavailable
from streams.settings import PREFIX, Settings, load

if TYPE_CHECKING:
    from loadtest.surge import Show

LIFECYCLE_WORKERS = 1
JOIN_TIMEOUT_S = 60.0

Pids = Callable[[], Mapping[str, int]]
"""Tells the process ids of our own servers by name; there are none when the servers are the user's."""


def lasting_broker() -> Broker:
    """Apache Kafka where it is installed: for what makes millions of records, which tansu keeps in memory."""
    return Broker.KAFKA if jars_dir().is_dir() else Broker.TANSU


@contextlib.contextmanager
def servers(data_dir: Path, broker: Broker = Broker.TANSU) -> Iterator[tuple[Settings, Pids]]:
    """The user's own servers when the environment names them, else an embedded stack until the end of the block."""
    if PREFIX + "KAFKA_BOOTSTRAP" in os.environ:
        yield load(), dict
        return
    people.print("Starting Kafka, Redis, Postgres and its replica …")
    with Stack.start(data_dir, fresh=True, broker=broker) as stack:
        settings = load(os.environ | stack.addresses.environment())
        yield settings, stack.pids


@contextlib.asynccontextmanager
async def supervised(
    settings: Settings,
    processes: Mapping[str, int],
    log_dir: Path,
    *,
    argv: Callable[[str, int], Sequence[str]] = worker_argv,
) -> AsyncIterator[Supervisor]:
    """Workers that run, and are started again when they die, until the end of the block."""
    supervisor = Supervisor(settings, processes, say=people.print, log_dir=log_dir, argv=argv)
    supervisor.start()
    keeper = asyncio.create_task(_keep(supervisor))
    try:
        yield supervisor
    finally:
        keeper.cancel()
        supervisor.stop()


async def joined(supervisor: Supervisor, show: "Show") -> None:
    """Wait until every worker has had partitions. Raises `Unavailable`."""
    deadline = monotonic() + JOIN_TIMEOUT_S
    while supervisor.ready() < len(supervisor):
        if monotonic() > deadline:
            raise Unavailable(f"Workers did not get partitions within {JOIN_TIMEOUT_S:g} s; see their logs.")
        show("workers joining", supervisor.ready(), len(supervisor))
        await asyncio.sleep(0.1)
    show("workers joining", len(supervisor), len(supervisor))


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


async def _keep(supervisor: Supervisor) -> None:
    while True:
        supervisor.look()
        await asyncio.sleep(0.2)
