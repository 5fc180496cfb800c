"""Static membership: a worker that comes back under its id keeps its partitions, and nobody else's are moved."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from transport_kafka import produce

from agents.bootstrap import prepare
from agents.roles import group
from infra.embedded import Broker, Stack
from infra.workers import Supervisor
from streams.settings import Settings, load
from streams.stores.kafka_access import access
from streams.stores.reader_kafka import lag
from streams.topics import SUBMITTED

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.only_on(Broker.KAFKA, reason="tansu knows no static members"),
]

PARTITIONS = 4
SESSION_S = 45.0
"""Longer than a worker takes to come back, also on a busy machine."""


@pytest.fixture(scope="module")
def settings(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack that is ready for the first order."""
    with Stack.start(tmp_path_factory.mktemp("static"), broker=broker) as stack:
        bounds = {"session_timeout_s": SESSION_S, "topic_partitions": PARTITIONS, "dead_letter_max_share": 1.0}
        found = load(stack.addresses.environment(), **bounds)
        asyncio.run(prepare(found))
        yield found


@contextmanager
def two_workers(settings: Settings, directory: Path) -> Iterator[Supervisor]:
    """Two intake workers under a supervisor that looks after them."""
    supervisor = Supervisor(settings, {"intake": 2}, say=print, log_dir=directory)
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            supervisor.look()

    keeper = threading.Thread(target=look)
    supervisor.start()
    keeper.start()
    try:
        yield supervisor
    finally:
        ended.set()
        keeper.join()
        supervisor.stop()


def wait_for(reached: Callable[[], object], what: str, within_s: float = 90.0) -> None:
    """Wait; fails the test when it takes too long."""
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def all_read(settings: Settings) -> bool:
    """Whether nothing waits any more."""
    return asyncio.run(lag(access(settings), group("intake"), SUBMITTED.name))[0] == 0


@pytest.mark.parametrize(
    "instance", [pytest.param("host-1", id="static"), pytest.param(None, id="dynamic", marks=pytest.mark.slow)]
)
def test_a_worker_that_comes_back_moves_nobody(settings: Settings, tmp_path: Path, instance: str | None) -> None:
    """Killed and started again under its id: it has partitions before its session is over, the other kept its own.

    Without an id the other is given partitions anew. All is read in any case; each time that a worker is given
    partitions it touches its ready file.
    """
    static = replace(settings, group_instance_id=instance)
    mine, other = tmp_path / "intake-0.ready", tmp_path / "intake-1.ready"
    with two_workers(static, tmp_path) as supervisor:
        wait_for(lambda: supervisor.ready() == 2, "two workers get partitions")
        asyncio.run(produce(settings.kafka_bootstrap, SUBMITTED.name, dict.fromkeys(range(PARTITIONS), 50)))
        wait_for(lambda: all_read(settings), "all is read")
        settled = other.stat().st_mtime_ns
        victim = supervisor.pids("intake")[0]
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: not mine.exists(), "it is started again")
        wait_for(mine.exists, "it has partitions again", within_s=3 * SESSION_S if instance is None else SESSION_S)
        print(f"back after {time.monotonic() - began:.1f} s of a session of {SESSION_S:g} s")
        asyncio.run(produce(settings.kafka_bootstrap, SUBMITTED.name, dict.fromkeys(range(PARTITIONS), 50)))
        wait_for(lambda: all_read(settings), "all is read again")
        assert (other.stat().st_mtime_ns == settled) is (instance is not None)
        assert supervisor.ready() == 2
