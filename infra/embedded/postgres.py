"""PostgreSQL: making a primary and its streaming replica, and the command lines that run them.

The settings are in `infra/postgres/`; here is what depends on the machine. A cluster is made under another name and
renamed when complete, so that an interrupted start leaves nothing that looks usable.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.embedded import logs
from infra.embedded.addresses import HOST, Part
from infra.embedded.binaries import HBA_CONF, POSTGRES_CONF, REPLICA_CONF, ROLES_SQL, SYNCHRONOUS_CONF
from infra.embedded.children import KILL_WAIT_S, User, command_of, end, spawn
from infra.embedded.probes import wait_until
from infra.embedded.state import Layout
from streams.errors import StackError

MAJOR_VERSION = 18
SLOT = "replica"
AUTO_CONF = "postgresql.auto.conf"
TOOL_TIMEOUT_S = 60.0
QUERY_TIMEOUT_S = 5.0
SLOT_TIMEOUT_S = 10.0
LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
"""For initdb. Text order must not change with the machine's C library: the builtin provider's never does."""
IPC_RMID = 0  # shmctl(2): remove the segment; the same on Linux and macOS

RENEW_SLOT_SQL = f"""\
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{SLOT}';
SELECT pg_create_physical_replication_slot('{SLOT}', true)"""  # noqa: S608  # our own constant
SLOT_IS_USABLE_SQL = f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{SLOT}' AND wal_status <> 'lost'"  # noqa: S608
IS_STREAMING_SQL = f"SELECT 1 FROM pg_stat_replication WHERE application_name = '{SLOT}' AND state = 'streaming'"  # noqa: S608


def servers_environment() -> dict[str, str]:
    """A bare environment: no PG… or other variable of the caller changes how the servers run."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Postgres:
    """PostgreSQL's programs, for one data directory. `user` runs the servers; None is ourselves."""

    bin_dir: Path
    layout: Layout
    user: User | None

    def ensure_primary(self) -> None:
        """Make the primary's cluster unless there is one. Raises `StackError`."""
        directory = self.layout.part_dir(Part.POSTGRES)
        if (directory / "PG_VERSION").exists():
            self._check_version(directory)
            self.own(directory)
            return
        new = self._empty_dir(directory.with_suffix(".new"))
        # Unsynced, for speed: until the first checkpoint there is nothing to lose that this does not make again.
        initdb: list[str | Path] = [
            "initdb",
            "--no-sync",
            "--no-instructions",
            "-U",
            "postgres",
            "--auth=trust",
            *LOCALE,
        ]
        self._run(Part.POSTGRES, [*initdb, "-D", new])
        single: list[str | Path] = ["postgres", "--single", "-D", new, "-c", "fsync=off", "template1"]
        said = self._run(Part.POSTGRES, single, stdin=ROLES_SQL.read_text(encoding="utf-8"))
        if "ERROR:" in said or "FATAL:" in said:
            raise self._failed(Part.POSTGRES, "create its roles and database")
        _replace(new, directory)

    def ensure_replica(self, part: Part, primary: Part, primary_port: int) -> bool:
        """Copy the running primary unless a replica of it is there; True when it was copied. Raises `StackError`."""
        directory = self.layout.part_dir(part)
        if (
            (directory / "standby.signal").exists()
            and self._system_id(directory) == self._system_id(self.layout.part_dir(primary))
            and self.query(primary_port, SLOT_IS_USABLE_SQL) == "1"
        ):
            self.own(directory)
            return False
        self.remake_replica(part, primary_port)
        return True

    def remake_replica(self, part: Part, primary_port: int) -> None:
        """Copy the running primary, whatever was there before. Raises `StackError`.

        So does an old primary become the standby of the one that took its place: pg_rewind would be quicker for a large
        one, and needs a role that reads the server's files.
        """
        directory = self.layout.part_dir(part)
        new = self._empty_dir(directory.with_suffix(".new"))
        # A slot that fell too far behind (max_slot_wal_keep_size) is of no use any more, and cannot be mended.
        if not wait_until(
            lambda: self.query(primary_port, RENEW_SLOT_SQL, user="replicator") is not None, timeout_s=SLOT_TIMEOUT_S
        ):
            raise self._failed(part, f"renew the replication slot {SLOT!r}")
        source = f"host={HOST} port={primary_port} user=replicator"
        # Unsynced: a copy that a power cut spoils is made again.
        copy: list[str | Path] = [
            "pg_basebackup",
            "-d",
            source,
            "-D",
            new,
            "-S",
            SLOT,
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ]
        self._run(part, copy)
        (new / AUTO_CONF).write_text("")
        (new / "standby.signal").touch()
        self.own(new)
        _replace(new, directory)

    def promote(self, part: Part) -> None:
        """Make a standby the primary; returns when it takes writes. Raises `StackError`."""
        self._run(part, ["pg_ctl", "promote", "-w", "-D", self.layout.part_dir(part)])

    def wait_for_standby(self, part: Part, wait: bool) -> None:
        """What a primary that was promoted does from its next SIGHUP on; `ALTER SYSTEM` would write the same."""
        text = f"synchronous_standby_names = '{SLOT}'\n" if wait else ""
        (self.layout.part_dir(part) / AUTO_CONF).write_text(text)

    def primary_argv(self, part: Part, port: int, *, waits: bool = False) -> list[str | Path]:
        """The command line of the primary; one that `waits` for its standby commits on both."""
        self.wait_for_standby(part, False)
        return self._server_argv(self.layout.part_dir(part), SYNCHRONOUS_CONF if waits else POSTGRES_CONF, port)

    def replica_argv(self, part: Part, port: int, primary_port: int) -> list[str | Path]:
        """The command line of the replica."""
        source = f"host={HOST} port={primary_port} user=replicator application_name={SLOT}"
        argv = self._server_argv(self.layout.part_dir(part), REPLICA_CONF, port)
        return [*argv, "-c", f"primary_conninfo={source}"]

    def _server_argv(self, directory: Path, settings: Path, port: int) -> list[str | Path]:
        machine = {
            "config_file": settings,
            "hba_file": HBA_CONF,
            "ident_file": directory / "pg_ident.conf",
            "listen_addresses": HOST,
            "port": port,
            "unix_socket_directories": "",  # their paths are limited to 107 bytes, a project's is not
            "dynamic_shared_memory_type": "mmap",  # files in the data directory: nothing in /dev/shm outlives a crash
        }
        options = [piece for name, value in machine.items() for piece in ("-c", f"{name}={value}")]
        return [self.bin_dir / "postgres", "-D", directory, *options]

    def query(self, port: int, sql: str, *, user: str = "floodway") -> str | None:
        """What `sql` returns, unaligned, from the server at `port`; None when it does not answer or refuses."""
        conninfo = f"host={HOST} port={port} user={user} dbname=floodway connect_timeout=2"
        argv: list[str | Path] = [self.bin_dir / "psql", "-XAtq", "-d", conninfo, "-c", sql]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, check=False, timeout=QUERY_TIMEOUT_S, env=servers_environment()
            )
        except subprocess.TimeoutExpired:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    def own(self, directory: Path) -> None:
        """Give `directory` and all in it to the servers' user, where it is not theirs yet. Raises `StackError`."""
        if self.user is None or directory.stat().st_uid == self.user.uid:
            return
        try:
            for root, _, files in os.walk(directory, topdown=False):  # itself last: an interrupted walk is done again
                for path in (*(f"{root}/{name}" for name in files), root):
                    os.lchown(path, self.user.uid, self.user.gid)
        except OSError as error:
            raise StackError(
                f"The servers must not run as root, and this root may not hand {directory} to another user "
                f"({error.strerror}). Run as an ordinary user, or allow the container CHOWN, SETUID, SETGID, SETPCAP "
                "and DAC_OVERRIDE, as Docker does by default."
            ) from error

    def _empty_dir(self, directory: Path) -> Path:
        delete_cluster(directory)
        directory.mkdir(mode=0o700)
        self.own(directory)
        return directory

    def _check_version(self, directory: Path) -> None:
        version = (directory / "PG_VERSION").read_text().strip()
        if version != str(MAJOR_VERSION):
            raise StackError(
                f"{directory} was made by PostgreSQL {version}, and this is {MAJOR_VERSION}. Start anew with --fresh, "
                "which deletes its data, or give another directory with --data-dir."
            )

    def forget_strangers_pid(self, part: Part) -> None:
        """Remove a `postmaster.pid` left by a kill whose number some other program has by now.

        PostgreSQL would take that program for itself and refuse to start: usual in containers, where the numbers are
        small and come again in order. Whether old processes still use the data it checks in a second way.
        """
        pid_file = self.layout.part_dir(part) / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return
        if str(self.layout.part_dir(part)) not in command_of(pid):
            pid_file.unlink()

    def _system_id(self, directory: Path) -> str | None:
        """What tells this cluster from every other; equal on a primary and its replicas, None when unreadable."""
        control: list[str | Path] = [self.bin_dir / "pg_controldata", "-D", directory]
        done = subprocess.run(
            control, capture_output=True, text=True, check=False, timeout=TOOL_TIMEOUT_S, env=servers_environment()
        )
        found = [line for line in done.stdout.splitlines() if line.startswith("Database system identifier")]
        return found[0].rpartition(":")[2].strip() if found else None

    def _run(self, part: Part, argv: Sequence[str | Path], *, stdin: str | None = None) -> str:
        """Run one of PostgreSQL's tools to its end, as the servers' user; returns what it said. Raises `StackError`."""
        log = self.layout.log_path(part)
        said_before = log.stat().st_size if log.exists() else 0
        full = [self.bin_dir / argv[0], *argv[1:]]
        tool = spawn(full, log_path=log, env=servers_environment(), user=self.user, stdin=stdin, cwd=Path("/"))
        try:
            code = tool.wait(TOOL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(tool, grace_s=KILL_WAIT_S)
        if code != 0:
            raise self._failed(part, f"run {argv[0]} (exit code {code})")
        with log.open("rb") as file:
            file.seek(said_before)
            return file.read().decode(errors="replace")

    def _failed(self, part: Part, what: str) -> StackError:
        return StackError(f"PostgreSQL could not {what}. {logs.tail(self.layout.log_path(part))}")


def delete_cluster(directory: Path) -> None:
    """Delete a stopped server's data, and the scrap of shared memory that marks it if the server was killed.

    The next start of the same cluster would remove that; without the cluster nobody would. Raises `OSError`.
    """
    try:
        marks = (directory / "postmaster.pid").read_text().splitlines()
        key, segment = map(int, marks[6].split())
    except (OSError, ValueError, IndexError):
        pass  # ended in order, or was never here
    else:
        libc = ctypes.CDLL(None)
        # After a reboot the number may be somebody else's; with the same key, made from the directory, it is ours.
        if libc.shmget(key, 0, 0) == segment:
            libc.shmctl(segment, IPC_RMID, None)
    if directory.exists():
        shutil.rmtree(directory)


def swap(layout: Layout) -> None:
    """Give the two stopped servers each other's data: the primary's belongs into the primary's directory."""
    primary, replica = layout.part_dir(Part.POSTGRES), layout.part_dir(Part.REPLICA)
    between = primary.with_suffix(".swap")
    primary.rename(between)
    replica.rename(primary)
    between.rename(replica)


def _replace(new: Path, directory: Path) -> None:
    delete_cluster(directory)
    new.rename(directory)
