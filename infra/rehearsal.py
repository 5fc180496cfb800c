"""Servers and workers for the time of a rehearsal, whoever stages it: commands, or Locust."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from infra.embedded import Broker, Stack
from infra.embedded.kafka import jars_dir
from infra.workers import Supervisor, worker_argv
from streams.errors import Unavailable
from streams.settings import PREFIX, Settings, load

if TYPE_CHECKING:
    from loadtest.surge import Show

LIFECYCLE_WORKERS = 1
PARTITIONS_A_WORKER = 2
"""The embedded broker looks through a partition from its beginning at each fetch."""
JOIN_TIMEOUT_S = 60.0

Pids = Callable[[], Mapping[str, int]]
"""Tells the process ids of our own servers by name; there are none when the servers are the user's."""
Say = Callable[[str], object]


def lasting_broker() -> Broker:
    """Apache Kafka where it is installed: for what makes millions of records, which tansu keeps in memory."""
    return Broker.KAFKA if jars_dir().is_dir() else Broker.TANSU


@contextlib.contextmanager
def servers(data_dir: Path, broker: Broker = Broker.TANSU, *, say: Say) -> Iterator[tuple[Settings, Pids]]:
    """The user's own servers when the environment names them, else an embedded stack until the end of the block."""
    if PREFIX + "KAFKA_BOOTSTRAP" in os.environ:
        yield load(), dict
        return
    say("Starting Kafka, Redis, Postgres and its replica …")
    with Stack.start(data_dir, fresh=True, broker=broker) as stack:
        settings = load(os.environ | stack.addresses.environment())
        yield settings, stack.pids


@contextlib.asynccontextmanager
async def supervised(
    settings: Settings,
    processes: Mapping[str, int],
    log_dir: Path,
    *,
    say: Say,
    argv: Callable[[str, int], Sequence[str]] = worker_argv,
) -> AsyncIterator[Supervisor]:
    """Workers that run, and are started again when they die, until the end of the block."""
    supervisor = Supervisor(settings, processes, say=say, log_dir=log_dir, argv=argv)
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


async def _keep(supervisor: Supervisor) -> None:
    while True:
        supervisor.look()
        await asyncio.sleep(0.2)
