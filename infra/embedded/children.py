"""Child processes that cannot outlive us: not a normal exit, not a signal, not even `kill -9`.

On Linux the kernel signals the child when its parent dies (PR_SET_PDEATHSIG); elsewhere a small watcher process holds
a pipe from us and signals the child when it closes. Children stand in a session of their own, so that Ctrl-C in the
terminal reaches us alone and we end them in order.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from tempfile import TemporaryFile

HAS_PDEATHSIG = sys.platform == "linux"
LAUNCHER = Path(__file__).with_name("launch.py")
KILL_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class User:
    """Who a child runs as. With `keep_dac` it still passes directories closed to that user (CAP_DAC_OVERRIDE)."""

    uid: int
    gid: int
    keep_dac: bool = False


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What `launch.py` is told, as JSON."""

    argv: list[str]
    parent_pid: int
    death_signal: int
    uid: int | None
    gid: int | None
    keep_dac: bool
    watch_fd: int | None


class _Spawner:
    """One thread that starts all children and lives as long as the process.

    PR_SET_PDEATHSIG fires on the death of the THREAD that made the child; a caller in a short-lived thread (an
    executor, `asyncio.to_thread`) would take its children along.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]
        self._jobs = queue.SimpleQueue()
        self.pid = os.getpid()
        # The write end is never written to: it closes with this process, which is all the watchers wait for.
        self.watch_fd: int | None = None
        if not HAS_PDEATHSIG:
            self.watch_fd, self._held_fd = os.pipe()
        threading.Thread(target=self._run, name="spawner", daemon=True).start()

    def _run(self) -> None:
        while True:
            job, future = self._jobs.get()
            try:
                future.set_result(job())
            except BaseException as error:  # handed to the caller, whose error it is
                future.set_exception(error)

    def start(self, job: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((job, future))
        return future.result()


_spawner_lock = threading.Lock()
_spawner_of_process: list[_Spawner] = []


def _spawner() -> _Spawner:
    with _spawner_lock:
        # A fork copies the list but not the thread.
        if not _spawner_of_process or _spawner_of_process[0].pid != os.getpid():
            _spawner_of_process[:] = [_Spawner()]
        return _spawner_of_process[0]


def spawn(
    argv: Sequence[str | Path],
    *,
    log_path: Path,
    env: Mapping[str, str] | None = None,
    user: User | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start `argv` as a child that dies with this process; its output is appended to `log_path`.

    `env` replaces the environment (by default ours is inherited), `user` is dropped to, `stdin` is what the child
    reads (by default nothing), `death_signal` is what it gets when we die first. The process id is the program's own.
    A program that cannot be started ends with 126 or 127 and the reason in the log. Raises `OSError` when the log
    cannot be opened.
    """
    spawner = _spawner()
    spec = LaunchSpec(
        argv=[str(argument) for argument in argv],
        parent_pid=os.getpid(),
        death_signal=int(death_signal),
        uid=user.uid if user else None,
        gid=user.gid if user else None,
        keep_dac=user.keep_dac if user else False,
        watch_fd=spawner.watch_fd,
    )
    launch = [sys.executable, "-I", "-S", str(LAUNCHER), dumps(asdict(spec))]
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log, TemporaryFile() as standard_input:
        standard_input.write((stdin or "").encode())
        standard_input.seek(0)

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                launch,
                stdin=standard_input,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
                pass_fds=() if spawner.watch_fd is None else (spawner.watch_fd,),
            )

        return spawner.start(start)


def end(child: subprocess.Popen[bytes], *, sign: signal.Signals = signal.SIGTERM, grace_s: float) -> int:
    """Ask `child` to end by `sign`, wait `grace_s`, then kill it and all below it. Returns its exit code."""
    if child.poll() is None:
        child.send_signal(sign)
    try:
        return child.wait(grace_s)
    except subprocess.TimeoutExpired:
        return kill(child)


def kill(child: subprocess.Popen[bytes]) -> int:
    """SIGKILL `child` and every process below it, and wait until they are gone. Returns its exit code."""
    below = {pid: started_at(pid) for pid in descendants(child.pid)} if child.poll() is None else {}
    child.kill()
    for pid, started in below.items():
        kill_pid(pid, started)
    return child.wait(KILL_WAIT_S)


def kill_pid(pid: int, started: str | None, *, wait_s: float = KILL_WAIT_S) -> None:
    """SIGKILL the process `pid` if it is the one that began at `started`, and wait until it is gone."""
    deadline = time.monotonic() + wait_s
    while started is not None and started_at(pid) == started and time.monotonic() < deadline:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """Process ids of all children of `pid`, their children, and so on; empty when it has none or is gone."""
    below: dict[int, list[int]] = {}
    for child, parent in _parents():
        below.setdefault(parent, []).append(child)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = below.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _parents() -> list[tuple[int, int]]:
    """(pid, parent's pid) of every process on the machine."""
    if sys.platform == "linux":  # slim images have no `ps`
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        return [(pid, int(fields[1])) for pid in pids if (fields := _stat(pid))]
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True, timeout=10)
    return [(int(pid), int(parent)) for pid, parent in map(str.split, listing.stdout.splitlines())]


def _stat(pid: int) -> list[str]:
    """Linux' /proc/PID/stat from the third field (state) on; empty when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The second field is the name, in brackets and with any characters: count from its end.
    return text.rpartition(")")[2].split()


def started_at(pid: int) -> str | None:
    """When the process `pid` began, as an opaque text that tells it from a later one of that id; None when gone."""
    if sys.platform == "linux":
        fields = _stat(pid)
        return fields[19] if fields and fields[0] not in "ZX" else None
    listing = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
    )
    state, _, began = listing.stdout.strip().partition(" ")
    return None if not began or state.startswith("Z") else began.strip()


def command_of(pid: int) -> str:
    """The command line of the process `pid`, its arguments joined by spaces; empty when it is gone."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    listing = subprocess.run(
        ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
    )
    return listing.stdout.strip()
