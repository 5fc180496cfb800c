"""The embedded stack: a Kafka-protocol broker, Valkey, PostgreSQL and its streaming replica, as our children.

PostgreSQL's and Valkey's data survive a restart. The broker keeps topics in memory only: after a restart of it they
are gone and must be created again; nothing may rely on a broker that creates them by itself.
"""

import atexit
import contextlib
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from infra.embedded import logs
from infra.embedded.addresses import HOST, Addresses, Part
from infra.embedded.binaries import KAFKA_ENV, REDIS_CONF, Binaries, find_binaries, servers_user
from infra.embedded.children import User, end, kill, spawn
from infra.embedded.postgres import IS_STREAMING_SQL, Postgres, delete_cluster, servers_environment
from infra.embedded.probes import kafka_answers, redis_answers, wait_until
from infra.embedded.state import Layout, Process, State, choose_ports, lock
from streams.errors import StackError

# A server that ends is noticed at once; these bound one that hangs, or reads a large log back in.
READY_TIMEOUT_S = {Part.KAFKA: 10.0, Part.REDIS: 120.0, Part.POSTGRES: 120.0, Part.REPLICA: 30.0}

# How each ends in order, and how long it may take before it is killed.
# PostgreSQL's SIGINT ("fast") writes a checkpoint.
STOP_SIGNAL = {
    Part.KAFKA: signal.SIGTERM,
    Part.REDIS: signal.SIGTERM,
    Part.POSTGRES: signal.SIGINT,
    Part.REPLICA: signal.SIGINT,
}
STOP_GRACE_S = {Part.KAFKA: 1.0, Part.REDIS: 10.0, Part.POSTGRES: 20.0, Part.REPLICA: 10.0}
# The primary before the replica, which takes its last records first.
STOP_ORDER = (Part.KAFKA, Part.REDIS, Part.POSTGRES, Part.REPLICA)

# When we are killed, or give up. PostgreSQL's SIGQUIT ("immediate") takes its processes and shared memory along, which
# SIGKILL would not.
DEATH_SIGNAL = {
    Part.KAFKA: signal.SIGKILL,
    Part.REDIS: signal.SIGKILL,
    Part.POSTGRES: signal.SIGQUIT,
    Part.REPLICA: signal.SIGQUIT,
}
# PostgreSQL itself gives its processes 5 s before it kills them.
ABANDON_GRACE_S = 6.0


