"""One Apache Kafka node, alone: for tests that need no more of the stack, or listeners that the stack has not."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.embedded import Part, children, kafka, spawn
from infra.embedded.kafka import KafkaNode
from infra.embedded.probes import kafka_serves, wait_until
from infra.embedded.state import choose_ports

READY_S = 90.0
CLUSTER = "floodway-test-cluster0"
QUICK = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"}
"""What lives for seconds only does not get back what the thorough compiler costs."""


@dataclass
class Node:
    """A node that can be killed and started again. `ports` are free for listeners of the test's own."""

    kafka: KafkaNode
    ports: Mapping[str, int]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The plain listener."""
        return f"127.0.0.1:{self.kafka.ports[Part.KAFKA]}"

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.process = spawn(self.kafka.argv(), log_path=self.log, env=os.environ | QUICK, cwd=Path("/"))
        process, port = self.process, self.kafka.ports[Part.KAFKA]
        wait_until(lambda: process.poll() is not None or kafka_serves(port, 1), timeout_s=READY_S)
        assert kafka_serves(port, 1), self.log.read_text()[-3000:]

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        children.kill(self.process)


@contextmanager
def apache_kafka(
    directory: Path, *, properties: str = "", scram: Mapping[str, str] | None = None, listeners: int = 0
) -> Iterator[Node]:
    """A node under `directory`; `properties` are added, with `{plain}`, `{controller}`, `{0}` and so on for ports."""
    kafka.install()
    names = [*kafka.port_names(1), *(f"more-{number}" for number in range(listeners))]
    ports = choose_ports({}, names)
    home = directory / "kafka"
    home.mkdir()
    node = KafkaNode(1, 1, home, ports, kafka.find_java(), kafka.jars_dir())
    node.write_properties()
    if properties:
        named = {"plain": Part.KAFKA, "controller": kafka.controller_name(1)}
        named |= {str(number): f"more-{number}" for number in range(listeners)}
        for name, port in named.items():
            properties = properties.replace(f"{{{name}}}", str(ports[port]))
        with node.properties_path.open("a") as file:
            file.write(properties)
    users = [f"SCRAM-SHA-512=[name={name},password={secret}]" for name, secret in (scram or {}).items()]
    options = [word for user in users for word in ("--add-scram", user)]
    subprocess.run(node.format_argv(CLUSTER, *options), check=True, capture_output=True, timeout=60)
    made = Node(node, ports, directory / "kafka.log")
    made.start()
    try:
        yield made
    finally:
        if made.process is not None:
            children.end(made.process, sign=signal.SIGTERM, grace_s=10)
