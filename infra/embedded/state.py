"""What a data directory remembers of its stack: who runs it, where it listens, which processes it has.

`stack.json` tells other processes, and the next start. The lock is the truth about who may write: the kernel drops it
with its holder, however that dies.
"""

import fcntl
import json
import os
import random
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from infra.embedded.addresses import HOST, Addresses, Broker, Part, Standby
from infra.embedded.children import kill_pid, started_at
from streams.errors import StackError

# Below the range that Linux hands out to outgoing connections (32768 and up), so that none can take a port
# between our choice and the server's bind.
PORT_MIN, PORT_MAX = 20_000, 29_999
PORT_TRIES_MAX = 200
# Longer than PostgreSQL takes for its own immediate shutdown, which gives its processes 5 s.
LEFTOVER_WAIT_S = 7.0


class InUse(StackError):
    """The data directory belongs to a stack of another process."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process and when it began: together they name it for good, a process id alone is used again."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """The living process `pid`, or None."""
        started = started_at(pid)
        return cls(pid, started) if started is not None else None

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return started_at(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything lies in a data directory."""

    data_dir: Path

    @property
    def state_path(self) -> Path:
        """The addresses and processes, as JSON."""
        return self.data_dir / "stack.json"

    @property
    def lock_path(self) -> Path:
        """Locked while a stack lives here; holds the process id of its owner."""
        return self.data_dir / "lock"

    def log_path(self, server: str) -> Path:
        """What a server says; the end of what it said in the run before stands beside it with `.1`."""
        return self.data_dir / "logs" / f"{server}.log"

    def part_dir(self, server: str) -> Path:
        """The data of a server."""
        return self.data_dir / server


@dataclass(frozen=True, slots=True)
class State:
    """The content of `stack.json`. Without an owner the stack is down; the ports are kept for the next start."""

    ports: dict[str, int]
    owner: Process | None = None
    children: dict[str, Process] = field(default_factory=dict)
    broker: Broker = Broker.TANSU
    nodes: int = 1
    standby: Standby = Standby.NONE
    primary: Part = Part.POSTGRES
    """Whose data directory has the primary: the replica's, once it was promoted."""

    @property
    def addresses(self) -> Addresses:
        """Where its servers listen."""
        return Addresses.of_ports(self.ports, self.broker, self.nodes, self.standby)

    def write(self, layout: Layout) -> None:
        """Replace the file in one step, so that a reader never sees half of it."""
        document = {
            "owner": _as_json(self.owner),
            "broker": self.broker,
            "nodes": self.nodes,
            "standby": self.standby,
            "primary": self.primary,
            "ports": dict(self.ports),
            "children": {server: _as_json(child) for server, child in self.children.items()},
            "environment": self.addresses.environment(),
        }
        beside = layout.state_path.with_suffix(".json.new")
        beside.write_text(json.dumps(document, indent=2) + "\n")
        beside.replace(layout.state_path)

    @classmethod
    def read(cls, layout: Layout) -> "State | None":
        """The state, or None when there is none or it makes no sense."""
        try:
            document = json.loads(layout.state_path.read_text())
            state = cls(
                ports={str(name): int(port) for name, port in document["ports"].items()},
                owner=Process(**document["owner"]) if document["owner"] else None,
                children={str(name): Process(**child) for name, child in document["children"].items()},
                broker=Broker(document["broker"]),
                nodes=int(document["nodes"]),
                standby=Standby(document.get("standby", Standby.NONE)),
                primary=Part(document.get("primary", Part.POSTGRES)),
            )
            assert state.addresses  # every part has its port
            return state
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def end_leftovers(self) -> None:
        """Wait for children of a killed owner, which are dying already; kill what is still there after that."""
        deadline = time.monotonic() + LEFTOVER_WAIT_S
        for child in self.children.values():
            while child.is_alive() and time.monotonic() < deadline:
                time.sleep(0.02)
            kill_pid(child.pid, child.started)


def _as_json(process: Process | None) -> dict[str, int | str] | None:
    return {"pid": process.pid, "started": process.started} if process else None


def running(data_dir: Path) -> Addresses | None:
    """Where the stack of `data_dir` listens; None when none is up, also when its owner was killed."""
    state = State.read(Layout(data_dir.resolve()))
    if state is None or state.owner is None or not state.owner.is_alive():
        return None
    return state.addresses


def owner_pid(data_dir: Path) -> int | None:
    """The process that holds the data directory, ready or still starting; None when none does."""
    try:
        with Layout(data_dir.resolve()).lock_path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        text = Layout(data_dir.resolve()).lock_path.read_text().strip()
        return int(text) if text.isdecimal() else 0


def lock(layout: Layout) -> IO[str]:
    """Take the data directory for this process until the returned file is closed.

    Raises `InUse` when another process has it, `StackError` when it belongs to another user.
    """
    try:
        layout.data_dir.mkdir(parents=True, exist_ok=True)
        file = layout.lock_path.open("a+")
    except PermissionError as error:
        raise StackError(
            f"{layout.data_dir} cannot be written ({error.strerror}). If another user ran the stack there, go on as "
            "that user, or give another directory with --data-dir."
        ) from error
    try:
        # `owner_pid` holds a shared lock for an instant: that must not look like another stack.
        for _ in range(5):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise InUse(
            f"{layout.data_dir} is in use by the stack of process {holder}. Use that one (`floodway up` prints its "
            "addresses), end it with Ctrl-C, or give another directory with --data-dir."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def choose_ports(wanted: Mapping[str, int], names: Iterable[str] = tuple(Part)) -> dict[str, int]:
    """A free port for each name, the wanted one where it is free. Raises `StackError` when there are none."""
    with ExitStack() as held:  # all at once, so that no two get the same one
        return {str(name): _free_port(wanted.get(name), held) for name in names}


def _free_port(wanted: int | None, held: ExitStack) -> int:
    tries = [random.randint(PORT_MIN, PORT_MAX) for _ in range(PORT_TRIES_MAX)]  # noqa: S311  # no secret
    for port in [wanted, *tries] if wanted else tries:
        line = held.enter_context(socket.socket())
        # As the servers do: a port in TIME_WAIT is free.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            line.bind((HOST, port))
            line.listen()
        except OSError:
            continue
        return port
    raise StackError(f"No free port between {PORT_MIN} and {PORT_MAX} on {HOST}. Stop what listens there, then retry.")