class Stack:
    """Four running servers, owned by this process; made by `start`, ended by `stop` or with the `with` block."""

    def __init__(self, layout: Layout, ports: dict[Part, int], binaries: Binaries, lock_file: IO[str]) -> None:
        self.addresses = Addresses.of_ports(ports)
        self._layout = layout
        self._ports = ports
        self._binaries = binaries
        self._lock_file = lock_file
        self._user: User | None = servers_user(layout.data_dir)
        self._postgres = Postgres(binaries.postgres_bin, layout, self._user)
        self._children: dict[Part, subprocess.Popen[bytes]] = {}
        self._owner_pid = os.getpid()
        self._is_up = False

    @classmethod
    def start(cls, data_dir: Path, *, fresh: bool = False) -> "Stack":
        """Start all four under `data_dir` and return when each answers and the replica streams.

        Ports of the previous run are used again where they are free. `fresh` deletes all data first. Raises
        `StackError`, with nothing left running, when the directory is in use or a server does not come up.
        """
        binaries = find_binaries()
        layout = Layout(data_dir.resolve())
        lock_file = lock(layout)
        try:
            before = State.read(layout)
            if before is not None:
                before.end_leftovers()
            if fresh:
                _wipe(layout)
            stack = cls(layout, choose_ports(before.ports if before else {}), binaries, lock_file)
        except BaseException:
            lock_file.close()
            raise
        try:
            stack._start_parts()
        except BaseException:
            stack.abandon()
            raise
        atexit.register(stack.stop)
        return stack

    def _start_parts(self) -> None:
        for part in Part:
            logs.rotate(self._layout.log_path(part))
        # These two get ready while PostgreSQL does its longer work.
        self._launch(Part.KAFKA)
        self._launch(Part.REDIS)
        self._postgres.ensure_primary()
        self._launch(Part.POSTGRES)
        self._await(Part.POSTGRES)
        self._start_replica()
        self._await(Part.KAFKA)
        self._await(Part.REDIS)
        self._is_up = True
        self._remember()

    def _start_replica(self) -> None:
        copied = self._postgres.ensure_replica(self._ports[Part.POSTGRES])
        self._launch(Part.REPLICA)
        try:
            self._await(Part.REPLICA)
        except StackError:
            if copied:
                raise
            # Its data is a copy: rather than mend it, make it again.
            kill(self._children[Part.REPLICA])
            self._postgres.remake_replica(self._ports[Part.POSTGRES])
            self._launch(Part.REPLICA)
            self._await(Part.REPLICA)

    def _launch(self, part: Part) -> None:
        env = servers_environment()
        match part:
            case Part.KAFKA:
                url = f"tcp://{self.addresses.kafka_bootstrap}"
                argv: list[str | Path] = [self._binaries.tansu, "broker", "--listener-url", url]
                argv += ["--advertised-listener-url", url]
                env |= _env_file(KAFKA_ENV)
            case Part.REDIS:
                directory = self._layout.part_dir(part)
                directory.mkdir(mode=0o700, exist_ok=True)
                self._postgres.own(directory)
                argv = [self._binaries.valkey, REDIS_CONF, "--port", str(self._ports[part])]
                argv += ["--bind", HOST, "--dir", directory]
            case Part.POSTGRES:
                self._postgres.forget_strangers_pid(part)
                argv = self._postgres.primary_argv(self._ports[part])
            case Part.REPLICA:
                self._postgres.forget_strangers_pid(part)
                argv = self._postgres.replica_argv(self._ports[part], self._ports[Part.POSTGRES])
        self._children[part] = spawn(
            argv,
            log_path=self._layout.log_path(part),
            env=env,
            user=self._user,
            # Not the project: the broker would read a `.env` there.
            cwd=Path("/"),
            death_signal=DEATH_SIGNAL[part],
        )
        self._remember()

    def _is_ready(self, part: Part) -> bool:
        port = self._ports[part]
        match part:
            case Part.KAFKA:
                return kafka_answers(port)
            case Part.REDIS:
                return redis_answers(port, self._children[part].pid)
            case Part.POSTGRES:
                return self._postgres.query(port, "SELECT 1") == "1"
            case Part.REPLICA:
                return (
                    self._postgres.query(port, "SELECT pg_is_in_recovery()") == "t"
                    and self._postgres.query(self._ports[Part.POSTGRES], IS_STREAMING_SQL) == "1"
                )

    def _await(self, part: Part) -> None:
        child = self._children[part]
        wait_until(lambda: child.poll() is not None or self._is_ready(part), timeout_s=READY_TIMEOUT_S[part])
        code = child.poll()
        if code is not None:
            problem = f"ended with code {code} instead of starting"
        elif not self._is_ready(part):
            problem = f"did not get ready within {READY_TIMEOUT_S[part]:.0f} s"
        else:
            return
        raise StackError(
            f"The embedded {part} {problem}. If the cause below is its data, `floodway up --fresh` starts anew and "
            f"deletes it. {logs.tail(self._layout.log_path(part))}"
        )

    def _remember(self) -> None:
        alive = {part: Process.of(child.pid) for part, child in self._children.items()}
        children = {part: process for part, process in alive.items() if process is not None}
        owner = Process.of(self._owner_pid) if self._is_up else None
        State(self._ports, owner, children).write(self._layout)

    def pids(self) -> dict[Part, int]:
        """The process ids of the parts that run."""
        return {part: child.pid for part, child in self._children.items() if child.poll() is None}

    def log_path(self, part: Part) -> Path:
        """The file that holds what `part` says."""
        return self._layout.log_path(part)

    def kill(self, part: Part) -> None:
        """SIGKILL `part` and all its processes, as a crash would; it stays down until `restart`."""
        kill(self._children[part])

    def restart(self, part: Part) -> None:
        """Start `part` again at the same address, ending it in order first if it runs. Raises `StackError`.

        Returns when it is ready, and after the primary when the replica streams again. A broker comes back empty.
        """
        end(self._children[part], sign=STOP_SIGNAL[part], grace_s=STOP_GRACE_S[part])
        if part is Part.REPLICA:
            self._start_replica()
        else:
            self._launch(part)
            self._await(part)
        if part is Part.POSTGRES and Part.REPLICA in self.pids():
            self._await(Part.REPLICA)

    def stop(self) -> None:
        """End all parts in order, within their time limits, and leave the data for the next start. Idempotent."""
        if not self._is_ours():
            return
        self._is_up = False
        self._remember()
        for part in (Part.KAFKA, Part.REDIS, Part.POSTGRES):
            child = self._children[part]
            if child.poll() is None:
                child.send_signal(STOP_SIGNAL[part])
        for part in STOP_ORDER:
            end(self._children[part], sign=STOP_SIGNAL[part], grace_s=STOP_GRACE_S[part])
        self._release()

    def abandon(self) -> None:
        """End all parts at once, as a crash would; what was committed survives. Idempotent."""
        if not self._is_ours():
            return
        for part, child in self._children.items():
            if child.poll() is None:
                child.send_signal(DEATH_SIGNAL[part])
        for part, child in self._children.items():
            end(child, sign=DEATH_SIGNAL[part], grace_s=ABANDON_GRACE_S)
        self._release()

    def _is_ours(self) -> bool:
        # A fork of this process has the object but not the servers.
        return not self._lock_file.closed and os.getpid() == self._owner_pid

    def _release(self) -> None:
        atexit.unregister(self.stop)
        with contextlib.suppress(OSError):  # the directory may be gone, as those of tests are
            State(self._ports).write(self._layout)
        self._lock_file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _wipe(layout: Layout) -> None:
    try:
        for part in Part:
            for directory in (layout.part_dir(part), layout.part_dir(part).with_suffix(".new")):
                delete_cluster(directory)
    except PermissionError as error:
        raise StackError(
            f"{error.filename} cannot be deleted ({error.strerror}): another user ran the stack there. Go on as that "
            "user, or give another directory with --data-dir."
        ) from error


def _env_file(path: Path) -> dict[str, str]:
    """The NAME=value lines of a file in the format that Compose's `env_file` takes."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
