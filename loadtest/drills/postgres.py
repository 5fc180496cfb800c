"""Faults of Postgres: the primary killed, frozen or out of disk; the replica behind or away."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from random import Random

import asyncpg

from infra.embedded import Part, Stack
from infra.embedded.children import descendants
from loadtest.drills.drill import Fault, Scene

WAL_MB = 256
"""Room for the write-ahead log on the small disk: more than a surge writes."""
PIECE = bytes(1 << 20)
MOUNT_TIMEOUT_S = 10.0
ANSWER_S = 2.0
SWITCHES, SWITCH_PAUSE_S = 15, 0.2
CAP_SYS_ADMIN = 21
"""From Linux' capability.h."""


class ServerKill(Fault):
    """SIGKILL of the primary or the replica with all its processes, and back after a while."""

    def __init__(self, part: Part) -> None:
        self._part = part

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Kill."""
        await asyncio.to_thread(scene.stack.kill, self._part)

    async def heal(self, scene: Scene) -> None:
        """Start it again; returns when the replica streams."""
        await asyncio.to_thread(scene.stack.restart, self._part)


class PrimaryFrozen(Fault):
    """SIGSTOP of all its processes for longer than a statement may take: commits that nobody waits for any more."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Freeze, the parent first, so that it starts nothing new."""
        parent = scene.stack.pids()[Part.POSTGRES]
        os.kill(parent, signal.SIGSTOP)
        self._pids = [parent, *descendants(parent)]
        _signal(self._pids[1:], signal.SIGSTOP)

    async def heal(self, scene: Scene) -> None:
        """Let them go on."""
        _signal(self._pids, signal.SIGCONT)


class ReplicaLag(Fault):
    """The replica takes the log in and does not replay it."""

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Pause."""
        await self._tell(scene, "SELECT pg_wal_replay_pause()")

    async def heal(self, scene: Scene) -> None:
        """Go on."""
        await self._tell(scene, "SELECT pg_wal_replay_resume()")

    async def _tell(self, scene: Scene, sql: str) -> None:
        replica = await asyncpg.connect(scene.stack.addresses.postgres_replica_dsn)
        try:
            await replica.execute(sql)
        finally:
            await replica.close()


class DiskFull(Fault):
    """The disk of the write-ahead log is full: Postgres panics, and cannot come back until there is room."""

    def prepare(self, stack: Stack, data_dir: Path) -> None:
        """Move the log to a small disk of its own, in memory."""
        log, disk = data_dir.resolve() / Part.POSTGRES / "pg_wal", _disk(data_dir)
        owner = log.stat()
        stack.kill(Part.POSTGRES)
        disk.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={WAL_MB}m,mode=0700", "floodway-drill", str(disk))
        shutil.copytree(log, disk, dirs_exist_ok=True)
        for path in (disk, *disk.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        log.rename(log.with_name("pg_wal.before"))
        log.symlink_to(disk)
        stack.restart(Part.POSTGRES)

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Fill it up, and have new files of the log begun until one does not fit."""
        written = await asyncio.to_thread(_fill, _filler(scene.data_dir))
        scene.say(f"{written} MB more filled the disk of the log")
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            primary = await asyncpg.connect(scene.stack.addresses.postgres_dsn, timeout=ANSWER_S)
            try:
                for _ in range(SWITCHES):
                    await primary.execute("SELECT pg_switch_wal()", timeout=ANSWER_S)
                    await asyncio.sleep(SWITCH_PAUSE_S)
            finally:
                primary.terminate()
            scene.complaints.append("The disk was full, and Postgres went on writing: nothing was put to the test.")

    async def heal(self, scene: Scene) -> None:
        """Make room; start it again if it has given up."""
        _filler(scene.data_dir).unlink()
        while not await _answers(scene):
            if Part.POSTGRES not in scene.stack.pids():
                scene.say("the primary had ended, and was started again")
                await asyncio.to_thread(scene.stack.restart, Part.POSTGRES)
            await asyncio.sleep(SWITCH_PAUSE_S)


def can_mount() -> str | None:
    """Why no small disk can be had here, None when it can: that takes root with the right to mount."""
    if os.geteuid() != 0:
        return "a disk that can be filled is mounted, which takes root"
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return None if effective >> CAP_SYS_ADMIN & 1 else "a disk that can be filled is mounted: CAP_SYS_ADMIN is lacking"


def unmount(data_dir: Path) -> None:
    """Take the small disk away, if there is one. The servers must have ended."""
    disk = _disk(data_dir)
    if disk.is_mount():
        _run("umount", str(disk))


async def _answers(scene: Scene) -> bool:
    try:
        primary = await asyncpg.connect(scene.stack.addresses.postgres_dsn, timeout=ANSWER_S)
        await primary.close(timeout=ANSWER_S)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    return True


def _disk(data_dir: Path) -> Path:
    return data_dir.resolve() / "wal-disk"


def _filler(data_dir: Path) -> Path:
    return _disk(data_dir) / "filler"


def _fill(path: Path) -> int:
    """Write until nothing more fits; returns the megabytes."""
    written = 0
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(PIECE) == len(PIECE):
            written += 1
    return written


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=MOUNT_TIMEOUT_S)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
