"""Real worker processes under the supervisor, waited for, and killed as the kernel or a person would."""

import asyncio
import os
import queue
import signal
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agents.bootstrap import prepare
from agents.roles import group
from infra.embedded import Stack
from infra.workers import Supervisor
from streams.audit import AuditReport, audit
from streams.parts import Parts
from streams.settings import Settings, load

READY_WITHIN_S = 40.0
LOOK_INTERVAL_S = 0.1


class Workers:
    """Supervised processes, looked after by a thread. `deaths` is what the supervisor said of those that ended."""

    def __init__(self, settings: Settings, log_dir: Path, processes: dict[str, int]) -> None:
        self.deaths: list[str] = []
        self.log_dir = log_dir
        self._supervisor = Supervisor(settings, processes, say=self.deaths.append, log_dir=log_dir)
        self._ended = threading.Event()
        self._orders: queue.Queue[tuple[str, int, threading.Event]] = queue.Queue()
        self._keeper = threading.Thread(target=self._keep, name="keeper")

    def start(self) -> None:
        """Start all, and return when each has had partitions."""
        self._supervisor.start()
        self._keeper.start()
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.ready():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(LOOK_INTERVAL_S)

    def ready(self) -> bool:
        """Whether all run and have had partitions."""
        supervisor = self._supervisor
        return len(supervisor.pids()) == supervisor.ready() == len(supervisor)

    def pids(self, role: str | None = None) -> list[int]:
        """Processes alive."""
        return self._supervisor.pids(role)

    def scale(self, role: str, count: int) -> None:
        """Have so many of a role from now on, and return when they have been started. By the keeper: one may look."""
        done = threading.Event()
        self._orders.put((role, count, done))
        assert done.wait(READY_WITHIN_S)

    def statuses(self) -> list[dict[str, Any]]:
        """What those that have had partitions say of themselves."""
        return self._supervisor.statuses()

    def kill(self, pid: int) -> None:
        """`kill -9`; the supervisor starts another."""
        os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End all."""
        self._ended.set()
        if self._keeper.is_alive():
            self._keeper.join()
        self._supervisor.stop()

    def logs(self) -> str:
        """The last lines of every worker's log: for an assertion's message."""
        files = sorted(self.log_dir.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)

    def _keep(self) -> None:
        while not self._ended.wait(LOOK_INTERVAL_S):
            while not self._orders.empty():
                role, count, done = self._orders.get()
                self._supervisor.scale(role, count)
                done.set()
            self._supervisor.look()


@contextmanager
def workers(settings: Settings, **processes: int) -> Iterator[Workers]:
    """So many processes of each role, ready."""
    with tempfile.TemporaryDirectory(prefix="floodway-") as directory:
        made = Workers(settings, Path(directory), processes)
        try:
            made.start()
            yield made
        finally:
            made.stop()


async def prepared(stack: Stack, **overrides: float | str) -> Settings:
    """Settings for a stack that is ready for the first order; short times, so that deaths are noticed soon."""
    short = {"session_timeout_s": 6.0, "commit_interval_s": 0.3, "retry_max_delay_s": 1.0, "expiry_interval_s": 0.2}
    settings = load(stack.addresses.environment(), **(short | overrides))
    await prepare(settings)
    return settings


async def until(reached: Callable[[], Awaitable[object]], *, within_s: float, what: str) -> None:
    """Wait until `reached` says something true; fails the test when it does not in time."""
    deadline = time.monotonic() + within_s
    while not await reached():
        assert time.monotonic() < deadline, f"gave up waiting: {what}"
        await asyncio.sleep(LOOK_INTERVAL_S)


async def books(parts: Parts, *, wait_s: float = 15.0, settle_s: float = 5.0) -> AuditReport:
    """The audit that `floodway verify` prints."""
    return await audit(parts, group("intake"), wait_s=wait_s, settle_s=settle_s, progress=lambda _: None)
