"""The servers of docker-compose.yml, started here with its commands, mounted files and secrets: no container needed.

What stands in for a container: its paths are replaced by those of the checkout, its host names and ports by loopback
and free ones, its image by the wheels. Loopback needs no password in pg_hba.conf, so clients come by 127.0.0.2, which
is as much another container's address as there is here.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import redis
from composed import on_this_machine, services

from infra.embedded import Broker, Part, children, kafka, spawn
from infra.embedded.binaries import find_binaries, servers_user
from infra.embedded.postgres import servers_environment
from infra.embedded.probes import kafka_serves, wait_until
from infra.embedded.state import choose_ports
from infra.passwords import make_passwords

pytestmark = pytest.mark.timeout(120)

READY_S = 60.0
NEIGHBOUR = "127.0.0.2"


@dataclass(frozen=True)
class Here:
    """Where the composed servers run on this machine."""

    directory: Path
    ports: Mapping[str, int]

    @property
    def secrets(self) -> Path:
        """What `floodway secrets` made."""
        return self.directory / "secrets"

    def secret(self, name: str) -> str:
        """One of them."""
        return (self.secrets / name).read_text().strip()

    def run(self, name: str, words: list[str], env: Mapping[str, str], **paths: str) -> subprocess.Popen[bytes]:
        """Start a service's words as its own user, with secrets and paths of this machine."""
        words = on_this_machine(name, words, {"/run/secrets": str(self.secrets), **paths})
        user = servers_user(self.directory)
        path = f"{find_binaries().postgres_bin}:{os.environ.get('PATH', os.defpath)}"
        everything = {**servers_environment(), "PATH": path, "TMPDIR": str(self.directory), **env}
        return spawn(words, log_path=self.log(name), env=everything, user=user, cwd=Path("/"))

    def environment(self, name: str) -> dict[str, str]:
        """A service's variables, with paths of this machine."""
        given: dict[str, str] = services()[name].get("environment") or {}
        values = on_this_machine(name, list(given.values()), {"/run/secrets": str(self.secrets)})
        return dict(zip(given, values, strict=True))

    def log(self, name: str) -> Path:
        """What a service says."""
        return self.directory / f"{name}.log"

    def wait(self, name: str, process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
        """Wait until it is there; what it said is told when it does not come."""
        wait_until(lambda: process.poll() is not None or ready(), timeout_s=READY_S)
        assert process.poll() is None, self.log(name).read_text()[-3_000:]
        assert ready(), self.log(name).read_text()[-3_000:]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    """A directory and ports of our own."""
    directory = tmp_path_factory.mktemp("composed")
    made = Here(directory, choose_ports({}, ["valkey", "postgres", "replica", "neighbour"]))
    make_passwords(made.secrets)
    if (user := servers_user(directory)) is not None:
        for path in (directory, made.secrets, *made.secrets.iterdir()):
            os.chown(path, user.uid, user.gid)
    return made


def own(directory: Path, here: Here) -> Path:
    """Make a directory that the servers' user may fill."""
    directory.mkdir(mode=0o700)
    if (user := servers_user(here.directory)) is not None:
        os.chown(directory, user.uid, user.gid)
    return directory


@contextmanager
def ended(process: subprocess.Popen[bytes], sign: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """End it afterwards."""
    try:
        yield
    finally:
        children.end(process, sign=sign, grace_s=10)


@pytest.fixture(scope="module")
def valkey(here: Here) -> Iterator[str]:
    """Valkey as composed; its address without a password."""
    data, port = own(here.directory / "valkey", here), str(here.ports["valkey"])
    words = [port if word == "6379" else word for word in services()["valkey"]["command"]]
    words[0] = str(find_binaries().valkey)
    process = here.run("valkey", [*words, "--bind", "127.0.0.1"], {}, **{"/data": str(data)})
    with ended(process, signal.SIGTERM):
        here.wait("valkey", process, lambda: "eady to accept connections" in here.log("valkey").read_text())
        yield f"127.0.0.1:{port}"


def test_redis_runs_with_the_mounted_file(here: Here, valkey: str) -> None:
    """Its settings are in force; nobody gets in without the password of the secrets, which the file has as a hash."""
    url = here.secret("redis_url").replace("valkey:6379", valkey)
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    with redis.Redis.from_url(f"redis://{valkey}/0") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert here.secret("redis_password") not in here.secret("redis_users")


@pytest.fixture(scope="module")
def neighbour(here: Here) -> Iterator[int]:
    """A port where connections to the primary come from 127.0.0.2, as another container's come from its own address."""
    loop = asyncio.new_event_loop()
    target = here.ports["postgres"]

    async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward = await asyncio.open_connection("127.0.0.1", target, local_addr=(NEIGHBOUR, 0))
        except OSError:
            writer.close()
            return
        await asyncio.gather(pipe(reader, onward[1]), pipe(onward[0], writer))

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", here.ports["neighbour"]))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield here.ports["neighbour"]

    def stop() -> None:
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_later(0.1, loop.stop)

    loop.call_soon_threadsafe(stop)
    thread.join(5)
    loop.close()


def answers(port: int) -> bool:
    """Whether a Postgres takes connections; the health check of Compose, with another port."""
    words = services()["postgres"]["healthcheck"]["test"][1:]
    argv = [str(find_binaries().postgres_bin / words[0]), *words[1:], "--port", str(port)]
    return subprocess.run(argv, check=False, timeout=10).returncode == 0


@pytest.fixture(scope="module")
def primary(here: Here) -> Iterator[int]:
    """The primary as composed: made and prepared in the steps that the image's entry point takes, then its command."""
    data, port = own(here.directory / "postgres", here), here.ports["postgres"]
    environment = here.environment("postgres") | {"PGDATA": str(data), "PGHOST": str(here.directory)}
    environment |= {"PGPORT": str(port), "SETTINGS": str(Path(__file__).parents[2] / "infra/postgres")}
    options = environment["POSTGRES_INITDB_ARGS"].split()
    made = here.run("postgres", ["initdb", "--no-sync", "-U", "postgres", "--auth=trust", *options], environment)
    assert made.wait(60) == 0, here.log("postgres").read_text()
    command = [*services()["postgres"]["command"], "-c", f"unix_socket_directories={here.directory}"]
    first = here.run("postgres", [*command, "-c", "listen_addresses="], environment)
    with ended(first):
        ready = "database system is ready to accept connections"
        here.wait("postgres", first, lambda: ready in here.log("postgres").read_text())
        script = services()["postgres"]["volumes"][1]["target"]
        ran = here.run("postgres", ["bash", "-c", f". {script}"], environment)
        assert ran.wait(30) == 0, here.log("postgres").read_text()[-2_000:]
    process = here.run("postgres", [*command, "-c", "listen_addresses=127.0.0.1"], environment)
    with ended(process):
        here.wait("postgres", process, lambda: answers(port))
        yield port


@pytest.fixture(scope="module")
def replica(here: Here, primary: int, neighbour: int) -> Iterator[int]:
    """The replica as composed: its own script copies the primary and follows it."""
    assert primary != neighbour
    port, data = here.ports["replica"], here.directory / "replica"
    own(data, here)
    environment = here.environment("replica") | {"PGDATA": str(data / "18"), "PRIMARY_HOST": "127.0.0.1"}
    environment |= {"PRIMARY_PORT": str(neighbour), "SETTINGS": str(Path(__file__).parents[2] / "infra/postgres")}
    words = [*services()["replica"]["entrypoint"], *services()["replica"]["command"]]
    words += ["-c", f"port={port}", "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]
    process = here.run("replica", words, environment)
    with ended(process):
        here.wait("replica", process, lambda: answers(port))
    copied = (data / "18").stat().st_ino
    process = here.run("replica", words, environment)
    with ended(process):
        here.wait("replica", process, lambda: answers(port))
        assert (data / "18").stat().st_ino == copied, "it copied again what was of use"
        yield port


def test_postgres_runs_with_the_mounted_files(here: Here, primary: int, neighbour: int) -> None:
    """Its settings are in force, every line of pg_hba.conf is understood, and a neighbour needs the right password."""

    async def ask() -> None:
        dsn = here.secret("postgres_dsn").replace("postgres:5432", f"127.0.0.1:{neighbour}")
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT inet_client_addr()::text") in {NEIGHBOUR, f"{NEIGHBOUR}/32"}
        assert await connection.fetchval("SHOW max_wal_size") == "4GB"
        assert await connection.fetchval("SELECT datlocale FROM pg_database WHERE datname = 'floodway'") == "C.UTF-8"
        assert not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        await connection.close()
        for wrong in (
            dsn.replace(here.secret("floodway_password"), "guessed"),
            dsn.replace("floodway:", "postgres:", 1),
        ):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(wrong)

    asyncio.run(ask())
    assert primary
    assert here.secret("floodway_password") not in here.log("postgres").read_text()


def test_the_replica_follows(here: Here, primary: int, replica: int) -> None:
    """What is written to the primary is read from the replica, which was started twice and copied once."""

    async def ask() -> None:
        writing = await asyncpg.connect(f"postgresql://floodway@127.0.0.1:{primary}/floodway")
        await writing.execute("CREATE TABLE seen AS SELECT 42 AS answer")
        lsn = await writing.fetchval("SELECT pg_current_wal_lsn()::text")
        reading = await asyncpg.connect(f"postgresql://floodway@127.0.0.1:{replica}/floodway")
        for _ in range(100):
            if await reading.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn):
                break
            await asyncio.sleep(0.1)
        assert await reading.fetchval("SELECT answer FROM seen") == 42
        assert await reading.fetchval("SELECT pg_is_in_recovery()")
        assert (
            await writing.fetchval("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'replica'") == 1
        )
        await writing.execute("DROP TABLE seen")
        await asyncio.gather(writing.close(), reading.close())

    asyncio.run(ask())
    said = here.log("replica").read_text()
    assert here.secret("replicator_password") not in said
    assert not list(here.directory.glob("replica/18.new"))


@pytest.mark.only_on(Broker.KAFKA, reason="it is Apache Kafka that is composed")
def test_kafka_runs_with_the_mounted_files(broker: Broker, here: Here, valkey: str, primary: int, replica: int) -> None:
    """Kafka starts by the mounted script, twice; `floodway init` finds all servers by the secrets."""
    assert broker is Broker.KAFKA
    jars, java = kafka.install(), kafka.find_java()
    ports = choose_ports({}, ["broker", "controller", "outside"])
    data = own(here.directory / "kafka", here)
    environment = here.environment("kafka") | {"DATA_DIR": str(data), "JARS": str(jars), "BROKER_HOST": "localhost"}
    environment |= {f"{name.upper()}_PORT": str(port) for name, port in ports.items()}
    environment |= {"SETTINGS": str(kafka.KAFKA_DIR), "PATH": f"{java.parent}:{os.environ['PATH']}"}
    for time in ("first", "second"):  # then it is formatted already
        process = here.run("kafka", services()["kafka"]["entrypoint"], environment)
        with ended(process, signal.SIGTERM):
            here.wait("kafka", process, lambda: kafka_serves(ports["broker"], 1) and kafka_serves(ports["outside"], 1))
            if time == "first":
                done = _init(here, ports["broker"], valkey, primary, replica)
                assert done.returncode == 0, done.stderr
    assert (data / "log" / "meta.properties").exists()


def test_init_reads_its_addresses_from_files(here: Here, valkey: str, primary: int, replica: int) -> None:
    """Without a broker `floodway init` says that Kafka does not answer, so it got past Postgres; no secret is told."""
    port = choose_ports({})[Part.KAFKA]
    done = _init(here, port, valkey, primary, replica, wait_s="0")
    assert done.returncode == 75, done.stderr
    assert str(port) in done.stderr
    for name in ("redis_password", "floodway_password"):
        assert here.secret(name) not in done.stdout + done.stderr


def _init(
    here: Here, broker: int, valkey: str, primary: int, replica: int, *, wait_s: str = "60"
) -> subprocess.CompletedProcess[str]:
    """The service `init` with its variables; host names in the secrets become addresses."""
    there = here.directory / "addresses"
    shutil.rmtree(there, ignore_errors=True)
    there.mkdir()
    names = {"valkey:6379": valkey, "postgres:5432": f"127.0.0.1:{primary}", "replica:5432": f"127.0.0.1:{replica}"}
    environment: dict[str, str] = dict(services()["init"]["environment"])
    for variable, value in environment.items():
        if value.startswith("/run/secrets/"):
            name = value.removeprefix("/run/secrets/")
            text = here.secret(name)
            for host, address in names.items():
                text = text.replace(host, address)
            (there / name).write_text(text)
            environment[variable] = str(there / name)
    environment["FLOODWAY_KAFKA_BOOTSTRAP"] = f"localhost:{broker}"
    words = [wait_s if word == "60" else word for word in services()["init"]["command"]]
    return subprocess.run(
        [str(Path(sys.executable).parent / "floodway"), *words],
        env=environment | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        cwd=here.directory,
    )
