"""`floodway up`: what it prints, and that however it ends nothing is left behind."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import accepts, is_gone, query, soon

from infra.embedded import Addresses, Part, spawn
from infra.embedded.binaries import servers_user
from infra.embedded.children import User, descendants, end
from infra.embedded.state import Layout, State
from streams.stores.log import Entry
from streams.stores.log_kafka import KafkaLog
from streams.topics import SUBMITTED

ROOT = Path(__file__).resolve().parents[2]
COMMAND = """
import sys
from pathlib import Path
from infra.cli.up import up
raise SystemExit(up(data_dir=Path(sys.argv[1]), json="--json" in sys.argv, fresh="--fresh" in sys.argv))
"""
NAMES = [
    "FLOODWAY_KAFKA_BOOTSTRAP",
    "FLOODWAY_REDIS_URL",
    "FLOODWAY_POSTGRES_DSN",
    "FLOODWAY_POSTGRES_REPLICA_DSN",
    "FLOODWAY_KAFKA_IDEMPOTENT",
    "FLOODWAY_TOPIC_REPLICATION",
    "FLOODWAY_TOPIC_MIN_INSYNC",
]


def command(data_dir: Path, *options: str) -> list[str]:
    """The command line of `up`."""
    return [sys.executable, "-c", COMMAND, str(data_dir), *options]


@contextmanager
def up(data_dir: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """`up` in the foreground of its own session, killed if it is still there at the end."""
    process = subprocess.Popen(
        command(data_dir, *options),
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_addresses(process: subprocess.Popen[str]) -> dict[str, str]:
    """The export lines, read as a shell would."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in NAMES]
    found = [re.fullmatch(r"export (\w+)=(\S+)\n", line) for line in lines]
    assert all(found), process.stderr and process.stderr.read()
    return {match[1]: match[2] for match in found if match}


def ports_of(data_dir: Path) -> list[int]:
    """Where the stack listens or listened."""
    state = State.read(Layout(data_dir))
    assert state is not None
    return list(state.ports.values())


def leaves_nothing(pids: list[int], ports: list[int]) -> bool:
    """Whether all processes are gone and nothing listens any more, soon."""
    return soon(lambda: all(map(is_gone, pids)) and not any(accepts(f"127.0.0.1:{port}") for port in ports))


def shared_memory() -> dict[str, int]:
    """The kernel's shared memory segments, each with the process that made it, or with one of the past of that id."""
    segments = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return {segment[1]: int(segment[4]) for segment in segments}


def test_second_up_says_what_runs(tmp_path: Path) -> None:
    """Export lines first; a second `up` prints the same and ends with 0, as JSON too; `--fresh` refuses."""
    with up(tmp_path) as first:
        addresses = read_addresses(first)
        assert list(addresses) == NAMES
        assert query(addresses["FLOODWAY_POSTGRES_DSN"], "SELECT 1") == 1

        second = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
        assert second.returncode == 0
        assert second.stdout.splitlines() == [f"export {name}={value}" for name, value in addresses.items()]
        assert f"runs already (process {first.pid})" in second.stderr

        as_json = subprocess.run(command(tmp_path, "--json"), cwd=ROOT, capture_output=True, check=True, timeout=20)
        document = json.loads(as_json.stdout.splitlines()[-1])
        assert {name: document[name] for name in NAMES} == addresses
        assert document["already_running"] is True
        assert document["owner_pid"] == first.pid

        fresh = subprocess.run(
            command(tmp_path, "--fresh"), cwd=ROOT, capture_output=True, text=True, check=False, timeout=20
        )
        assert fresh.returncode != 0
        assert "End it with Ctrl-C" in fresh.stderr
        assert query(addresses["FLOODWAY_POSTGRES_DSN"], "SELECT 1") == 1


