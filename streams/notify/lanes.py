"""Lanes: one for each target, that delivers what is due there, in order, each message until it is taken or given up.

A lane reads some messages at a time from the ledger, so memory is bounded however much waits, and a target that is slow
or down holds up nobody else.
"""

import asyncio
from datetime import timedelta
from typing import NoReturn

from streams.core.sinks import Plan
from streams.core.wording import Wordings
from streams.instants import to_datetime
from streams.notify.carrier import Carrier
from streams.parts import Parts
from streams.retry import until_available
from streams.stores.deliveries import Deliveries

FORGET_EVERY_S = 3_600.0


class Lanes:
    """All lanes of a process."""

    def __init__(self, parts: Parts, deliveries: Deliveries, plan: Plan, wordings: Wordings) -> None:
        self._parts, self._deliveries = parts, deliveries
        self._carriers = [Carrier(target, parts, deliveries, plan, wordings) for target in plan.targets.values()]

    def wake(self) -> None:
        """Something is due."""
        for carrier in self._carriers:
            carrier.awake.set()

    async def run(self) -> NoReturn:
        """Deliver, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for carrier in self._carriers:
                tasks.create_task(carrier.run(), name=f"lane {carrier.name}")
            tasks.create_task(self._forget(), name="forget")
        raise AssertionError("lanes have no end")

    async def _forget(self) -> NoReturn:
        settings = self._parts.settings
        while True:
            before = to_datetime(self._parts.clock.now_ms()) - timedelta(seconds=settings.delivery_memory_s)
            await until_available(
                "forget",
                lambda before=before: self._deliveries.forget(before),  # type: ignore[misc]
                max_delay_s=settings.retry_max_delay_s,
            )
            await asyncio.sleep(FORGET_EVERY_S)
