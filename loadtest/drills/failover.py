"""Faults of Postgres that end with another server as the primary."""

import asyncio
import os
import signal
import time
from random import Random
from time import monotonic

from agents.roles import group
from infra.embedded.children import command_of, descendants
from infra.workers import STOP_WAIT_S
from loadtest.drills.drill import Fault, Scene, until
from streams.audit import audit
from streams.stocktake import take_stock
from streams.stores.kafka_access import access
from streams.stores.ledger import FAILED_OVER
from streams.stores.rewind_kafka import rewind
from streams.topics import REPORTED, SUBMITTED

BEHIND_S = (1.0, 2.0)
"""So much of the log the standby never gets."""
WAITED_S = 60.0
"""What was decided last may have waited for so long: it is older, by its own time, than the loss."""
ROLES = {"intake": SUBMITTED, "lifecycle": REPORTED}
CAUGHT_UP_WITHIN_S = 60.0


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


class FailoverAsync(Failover):
    """The standby stops getting the log, unnoticed, and takes the primary's place: what was announced last is lost.

    When the surge is over the audit and a stocktake must have found it; then what came in since is read again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._since_ms = 0

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Stop the sending of the log, let some thousand orders more be decided, and kill."""
        self._since_ms = time.time_ns() // 1_000_000
        primary = scene.stack.pids()[scene.stack.primary()]
        for pid in descendants(primary):
            if "walsender" in command_of(pid):
                os.kill(pid, signal.SIGSTOP)
        behind_s = choose.uniform(*BEHIND_S)
        await asyncio.sleep(behind_s)
        await super().inject(scene, choose)
        scene.say(f"the standby lacked the last {behind_s:.1f} s")

    async def settle(self, scene: Scene) -> None:
        """See that the loss is found, and bring it back."""
        await super().settle(scene)
        found = await audit(
            scene.parts, group("intake"), wait_s=CAUGHT_UP_WITHIN_S, settle_s=0.0, progress=lambda words: None
        )
        kinds = {one.kind for one in (await take_stock(scene.parts)).differences}
        scene.say(f"lost with the old primary, by the audit: {found.missing:,} decisions; by a stocktake: {kinds}")
        if not found.missing or not found.repeated or "leaked_hold" not in kinds:
            scene.complaints.append("Nothing was lost, or it was not found: nothing was put to the test.")
        await self._read_again(scene)

    async def _read_again(self, scene: Scene) -> None:
        """Stop the workers, rewind, start them."""
        had = {role: len(scene.workers.pids(role)) for role in ROLES}
        for role in ROLES:
            scene.workers.scale(role, 0)
        if not await until(lambda: scene.workers.leaving() == 0, within_s=STOP_WAIT_S):
            scene.complaints.append(f"{scene.workers.leaving()} workers had not ended {STOP_WAIT_S:g} s after SIGTERM.")
        brokers = access(scene.parts.settings)
        for role, topic in ROLES.items():
            count = await rewind(brokers, group(role), topic.name, self._since_ms - int(WAITED_S * 1000))
            scene.say(f"{count:,} records are read again by {role}")
            scene.workers.scale(role, had[role])
