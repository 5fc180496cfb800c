"""The supervisor with real processes: how many there are, and which of them ended how."""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from os import kill
from pathlib import Path

import pytest

from infra.workers import Ending, Supervisor
from streams.settings import Settings

WITHIN_S = 20.0
WORKER = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
pathlib.Path(os.environ["FLOODWAY_READY_FILE"]).write_text(os.environ.get("FLOODWAY_GROUP_INSTANCE_ID", ""))
time.sleep(60)
"""


def argv(role: str, number: int) -> Sequence[str]:
    """A worker that is ready at once, and ends with 0 when asked."""
    return [sys.executable, "-c", WORKER, role, str(number)]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """One intake worker and one lifecycle worker, ready."""
    made = Supervisor(Settings(), {"intake": 1, "lifecycle": 1}, say=lambda _: None, log_dir=tmp_path, argv=argv)
    made.start()
    until(made, lambda: made.ready() == 2)
    yield made
    made.stop()
    assert made.pids() == []


def until(supervisor: Supervisor, reached: Callable[[], bool]) -> None:
    """Look after the processes until something holds."""
    deadline = time.monotonic() + WITHIN_S
    while not reached():
        assert time.monotonic() < deadline
        supervisor.look()
        time.sleep(0.02)


def test_a_role_is_scaled_up_and_down(supervisor: Supervisor) -> None:
    """New ones join those that run; the last ones end in order, were asked to, and are not started again."""
    first = supervisor.pids("intake")
    supervisor.scale("intake", 3)
    until(supervisor, lambda: supervisor.ready() == len(supervisor) == 4)
    assert supervisor.pids("intake")[:1] == first
    supervisor.scale("intake", 1)
    assert len(supervisor) == 2
    until(supervisor, lambda: supervisor.leaving() == 0)
    assert sorted(supervisor.endings) == [Ending("intake", n, 0, was_asked=True) for n in (1, 2)]
    assert supervisor.pids("intake") == first
    assert len(supervisor.pids("lifecycle")) == 1


def test_a_killed_worker_is_started_again_and_is_not_ready_meanwhile(supervisor: Supervisor) -> None:
    """Its end is told with its code; that it was ready before does not count for the next."""
    (before,) = supervisor.pids("intake")
    kill(before, signal.SIGKILL)
    until(supervisor, lambda: supervisor.ready() == 1)
    until(supervisor, lambda: supervisor.ready() == 2)
    assert supervisor.pids("intake") != [before]
    assert supervisor.endings == [Ending("intake", 0, -signal.SIGKILL, was_asked=False)]


def test_each_place_has_an_instance_id_of_its_own_for_good(tmp_path: Path) -> None:
    """Static members: the id with the place's number, the same after a restart; none where none is set."""
    settings = Settings(group_instance_id="host-1")
    made = Supervisor(settings, {"intake": 2, "lifecycle": 1}, say=lambda _: None, log_dir=tmp_path, argv=argv)
    names = ("intake-0", "intake-1", "lifecycle-0")

    def ids() -> list[str]:
        files = [tmp_path / f"{name}.ready" for name in names]
        return [file.read_text() if file.exists() else "" for file in files]

    try:
        made.start()
        until(made, lambda: ids() == ["host-1-0", "host-1-1", "host-1-0"])
        kill(made.pids("intake")[1], signal.SIGKILL)
        until(made, lambda: made.ready() == 2)
        until(made, lambda: ids() == ["host-1-0", "host-1-1", "host-1-0"])
    finally:
        made.stop()


def test_without_an_instance_id_workers_have_none(supervisor: Supervisor, tmp_path: Path) -> None:
    """Their memberships are dynamic."""
    until(supervisor, lambda: supervisor.ready() == 2)
    assert (tmp_path / "intake-0.ready").read_text() == ""


def test_where_a_process_tells_of_itself_is_said_once(tmp_path: Path) -> None:
    """Once for each process, when it is ready; a file of the process before it, or half of one, says nothing."""
    said: list[str] = []
    tells = WORKER.replace(
        'os.environ.get("FLOODWAY_GROUP_INSTANCE_ID", "")', '\'{"pid": %d, "metrics": "http://h:1"}\' % os.getpid()'
    )
    assert tells != WORKER
    made = Supervisor(
        Settings(),
        {"intake": 1},
        say=said.append,
        log_dir=tmp_path,
        argv=lambda role, number: [sys.executable, "-c", tells],
    )
    made.start()
    try:
        until(made, lambda: made.ready() == 1)
        time.sleep(0.1)
        made.say_addresses()
        made.say_addresses()
        assert said == ["intake 0: ready; metrics and health on http://h:1"]
        kill(made.pids()[0], signal.SIGKILL)
        until(made, lambda: made.pids() == [])
        made.say_addresses()
        until(made, lambda: made.ready() == 1)
        time.sleep(0.1)
        made.say_addresses()
        assert [line for line in said if "ready" in line] == said[:1] * 2
    finally:
        made.stop()
