"""Processes that are measured: started once, held still while their topic is filled, then let go.

So a round begins with all its records waiting and the process started, connected and assigned, and neither starting
nor joining a group is measured.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from infra.embedded import spawn
from infra.embedded.children import end
from infra.workers import Supervisor
from loadtest.bench import cpu
from streams.errors import Unavailable
from streams.settings import Settings

JOIN_TIMEOUT_S = 60.0
STOP_GRACE_S = 10.0
LOOK_S = 0.01
ASSIGNED, READ = "assigned", "read"
"""First words of the lines that a measured process says."""

Fits = Callable[[list[str]], bool]


class Held:
    """One process by its id."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def hold(self) -> None:
        """Let it stand still."""
        os.kill(self.pid, signal.SIGSTOP)

    def let_go(self) -> float:
        """Let it run; returns the `time.monotonic` of that."""
        began = monotonic()
        os.kill(self.pid, signal.SIGCONT)
        return began

    def cpu_s(self) -> float:
        """CPU it has used, seconds."""
        return cpu.cpu_s(self.pid)


class Told(Held):
    """A process of ours that tells on its output what it has been assigned and how much it has read."""

    def __init__(self, module: str, *arguments: str, log_path: Path, env: Mapping[str, str] | None = None) -> None:
        argv = [sys.executable, "-m", module, *arguments]
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] = spawn(argv, log_path=log_path, env=env)
        super().__init__(self._process.pid)

    async def assigned(self) -> None:
        """Wait until it has partitions. Raises `Unavailable`."""
        await self._until(lambda words: words[0] == ASSIGNED, JOIN_TIMEOUT_S)

    async def read(self, total: int, *, timeout_s: float) -> float:
        """Wait until it has read so many records in all; returns the `time.monotonic` of that by its own clock."""
        words = await self._until(lambda words: words[0] == READ and int(words[1]) >= total, timeout_s)
        return float(words[2])

    def _said(self) -> list[list[str]]:
        text = self._log_path.read_text(errors="replace") if self._log_path.exists() else ""
        whole_lines = text.rpartition("\n")[0].splitlines()  # the last may be half written
        return [words for line in whole_lines if (words := line.split()) and words[0] in (ASSIGNED, READ)]

    async def _until(self, fits: Fits, timeout_s: float) -> list[str]:
        deadline = monotonic() + timeout_s
        while True:
            found = next((words for words in self._said() if fits(words)), None)
            if found is not None:
                return found
            if self._process.poll() is not None or monotonic() > deadline:
                tail = self._log_path.read_text(errors="replace")[-1_500:]
                raise Unavailable(f"{self._log_path.stem} did not get on with it. It said: {tail}")
            await asyncio.sleep(LOOK_S)

    def end(self) -> None:
        """End it."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)
        end(self._process, grace_s=STOP_GRACE_S)


def tell_assigned() -> None:
    """Said by the measured process."""
    print(ASSIGNED, flush=True)


def tell_read(total: int) -> None:
    """Said by the measured process; seldom, for it is part of what is measured."""
    print(READ, total, monotonic(), flush=True)


class Worker(Held):
    """`floodway worker intake` as it is shipped."""

    def __init__(self, settings: Settings, log_dir: Path) -> None:
        self._supervisor = Supervisor(settings, {"intake": 1}, say=lambda _: None, log_dir=log_dir)
        self._supervisor.start()
        super().__init__(self._supervisor.pids()[0])

    async def assigned(self) -> None:
        """Wait until it has partitions. Raises `Unavailable`."""
        deadline = monotonic() + JOIN_TIMEOUT_S
        while not self._supervisor.ready():
            if monotonic() > deadline or not self._supervisor.pids():
                raise Unavailable("The intake worker did not get partitions; see its log.")
            await asyncio.sleep(LOOK_S)

    def end(self) -> None:
        """End it."""
        if self._supervisor.pids():
            os.kill(self.pid, signal.SIGCONT)
        self._supervisor.stop()