def test_two_at_once_make_one_stack(tmp_path: Path) -> None:
    """Of two that begin at the same moment one starts the stack, and the other waits for it and prints it."""
    with up(tmp_path) as one, up(tmp_path) as other:
        assert read_addresses(one) == read_addresses(other)
        assert soon(lambda: (one.poll(), other.poll()) in {(0, None), (None, 0)})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal end all servers properly: Postgres shuts down, and `up` returns 0."""
    with up(tmp_path) as process:
        read_addresses(process)
        pids, ports = descendants(process.pid), ports_of(tmp_path)
        assert len(pids) > len(Part)  # Postgres has processes of its own
        process.send_signal(number)
        assert process.wait(30) == 0
        assert leaves_nothing(pids, ports)
    assert "database system is shut down" in Layout(tmp_path).log_path(Part.POSTGRES).read_text()
    assert "ready to exit" in Layout(tmp_path).log_path(Part.REDIS).read_text()


def test_kill_leaves_nothing_and_does_not_block_the_next(tmp_path: Path) -> None:
    """`kill -9` of `up` takes all servers along; the next one starts at once, at the same addresses, with the data."""
    others = shared_memory().keys()
    with up(tmp_path) as process:
        addresses = read_addresses(process)
        query(addresses["FLOODWAY_POSTGRES_DSN"], "CREATE TABLE kept AS SELECT 5 AS n")
        pids, ports = descendants(process.pid), ports_of(tmp_path)
        process.kill()
        process.wait()
        # At once, while the servers are still dying.
        with up(tmp_path) as again:
            assert read_addresses(again) == addresses
            assert query(addresses["FLOODWAY_POSTGRES_DSN"], "SELECT n FROM kept") == 5
            assert query(addresses["FLOODWAY_POSTGRES_REPLICA_DSN"], "SELECT n FROM kept") == 5
            assert soon(lambda: all(map(is_gone, pids)))
            pids = descendants(again.pid)
            made = {segment for segment, pid in shared_memory().items() if pid in pids} - others
            assert made
            assert not any("/dev/shm/" in Path(f"/proc/{pid}/maps").read_text() for pid in pids)
            again.kill()
            again.wait()
            assert leaves_nothing(pids, ports)
            assert not made & shared_memory().keys()


def test_interrupted_start_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C half-way through the first start ends what was begun; the next start finds nothing half made."""
    with up(tmp_path) as process:
        assert soon(lambda: Layout(tmp_path).part_dir(Part.POSTGRES).with_suffix(".new").exists())
        pids = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert leaves_nothing(pids, ports_of(tmp_path))
    with up(tmp_path) as process:
        assert query(read_addresses(process)["FLOODWAY_POSTGRES_REPLICA_DSN"], "SELECT 1") == 1


async def test_the_end_tells_of_submissions_that_nobody_read(tmp_path: Path) -> None:
    """What Kafka had confirmed and no worker took goes with the embedded broker; that is said, with the number."""
    with up(tmp_path) as process:
        bootstrap = read_addresses(process)["FLOODWAY_KAFKA_BOOTSTRAP"]
        log = await KafkaLog.connect(bootstrap)
        await log.append(SUBMITTED.name, 3, [Entry(b"web:s", b"{}", 1_790_000_000_000)] * 7)
        await log.close()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "7 submissions that no worker has decided are gone with the broker" in said


def test_a_part_that_dies_is_brought_back(tmp_path: Path) -> None:
    """A server killed from outside comes back at its address, and `up` says so."""
    with up(tmp_path) as process:
        addresses = read_addresses(process)
        state = State.read(Layout(tmp_path))
        assert state is not None
        os.kill(state.children[Part.REDIS].pid, signal.SIGKILL)
        assert process.stderr is not None
        assert any("redis had died and was started again" in line for line in process.stderr)
        assert accepts(addresses["FLOODWAY_REDIS_URL"].removeprefix("redis://").removesuffix("/0"))


def test_servers_of_the_users_own_are_noted(tmp_path: Path) -> None:
    """Where a variable points elsewhere already, `up` says which server commands in this shell will use."""
    with up(tmp_path, env={"FLOODWAY_REDIS_URL": "redis://elsewhere:6379/0"}) as process:
        read_addresses(process)
        assert process.stderr is not None
        assert any("FLOODWAY_REDIS_URL is set to redis://elsewhere" in line for line in process.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as somebody else")
def test_root_keeps_no_more_power_than_it_needs(tmp_path: Path) -> None:
    """As root in a directory closed to others the servers run as somebody else, with one capability and no more."""
    tmp_path.chmod(0o700)
    user = servers_user(tmp_path)
    assert user is not None
    assert user.keep_dac
    with up(tmp_path) as process:
        read_addresses(process)
        state = State.read(Layout(tmp_path))
        assert state is not None
        for child in state.children.values():
            status = dict(line.split(":\t", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines())
            assert status["Uid"].split() == [str(user.uid)] * 4
            assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 1 << 1  # CAP_DAC_OVERRIDE


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_ordinary_user_needs_nothing(tmp_path: Path) -> None:
    """Under an ordinary user's id the stack starts and ends just so, all of it under that id."""
    user = User(65_534, 65_534, keep_dac=True)  # to reach this Python, which may lie in root's home
    tmp_path = tmp_path / "home"
    tmp_path.mkdir()
    os.chown(tmp_path, user.uid, user.gid)
    log = tmp_path / "log"
    process = spawn(command(tmp_path / "data"), log_path=log, user=user, cwd=ROOT)
    try:
        assert soon(lambda: "Ready in" in log.read_text(), 15), log.read_text()
        addresses = Addresses.of_ports(dict(zip(Part, ports_of(tmp_path / "data"), strict=True)))
        assert query(addresses.postgres_replica_dsn, "SELECT 1") == 1
        pids, ports = descendants(process.pid), ports_of(tmp_path / "data")
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in pids} == {user.uid}
    finally:
        assert end(process, grace_s=20) == 0
    assert leaves_nothing(pids, ports)
