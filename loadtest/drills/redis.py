"""Faults of Redis: killed, frozen, and with another memory than it had."""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from random import Random

from infra.embedded import Part
from loadtest.drills.drill import Fault, Scene
from streams.stores.kafka_access import KafkaAccess, access
from streams.stores.reader_kafka import TopicReader
from streams.topics import NOTIFICATIONS, REVIEW

COPIED_BEFORE_S = (1.5, 3.0)
"""A copy of its data is older by so much when it comes back with it."""


class RedisKill(Fault):
    """SIGKILL, and back on the same data."""

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Kill."""
        await asyncio.to_thread(scene.stack.kill, Part.REDIS)

    async def heal(self, scene: Scene) -> None:
        """Start it again."""
        await asyncio.to_thread(scene.stack.restart, Part.REDIS)


class RedisEmpty(RedisKill):
    """SIGKILL, and back with nothing."""

    async def heal(self, scene: Scene) -> None:
        """Take its data away, then start it."""
        shutil.rmtree(_directory(scene))
        await super().heal(scene)


class RedisRollback(RedisKill):
    """SIGKILL, and back with what it knew some seconds before: a restored copy, a failover to a replica that lagged."""

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Copy its data, let it decide some thousand orders more, and kill it."""
        copied_s = choose.uniform(*COPIED_BEFORE_S)
        await asyncio.to_thread(_copy, _directory(scene), _copied(scene))
        await asyncio.sleep(copied_s)
        await super().inject(scene, choose)
        scene.say(f"the copy is {copied_s:.1f} s old")

    async def heal(self, scene: Scene) -> None:
        """Start it on the copy."""
        shutil.rmtree(_directory(scene))
        _copied(scene).rename(_directory(scene))
        await super().heal(scene)


class RedisFrozen(Fault):
    """SIGSTOP for longer than a call may take: scripts run after their callers have given up on them."""

    def __init__(self) -> None:
        self._pid = 0

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Freeze."""
        self._pid = scene.stack.pids()[Part.REDIS]
        os.kill(self._pid, signal.SIGSTOP)

    async def heal(self, scene: Scene) -> None:
        """Let it go on."""
        os.kill(self._pid, signal.SIGCONT)


class RedisAway(RedisFrozen):
    """SIGSTOP for longer than intake's patience: what waits is put aside, and its buyers are told."""

    async def heal(self, scene: Scene) -> None:
        """Count what was put aside, and let it go on."""
        brokers = access(scene.parts.settings)
        aside, told = [await _records(brokers, topic.name) for topic in (REVIEW, NOTIFICATIONS)]
        scene.say(f"{aside:,} submissions put aside, {told:,} notices")
        if not aside or told != aside:
            scene.complaints.append(f"{aside:,} submissions were put aside, and {told:,} notices given.")
        await super().heal(scene)


async def _records(brokers: KafkaAccess, topic: str) -> int:
    reader = await TopicReader.open(brokers, topic, start="end")
    await reader.close()
    return sum(reader.ends.values())


def _directory(scene: Scene) -> Path:
    return scene.data_dir.resolve() / Part.REDIS


def _copied(scene: Scene) -> Path:
    return scene.data_dir.resolve() / "redis.copied"


def _copy(source: Path, target: Path) -> None:
    """Copy a live append-only file: its end may be half a command, which Redis cuts off when it loads it."""
    shutil.copytree(source, target)
