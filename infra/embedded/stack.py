"""The embedded stack: a Kafka-protocol broker, Valkey, PostgreSQL and its streaming replica, as our children.

PostgreSQL's and Valkey's data survive a restart. The broker is one of two: tansu starts at once and keeps topics in
memory only, after a restart they are gone and must be created again; Apache Kafka needs Java and keeps them. Nothing
may rely on a broker that creates topics by itself.
"""

import atexit
import contextlib
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from infra.embedded import kafka, logs
from infra.embedded.addresses import HOST, Addresses, Broker, Part, Standby, server_name
from infra.embedded.binaries import KAFKA_ENV, REDIS_CONF, Binaries, find_binaries, servers_user
from infra.embedded.children import User, end, kill, spawn
from infra.embedded.kafka import KafkaNode
from infra.embedded.postgres import IS_STREAMING_SQL, Postgres, delete_cluster, servers_environment, swap
from infra.embedded.probes import kafka_answers, kafka_serves, redis_answers, wait_until
from infra.embedded.state import Layout, Process, State, choose_ports, lock
from streams.errors import StackError

# A server that ends is noticed at once; these bound one that hangs, or reads a large log back in.
READY_TIMEOUT_S = {Part.KAFKA: 120.0, Part.REDIS: 120.0, Part.POSTGRES: 120.0, Part.REPLICA: 30.0}

