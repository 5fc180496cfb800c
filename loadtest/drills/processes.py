"""Faults of processes of ours: killed, frozen, drained, scaled, and with a clock that is wrong."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from time import monotonic

import asyncpg

from infra.workers import STOP_WAIT_S
from loadtest.drills.drill import Fault, Scene, until

KILLS = 3
KILL_PAUSE_S = (0.6, 1.5)
MOST_WORKERS = 4
SCALED_FOR_S = 4.0
SKEW_S = 3_600.0
WRONG_TIMES_SQL = "SELECT count(*) FROM decisions WHERE decided_at > now() + $1 OR decided_at < now() - $1"
JOIN_WITHIN_S = 60.0


class WorkerKill(Fault):
    """SIGKILL, several times, each time another or the same."""

    def __init__(self, role: str = "intake", kills: int = KILLS) -> None:
        self._role, self._kills = role, kills

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Kill."""
        for number in range(self._kills):
            if number:
                await asyncio.sleep(choose.uniform(*KILL_PAUSE_S))
            await until(lambda: bool(scene.workers.pids(self._role)), within_s=JOIN_WITHIN_S)
            pid = choose.choice(scene.workers.pids(self._role))
            os.kill(pid, signal.SIGKILL)
            scene.say(f"killed {self._role} worker {pid}")


class WorkerStall(Fault):
    """SIGSTOP for longer than the session timeout: the group gives its partitions away, then it wakes up."""

    def __init__(self) -> None:
        self._pid = 0

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Freeze one."""
        self._pid = choose.choice(scene.workers.pids("intake"))
        os.kill(self._pid, signal.SIGSTOP)
        scene.say(f"froze intake worker {self._pid}")

    async def heal(self, scene: Scene) -> None:
        """Let it go on, with whatever it had in hands."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGCONT)


class WorkerDrain(Fault):
    """SIGTERM: it must finish what it has in hands and end with 0 within the bound."""

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Ask one to end, and wait until it has."""
        before = len(scene.workers.endings)
        pid, began = choose.choice(scene.workers.pids("intake")), monotonic()
        os.kill(pid, signal.SIGTERM)
        if not await until(lambda: len(scene.workers.endings) > before, within_s=STOP_WAIT_S):
            scene.complaints.append(f"Worker {pid} had not ended {STOP_WAIT_S:g} s after SIGTERM.")
            return
        ending = scene.workers.endings[before]
        scene.say(f"intake worker {pid} ended with {ending.code} {monotonic() - began:.1f} s after SIGTERM")
        if ending.code != 0:
            scene.complaints.append(f"Worker {pid} ended with {ending.code} after SIGTERM, not with 0.")


class ScaleUpDown(Fault):
    """From one worker to four, and when they have had partitions, back to one, in order."""

    async def inject(self, scene: Scene, choose: Random) -> None:
        """More, until all have joined; for some seconds."""
        began = monotonic()
        scene.workers.scale("intake", MOST_WORKERS)
        if not await until(lambda: scene.workers.ready() == len(scene.workers), within_s=JOIN_WITHIN_S):
            scene.complaints.append(f"{scene.workers.ready()} of {len(scene.workers)} workers got partitions.")
        scene.say(f"{MOST_WORKERS} intake workers had partitions after {monotonic() - began:.1f} s")
        await asyncio.sleep(SCALED_FOR_S)

    async def heal(self, scene: Scene) -> None:
        """Back to one. Those that go must go by themselves."""
        began, before = monotonic(), await _decided(scene)
        scene.workers.scale("intake", 1)
        if not await until(lambda: scene.workers.leaving() == 0, within_s=STOP_WAIT_S):
            scene.complaints.append(f"{scene.workers.leaving()} workers had not ended {STOP_WAIT_S:g} s after SIGTERM.")
        codes = [ending.code for ending in scene.workers.endings if ending.was_asked]
        scene.say(f"{len(codes)} workers ended with {codes} within {monotonic() - began:.1f} s")
        if any(codes):
            scene.complaints.append(f"Workers that were asked to end did so with {codes}.")
        decided = await _decided(scene) - before
        scene.say(f"{decided:,} orders were decided meanwhile")
        if not decided:
            scene.complaints.append("No order was left when the workers went: nothing was put to the test.")


class ClockJump(Fault):
    """The clock of one intake worker jumps an hour ahead, or back, and returns."""

    def __init__(self) -> None:
        self._file = Path()

    def argv(self, data_dir: Path) -> Callable[[str, int], Sequence[str]]:
        """Workers whose clocks can be put wrong."""

        def argv(role: str, number: int) -> Sequence[str]:
            file = _clock_file(data_dir, role, number)
            return [sys.executable, "-m", "loadtest.drills.skewed_worker", role, str(file)]

        return argv

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Put one wrong, in one step."""
        number, skew_s = choose.randrange(len(scene.workers.pids("intake"))), choose.choice((SKEW_S, -SKEW_S))
        self._file = _clock_file(scene.data_dir, "intake", number)
        beside = self._file.with_suffix(".new")
        beside.write_text(str(skew_s), encoding="ascii")
        beside.rename(self._file)
        scene.say(f"the clock of intake worker {number} was {skew_s:+,.0f} s off")

    async def heal(self, scene: Scene) -> None:
        """The right time again; something must have been decided by the wrong one."""
        self._file.unlink()
        postgres = await asyncpg.connect(scene.parts.settings.postgres_dsn)
        try:
            decided = await postgres.fetchval(WRONG_TIMES_SQL, timedelta(seconds=SKEW_S / 2))
        finally:
            await postgres.close()
        scene.say(f"{decided:,} decisions by that clock")
        if not decided:
            scene.complaints.append("Nothing was decided by the wrong clock: nothing was put to the test.")


async def _decided(scene: Scene) -> int:
    postgres = await asyncpg.connect(scene.parts.settings.postgres_dsn)
    try:
        count: int = await postgres.fetchval("SELECT count(*) FROM decisions")
    finally:
        await postgres.close()
    return count


def _clock_file(data_dir: Path, role: str, number: int) -> Path:
    return data_dir.resolve() / f"{role}-{number}.skew"
