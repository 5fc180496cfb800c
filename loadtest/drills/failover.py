"""Faults of Postgres that end with another server as the primary."""

import asyncio
from random import Random
from time import monotonic

from loadtest.drills.drill import Fault, Scene
from streams.stores.ledger import FAILED_OVER


class Failover(Fault):
    """SIGKILL of the primary, for good: the standby is promoted, and the old one made its standby amid the backlog."""

    def __init__(self) -> None:
        self._making: asyncio.Task[None] | None = None

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Kill."""
        await asyncio.to_thread(scene.stack.kill, scene.stack.primary())

    async def heal(self, scene: Scene) -> None:
        """Promote, as whoever watches over Postgres would."""
        began, old = monotonic(), scene.stack.primary()
        await asyncio.to_thread(scene.stack.promote)
        scene.say(f"the standby took writes {monotonic() - began:.1f} s after it was told to")
        self._making = asyncio.create_task(asyncio.to_thread(scene.stack.restart, old))

    async def settle(self, scene: Scene) -> None:
        """The old primary must have become a standby; the stock must have been taken over, not rebuilt."""
        assert self._making is not None
        await self._making
        scene.say(f"the old primary was made a standby while orders flowed, the {scene.stack.primary()} is the primary")
        if not await scene.parts.ledger.failed_over_since(1):
            reason = f"An epoch was issued for something else than {FAILED_OVER!r}: the stock was rebuilt."
            scene.complaints.append(reason)
