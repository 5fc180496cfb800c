"""Apache Kafka in KRaft mode for the stack: its jars from Maven Central, its configuration, its way to start.

The jars lie in a cache outside of the project, one directory a version, and are brought there once, by Maven.
"""

import base64
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from infra.embedded.addresses import HOST, Part, server_name
from infra.embedded.binaries import SETTINGS_DIR
from streams.errors import StackError

KAFKA_DIR = SETTINGS_DIR / "kafka"
POM = KAFKA_DIR / "pom.xml"
PROPERTIES = KAFKA_DIR / "server.properties"
LOG_SETTINGS = KAFKA_DIR / "log4j2.properties"

NODES = (1, 3)
HEAP_MB = 512
JAVA_MIN = 17
INSTALL_TIMEOUT_S = 900.0
INSTALL_HINT = "on Debian and Ubuntu: apt-get install -y openjdk-17-jre-headless maven"


def version() -> str:
    """The version that `pom.xml` names."""
    found = re.search(r"<kafka\.version>([\d.]+)</kafka\.version>", POM.read_text())
    assert found, f"{POM} names no kafka.version"
    return found[1]


def jars_dir() -> Path:
    """Where the jars of this version are, or will be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "floodway" / f"kafka-{version()}"


def find_java() -> Path:
    """The program `java`: that of JAVA_HOME, else the first on the path. Raises `StackError`."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        where = f"in JAVA_HOME={home}" if home else "on the path"
        raise StackError(f"Apache Kafka needs Java {JAVA_MIN} or newer, and there is none {where}; {INSTALL_HINT}.")
    return Path(found).resolve()


def install() -> Path:
    """Bring the jars into the cache unless they are there; returns their directory. Raises `StackError`."""
    directory = jars_dir()
    if directory.is_dir():
        return directory
    _check_java(find_java())
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(
            f"Maven brings Apache Kafka {version()} from Maven Central, and `mvn` is not installed; {INSTALL_HINT}."
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Beside it and then renamed: an interrupted copy is never taken for a whole one.
    beside = Path(mkdtemp(prefix=f"{directory.name}.", dir=directory.parent))
    try:
        beside.chmod(0o755)
        _copy_jars(maven, beside)
        if not directory.is_dir():  # another process may have been faster
            beside.rename(directory)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return directory


def _copy_jars(maven: str, directory: Path) -> None:
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={directory}"]
    command = [maven, "--batch-mode", "--quiet", "--file", str(POM), *goal]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise StackError(f"Maven did not bring Apache Kafka within {INSTALL_TIMEOUT_S:.0f} s; try again.") from error
    if done.returncode != 0:
        said = "\n".join(f"  {line}" for line in done.stdout.splitlines()[:6])
        raise StackError(
            f"Maven could not bring Apache Kafka {version()}; is Maven Central within reach? It said:\n{said}"
        )


def _check_java(java: Path) -> None:
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=30).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < JAVA_MIN:
        first = said.partition("\n")[0]
        raise StackError(f"Apache Kafka needs Java {JAVA_MIN} or newer; {java} says {first!r}; {INSTALL_HINT}.")


def controller_name(node: int) -> str:
    """What the controller's port of a node is called in the stack's state."""
    return f"{server_name(Part.KAFKA, node)}-controller"


def port_names(nodes: int) -> list[str]:
    """The ports that so many nodes need."""
    return [name for node in range(1, nodes + 1) for name in (server_name(Part.KAFKA, node), controller_name(node))]


@dataclass(frozen=True, slots=True)
class KafkaNode:
    """One node: broker and controller. `directory` holds its configuration and its logs."""

    number: int
    nodes: int
    directory: Path
    ports: Mapping[str, int]
    java: Path
    jars: Path

    @property
    def properties_path(self) -> Path:
        """The configuration that it starts with: the file that all share, then what is its own."""
        return self.directory / "server.properties"

    @property
    def is_formatted(self) -> bool:
        """Whether its log directory was made ready."""
        return (self.directory / "data" / "meta.properties").exists()

    def write_properties(self) -> None:
        """Write the configuration; addresses may have changed since the last start."""
        own = "".join(f"{name}={value}\n" for name, value in self._own_properties().items())
        self.properties_path.write_text(f"{PROPERTIES.read_text()}\n# This node\n{own}")

    def _own_properties(self) -> dict[str, str]:
        broker = f"BROKER://{HOST}:{self.ports[server_name(Part.KAFKA, self.number)]}"
        voters = (f"{node}@{HOST}:{self.ports[controller_name(node)]}" for node in range(1, self.nodes + 1))
        replicas, insync = str(self.nodes), str(self.nodes // 2 + 1)
        return {
            "node.id": str(self.number),
            "controller.quorum.voters": ",".join(voters),
            "listeners": f"{broker},CONTROLLER://{HOST}:{self.ports[controller_name(self.number)]}",
            "advertised.listeners": broker,
            "log.dirs": str(self.directory / "data"),
            "default.replication.factor": replicas,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "share.coordinator.state.topic.replication.factor": replicas,
            "min.insync.replicas": insync,
            "transaction.state.log.min.isr": insync,
            "share.coordinator.state.topic.min.isr": insync,
        }

    def format_argv(self, cluster_id: str, *options: str) -> list[str | Path]:
        """The command that makes the log directory ready, once."""
        fast = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        return [
            *self._java(*fast),
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            cluster_id,
            "--config",
            self.properties_path,
            *options,
        ]

    def argv(self) -> list[str | Path]:
        """The command that runs the node."""
        # G1 with short pauses, as Kafka's own scripts have it; the heap is bounded, its records are the page cache's.
        return [*self._java(f"-Xmx{HEAP_MB}m", "-XX:+UseG1GC"), "kafka.Kafka", self.properties_path]

    def _java(self, *options: str) -> Sequence[str | Path]:
        logging = f"-Dlog4j2.configurationFile={LOG_SETTINGS}"
        # No file of counters in /tmp, no look at a screen.
        return [self.java, *options, "-XX:-UsePerfData", "-Djava.awt.headless=true", logging, "-cp", f"{self.jars}/*"]


def new_cluster_id() -> str:
    """A name for a new cluster, in Kafka's form: 16 random bytes in base64, and no option by its first character."""
    while (name := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return name
