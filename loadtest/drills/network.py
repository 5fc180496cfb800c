"""Faults of the network between workers and servers, and of brokers."""

import asyncio
from random import Random

from infra.embedded import Part
from loadtest.drills.drill import Fault, Scene
from loadtest.drills.proxy import Mode


class Network(Fault):
    """One link misbehaves for a while."""

    def __init__(self, link: str, mode: Mode = Mode.OPEN, *, delay_s: float = 0.0) -> None:
        self._link, self._mode, self._delay_s = link, mode, delay_s

    async def inject(self, scene: Scene, choose: Random) -> None:
        """From now on."""
        await scene.links.set(self._link, self._mode, self._delay_s)

    async def heal(self, scene: Scene) -> None:
        """All passes again."""
        await scene.links.set(self._link)


class BrokerKill(Fault):
    """SIGKILL of one broker, and back on its data."""

    def __init__(self, nodes: int = 1) -> None:
        self._nodes = nodes
        self._node = 1

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Kill one, chosen."""
        self._node = choose.randint(1, self._nodes)
        await asyncio.to_thread(scene.stack.kill, Part.KAFKA, self._node)
        scene.say(f"killed broker {self._node} of {self._nodes}")

    async def heal(self, scene: Scene) -> None:
        """Start it again."""
        await asyncio.to_thread(scene.stack.restart, Part.KAFKA, self._node)