# How each ends in order, and how long it may take before it is killed.
# PostgreSQL's SIGINT ("fast") writes a checkpoint.
STOP_SIGNAL = {
    Part.KAFKA: signal.SIGTERM,
    Part.REDIS: signal.SIGTERM,
    Part.POSTGRES: signal.SIGINT,
    Part.REPLICA: signal.SIGINT,
}
# tansu has nothing to save. Of three Kafkas the last one cannot hand over what it leads, and would wait for the others;
# what it has acknowledged is on the disk all the same.
STOP_GRACE_S = {Part.KAFKA: 1.0, Part.REDIS: 10.0, Part.POSTGRES: 20.0, Part.REPLICA: 10.0}
KAFKA_STOP_GRACE_S = 10.0
KAFKA_LAST_GRACE_S = 2.0
FORMAT_TIMEOUT_S = 60.0

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
    """The running servers, owned by this process; made by `start`, ended by `stop` or with the `with` block.

    The broker may have three nodes, numbered from 1; every other part has one.
    """

    def __init__(
        self,
        layout: Layout,
        ports: dict[str, int],
        binaries: Binaries,
        lock_file: IO[str],
        broker: Broker,
        nodes: int,
        standby: Standby = Standby.NONE,
    ) -> None:
        self.addresses = Addresses.of_ports(ports, broker, nodes, standby)
        self.broker = broker
        self.nodes = nodes
        self.standby = standby
        self._primary, self._replica = Part.POSTGRES, Part.REPLICA
        self._waits = standby is Standby.SYNC
        self._layout = layout
        self._ports = ports
        self._binaries = binaries
        self._lock_file = lock_file
        self._java = kafka.find_java() if broker is Broker.KAFKA else None
        needed = (kafka.jars_dir(), self._java) if self._java else ()
        self._user: User | None = servers_user(layout.data_dir, *needed)
        self._postgres = Postgres(binaries.postgres_bin, layout, self._user)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._owner_pid = os.getpid()
        self._is_up = False

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        fresh: bool = False,
        broker: str = Broker.TANSU,
        nodes: int = 1,
        standby: Standby = Standby.NONE,
    ) -> "Stack":
        """Start all under `data_dir` and return when each answers and the replica streams.

        `broker` is `tansu`, or `kafka` with 1 or 3 `nodes`. With a `standby` the replica may be promoted. Ports of the
        previous run are used again where they are free. `fresh` deletes all data first. Raises `StackError`, with
        nothing left running, when the directory is in use or a server does not come up.
        """
        kind = _checked(broker, nodes)
        binaries = find_binaries()
        if kind is Broker.KAFKA:
            kafka.install()
        layout = Layout(data_dir.resolve())
        lock_file = lock(layout)
        try:
            before = State.read(layout)
            if before is not None:
                before.end_leftovers()
            if fresh:
                _wipe(layout)
            elif before is not None and before.primary is Part.REPLICA:
                swap(layout)
            names = [*(kafka.port_names(nodes) if kind is Broker.KAFKA else [Part.KAFKA]), *tuple(Part)[1:]]
            ports = choose_ports(before.ports if before else {}, names)
            stack = cls(layout, ports, binaries, lock_file, kind, nodes, standby)
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
        for part, node in self.servers():
            logs.rotate(self._layout.log_path(server_name(part, node)))
        if self.broker is Broker.KAFKA:
            self._prepare_kafka()
        # These two get ready while PostgreSQL does its longer work.
        for node in self._kafka_nodes():
            self._launch(Part.KAFKA, node)
        self._launch(Part.REDIS)
        self._postgres.ensure_primary()
        self._launch(Part.POSTGRES)
        self._await(Part.POSTGRES)
        self._start_replica()
        for node in self._kafka_nodes():
            self._await(Part.KAFKA, node)
        self._await(Part.REDIS)
        self._is_up = True
        self._remember()

    def servers(self) -> list[tuple[Part, int]]:
        """Every server that the stack should have, as part and number of the node."""
        return [(part, node) for part in Part for node in (self._kafka_nodes() if part is Part.KAFKA else [1])]

    def _kafka_nodes(self) -> list[int]:
        return list(range(1, self.nodes + 1))

    def _kafka_node(self, number: int) -> KafkaNode:
        assert self._java is not None
        directory = self._layout.part_dir(server_name(Part.KAFKA, number))
        return KafkaNode(number, self.nodes, directory, self._ports, self._java, kafka.jars_dir())

    def _prepare_kafka(self) -> None:
        """Make each node's directory ready, once, all at the same time: each takes a second. Raises `StackError`."""
        made = [self._kafka_node(number) for number in self._kafka_nodes()]
        formatted = [node for node in made if node.is_formatted]
        others = [
            name for number in (2, 3) if (name := self._layout.part_dir(server_name(Part.KAFKA, number))).exists()
        ]
        if (formatted and len(formatted) != len(made)) or (self.nodes == 1 and formatted and others):
            raise StackError(
                f"The Kafka in {self._layout.data_dir} has {1 + len(others)} nodes, not {self.nodes}. Start it with "
                f"--nodes {1 + len(others)}, or --fresh deletes all data and starts anew."
            )
        cluster_id, started = kafka.new_cluster_id(), []
        for node in made:
            node.directory.mkdir(mode=0o700, exist_ok=True)
            node.write_properties()
            self._postgres.own(node.directory)
            if not node.is_formatted:
                log = self._layout.log_path(server_name(Part.KAFKA, node.number))
                argv = node.format_argv(cluster_id)
                child = spawn(argv, log_path=log, env=servers_environment(), user=self._user, cwd=Path("/"))
                started.append((child, log))
        for child, log in started:
            code = end(child, sign=signal.SIGCONT, grace_s=FORMAT_TIMEOUT_S)  # it ends by itself
            if code != 0:
                raise StackError(f"Kafka's directory could not be made ready (code {code}). {logs.tail(log)}")

    def _start_replica(self) -> None:
        copied = self._postgres.ensure_replica(self._replica, self._primary, self._ports[self._primary])
        self._launch(self._replica)
        try:
            self._await(self._replica)
        except StackError:
            if copied:
                raise
            # Its data is a copy: rather than mend it, make it again.
            kill(self._children[self._replica])
            self._postgres.remake_replica(self._replica, self._ports[self._primary])
            self._launch(self._replica)
            self._await(self._replica)

    def _launch(self, part: Part, node: int = 1) -> None:
        env = servers_environment()
        name = server_name(part, node)
        match part:
            case Part.KAFKA if self.broker is Broker.KAFKA:
                argv = self._kafka_node(node).argv()
            case Part.KAFKA:
                url = f"tcp://{self.addresses.kafka_bootstrap}"
                argv = [self._binaries.tansu, "broker", "--listener-url", url]
                argv += ["--advertised-listener-url", url]
                env |= _env_file(KAFKA_ENV)
            case Part.REDIS:
                directory = self._layout.part_dir(part)
                directory.mkdir(mode=0o700, exist_ok=True)
                self._postgres.own(directory)
                argv = [self._binaries.valkey, REDIS_CONF, "--port", str(self._ports[part])]
                argv += ["--bind", HOST, "--dir", directory]
            case Part.POSTGRES | Part.REPLICA:
                self._postgres.forget_strangers_pid(part)
                argv = (
                    self._postgres.primary_argv(part, self._ports[part], waits=self._waits)
                    if part is self._primary
                    else self._postgres.replica_argv(part, self._ports[part], self._ports[self._primary])
                )
        self._children[name] = spawn(
            argv,
            log_path=self._layout.log_path(name),
            env=env,
            user=self._user,
            # Not the project: the broker would read a `.env` there.
            cwd=Path("/"),
            death_signal=DEATH_SIGNAL[part],
        )
        self._remember()

    def _is_ready(self, part: Part, node: int = 1) -> bool:
        port = self._ports[server_name(part, node)]
        match part:
            case Part.KAFKA if self.broker is Broker.KAFKA:
                return kafka_serves(port, node)
            case Part.KAFKA:
                return kafka_answers(port)
            case Part.REDIS:
                return redis_answers(port, self._children[part].pid)
            case Part.POSTGRES | Part.REPLICA if part is self._primary:
                return self._postgres.query(port, "SELECT pg_is_in_recovery()") == "f"
            case Part.POSTGRES | Part.REPLICA:
                return (
                    self._postgres.query(port, "SELECT pg_is_in_recovery()") == "t"
                    and self._postgres.query(self._ports[self._primary], IS_STREAMING_SQL) == "1"
                )

    def _await(self, part: Part, node: int = 1) -> None:
        name = server_name(part, node)
        child = self._children[name]
        wait_until(lambda: child.poll() is not None or self._is_ready(part, node), timeout_s=READY_TIMEOUT_S[part])
        code = child.poll()
        if code is not None:
            problem = f"ended with code {code} instead of starting"
        elif not self._is_ready(part, node):
            problem = f"did not get ready within {READY_TIMEOUT_S[part]:.0f} s"
        else:
            return
        raise StackError(
            f"The embedded {name} {problem}. If the cause below is its data, `floodway up --fresh` starts anew and "
            f"deletes it. {logs.tail(self._layout.log_path(name))}"
        )

    def _remember(self) -> None:
        alive = {name: Process.of(child.pid) for name, child in self._children.items()}
        children = {name: process for name, process in alive.items() if process is not None}
        owner = Process.of(self._owner_pid) if self._is_up else None
        self._state(owner, children).write(self._layout)

    def _state(self, owner: Process | None = None, children: dict[str, Process] | None = None) -> State:
        return State(self._ports, owner, children or {}, self.broker, self.nodes, self.standby, self._primary)

    def pids(self) -> dict[str, int]:
        """The process ids of the servers that run, by name: the part's, with `-2` and `-3` for the broker's others."""
        return {name: child.pid for name, child in self._children.items() if child.poll() is None}

    def log_path(self, part: Part, node: int = 1) -> Path:
        """The file that holds what a server says."""
        return self._layout.log_path(server_name(part, node))

    def kill(self, part: Part, node: int = 1) -> None:
        """SIGKILL a server and all its processes, as a crash would; it stays down until `restart`."""
        kill(self._children[server_name(part, node)])

    def restart(self, part: Part, node: int = 1) -> None:
        """Start a server again at the same address, ending it in order first if it runs. Raises `StackError`.

        Returns when it is ready, and after the primary when the replica streams again. tansu comes back empty.
        """
        end(self._children[server_name(part, node)], sign=STOP_SIGNAL[part], grace_s=self._grace_s(part))
        if part is self._replica:
            self._start_replica()
            self._wait_for_replica_again()
        else:
            self._launch(part, node)
            self._await(part, node)
        if part is self._primary and self._replica in self.pids():
            self._await(self._replica)

    def promote(self) -> None:
        """Make the replica the primary; returns when it takes writes. The old primary is killed if it still lives.

        It stays down until `restart`, which makes it the replica of the new one. Until then commits wait for no
        standby. Raises `StackError`.
        """
        if self.standby is Standby.NONE:
            raise StackError("The replica is for reading only, nobody would find it; start the stack with --standby.")
        kill(self._children[self._primary])  # first, so that there are never two
        self._postgres.promote(self._replica)
        self._primary, self._replica = self._replica, self._primary
        self._waits = False
        self._await(self._primary)
        self._remember()

    def primary(self) -> Part:
        """Which of the two servers is the primary now."""
        return self._primary

    def _wait_for_replica_again(self) -> None:
        if self.standby is Standby.SYNC and not self._waits:
            self._waits = True
            self._postgres.wait_for_standby(self._primary, True)
            self._children[self._primary].send_signal(signal.SIGHUP)

    def restart_nodes(self, *nodes: int) -> None:
        """Start several nodes of the broker again, all before any is waited for: one alone may have no quorum."""
        for node in nodes:
            end(
                self._children[server_name(Part.KAFKA, node)],
                sign=STOP_SIGNAL[Part.KAFKA],
                grace_s=self._grace_s(Part.KAFKA),
            )
            self._launch(Part.KAFKA, node)
        for node in nodes:
            self._await(Part.KAFKA, node)

    def stop(self) -> None:
        """End all servers in order, within their time limits, and leave the data for the next start. Idempotent."""
        if not self._is_ours():
            return
        self._is_up = False
        self._remember()
        # Those that can end side by side begin to.
        for part in (Part.REDIS, self._primary):
            child = self._children[part]
            if child.poll() is None:
                child.send_signal(STOP_SIGNAL[part])
        for node in reversed(self._kafka_nodes()):
            last = node == 1 and self.nodes > 1
            grace_s = KAFKA_LAST_GRACE_S if last else self._grace_s(Part.KAFKA)
            end(self._children[server_name(Part.KAFKA, node)], sign=STOP_SIGNAL[Part.KAFKA], grace_s=grace_s)
        # The primary before the replica, which takes its last records first.
        for part in (Part.REDIS, self._primary, self._replica):
            end(self._children[part], sign=STOP_SIGNAL[part], grace_s=STOP_GRACE_S[part])
        self._release()

    def _grace_s(self, part: Part) -> float:
        return KAFKA_STOP_GRACE_S if part is Part.KAFKA and self.broker is Broker.KAFKA else STOP_GRACE_S[part]

    def abandon(self) -> None:
        """End all servers at once, as a crash would; what was committed survives. Idempotent."""
        if not self._is_ours():
            return
        for name, child in self._children.items():
            if child.poll() is None:
                child.send_signal(DEATH_SIGNAL.get(name, signal.SIGKILL))  # type: ignore[call-overload]  # Part is a str
        for name, child in self._children.items():
            sign = DEATH_SIGNAL.get(name, signal.SIGKILL)  # type: ignore[call-overload]
            end(child, sign=sign, grace_s=ABANDON_GRACE_S)
        self._release()

    def _is_ours(self) -> bool:
        # A fork of this process has the object but not the servers.
        return not self._lock_file.closed and os.getpid() == self._owner_pid

    def _release(self) -> None:
        atexit.unregister(self.stop)
        with contextlib.suppress(OSError):  # the directory may be gone, as those of tests are
            self._state().write(self._layout)
        self._lock_file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _checked(broker: str, nodes: int) -> Broker:
    """The broker. Raises `StackError` for one that does not exist, or not with so many nodes."""
    if broker not in set(Broker):
        raise StackError(f"There is no broker {broker!r}; take {' or '.join(Broker)}.")
    if nodes not in (kafka.NODES if broker == Broker.KAFKA else (1,)):
        raise StackError(f"{broker} does not run with {nodes} nodes here; kafka does with 1 or 3, tansu with 1.")
    return Broker(broker)


def _wipe(layout: Layout) -> None:
    try:
        for name in (*Part, *(server_name(Part.KAFKA, node) for node in range(2, max(kafka.NODES) + 1))):
            for directory in (layout.part_dir(name), layout.part_dir(name).with_suffix(".new")):
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
