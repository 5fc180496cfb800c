"""Worker processes as children that cannot outlive us, started again when they die."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from infra.embedded import spawn
from streams.settings import PREFIX, Settings, environment

LOOK_INTERVAL_S = 0.2
BACKOFF_S = (0.2, 1.0, 5.0, 15.0)
"""Pauses before a worker is started again; the last one for ever. A run of a minute starts over with the first."""
SETTLED_S = 60.0
STOP_WAIT_S = 15.0
LOG_DIR = Path(".floodway/logs")
"""Where logs and ready files of workers are; `floodway exporter` finds them there."""
EXPORTER_FILE = "exporter.url"
"""Beside them, as long as an exporter runs here: where it is. `floodway top` reads it."""


class Ending(NamedTuple):
    """A process that ended: which, with what code, and whether that was asked for by `scale`."""

    role: str
    number: int
    code: int
    was_asked: bool


def worker_argv(role: str, number: int) -> Sequence[str]:
    """What runs in a place: the command `floodway worker ROLE`."""
    return [sys.executable, "-c", "from infra.cli import main; main()", "worker", role]


class _Slot:
    """One place for one worker: the process in it now, and when it may be started again."""

    def __init__(self, role: str, number: int) -> None:
        self.role = role
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.deaths = 0
        self.next_start_at = 0.0
        self.told_pid: int | None = None


class Supervisor:
    """Keeps a number of processes of each role running. Their logs are `<log_dir>/<role>-<n>.log`."""

    def __init__(
        self,
        settings: Settings,
        processes: Mapping[str, int],
        *,
        say: Callable[[str], object],
        log_dir: Path = LOG_DIR,
        argv: Callable[[str, int], Sequence[str]] = worker_argv,
    ) -> None:
        self.endings: list[Ending] = []
        """Every process that has ended and was not ended by `stop`, in the order of being noticed."""
        self._argv = argv
        self._leaving: list[_Slot] = []
        self._environ = _environ(settings)
        self._instance_id = settings.group_instance_id
        self._log_dir = log_dir
        self._say = say
        self._slots = [_Slot(role, n) for role, count in processes.items() for n in range(count)]
        self._stopping = False

    def start(self) -> None:
        """Start all."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        for slot in self._slots:
            self._start(slot)

    def look(self) -> None:
        """Start again what has died and has waited long enough. Call it a few times a second."""
        now = time.monotonic()
        for slot in list(self._leaving):
            if slot.process is None or slot.process.poll() is not None:
                self._leaving.remove(slot)
                self._note_end(slot, was_asked=True)
        for slot in self._slots:
            if slot.process is not None and slot.process.poll() is not None:
                self._bury(slot, now)
            if slot.process is None and now >= slot.next_start_at and not self._stopping:
                self._start(slot)

    def scale(self, role: str, count: int) -> None:
        """Have so many places for a role from now on: start new ones, or ask the last ones to end, in order.

        Who is asked to end is noticed by `look`, and killed only by `stop`.
        """
        have = [slot for slot in self._slots if slot.role == role]
        for slot in have[count:]:
            self._slots.remove(slot)
            if slot.process is not None and slot.process.poll() is None:
                slot.process.terminate()
            self._leaving.append(slot)
        for number in range(len(have), count):
            slot = _Slot(role, number)
            self._slots.append(slot)
            self._start(slot)

    def leaving(self) -> int:
        """How many were asked to end by `scale` and have not been seen to have done so."""
        return len(self._leaving)

    def pids(self, role: str | None = None) -> list[int]:
        """Ids of the processes alive, of one role or all."""
        return [
            slot.process.pid
            for slot in self._slots
            if slot.process is not None and slot.process.poll() is None and role in {None, slot.role}
        ]

    def ready(self) -> int:
        """How many are alive and have had partitions since they were started."""
        return sum(
            slot.process is not None and slot.process.poll() is None and self._ready_file(slot).exists()
            for slot in self._slots
        )

    def say_addresses(self) -> None:
        """Say once of each process that is ready where its `/metrics` are. Call it as often as `look`."""
        for slot in self._slots:
            pid = None if slot.process is None else slot.process.pid
            if pid is None or slot.told_pid == pid or not (file := self._ready_file(slot)).exists():
                continue
            told = _told(file)
            if told.get("pid") == pid and "metrics" in told:
                slot.told_pid = pid
                self._say(f"{slot.role} {slot.number}: ready; metrics and health on {told['metrics']}")

    def statuses(self) -> list[dict[str, Any]]:
        """What the workers that have had partitions say of themselves, see `agents.status`."""
        files = [file for slot in self._slots if (file := self._ready_file(slot)).exists()]
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    def __len__(self) -> int:
        return len(self._slots)

    def stop(self) -> None:
        """End all, gracefully within a bound, then by force. Idempotent."""
        self._stopping = True
        alive = [slot.process for slot in (*self._slots, *self._leaving) if slot.process is not None]
        for process in alive:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_WAIT_S
        for process in alive:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, each_look: Callable[["Supervisor"], object] = lambda _: None) -> int:
        """Start all and keep them until a signal says to end; `each_look` is called with each look at them."""
        ended = []

        def end(number: int, _frame: FrameType | None) -> None:
            ended.append(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        self.start()
        try:
            while not ended:
                time.sleep(LOOK_INTERVAL_S)
                self.look()
                self.say_addresses()
                each_look(self)
        finally:
            self.stop()
        return 0

    def _start(self, slot: _Slot) -> None:
        argv = self._argv(slot.role, slot.number)
        log_path = self._log_dir / f"{slot.role}-{slot.number}.log"
        ready_file = self._ready_file(slot)
        ready_file.unlink(missing_ok=True)
        environ = {**self._environ, f"{PREFIX}READY_FILE": str(ready_file)}
        if self._instance_id is not None:  # the same after each restart; a role is a group of its own
            environ[f"{PREFIX}GROUP_INSTANCE_ID"] = f"{self._instance_id}-{slot.number}"
        slot.process = spawn(argv, log_path=log_path, env=environ)
        slot.started_at = time.monotonic()

    def _ready_file(self, slot: _Slot) -> Path:
        return self._log_dir / f"{slot.role}-{slot.number}.ready"

    def _bury(self, slot: _Slot, now: float) -> None:
        assert slot.process is not None
        if now - slot.started_at > SETTLED_S:
            slot.deaths = 0
        pause_s = BACKOFF_S[min(slot.deaths, len(BACKOFF_S) - 1)]
        self._say(
            f"{slot.role} {slot.number} ended with {slot.process.returncode}; again in {pause_s:g} s. "
            f"See {self._log_dir / f'{slot.role}-{slot.number}.log'}."
        )
        self._note_end(slot, was_asked=False)
        slot.deaths += 1
        slot.next_start_at = now + pause_s
        slot.process = None

    def _note_end(self, slot: _Slot, *, was_asked: bool) -> None:
        if slot.process is not None and slot.process.returncode is not None:
            self.endings.append(Ending(slot.role, slot.number, slot.process.returncode, was_asked))


def _told(ready_file: Path) -> dict[str, Any]:
    """What a process tells of itself; nothing while it writes that."""
    try:
        found = json.loads(ready_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _environ(settings: Settings) -> dict[str, str]:
    """Our environment with all settings spelled out, so that children run with exactly these."""
    return {**os.environ, **environment(settings)}
