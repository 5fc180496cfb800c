"""`/metrics`, `/livez` and `/readyz` of any process: what they ask, in which form they answer."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import Any

import orjson
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from agents.observe.server import Answer, Asked, Handler
from streams.telemetry import REGISTRY

ASK_AGAIN_S = 1.0
"""However many ask whether a process is ready, its stores are asked no oftener."""
READY_WITHIN_S = 3.0

Checks = Mapping[str, str | None]
"""What readiness depends on: by name, what is wrong with it; None when all is well."""


def process_registry() -> CollectorRegistry:
    """All that this process has counted, and what the system says of it."""
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        REGISTRY.register(collector)
    return REGISTRY


def metrics(registry: CollectorRegistry) -> Handler:
    """`/metrics`, in the form that the client accepts: Prometheus' text or OpenMetrics."""

    async def answer(asked: Asked) -> Answer:
        encode, content_type = choose_encoder(asked.headers.get("accept", ""))
        return Answer(200, encode(registry), content_type)

    return answer


async def livez(_: Asked) -> Answer:
    """It answers, so its loop turns. A worker that stands still otherwise ends by itself, see the watchdog."""
    return Answer(200, b'{"status":"ok"}')


class Readiness:
    """`/readyz`: 200 when every check is fine, else 503; either way the checks as JSON.

    `check` may ask stores. It is asked once for all who ask at the same time, and never given up half-way.
    """

    def __init__(self, check: Callable[[], Coroutine[Any, Any, Checks]]) -> None:
        self._check = check
        self._asking: asyncio.Task[Checks] | None = None
        self._asked_at_s = 0.0

    async def __call__(self, _: Asked) -> Answer:
        """Answer."""
        found = await self._newest()
        is_ready = not any(found.values())
        body = {
            "status": "ok" if is_ready else "unavailable",
            "checks": {name: wrong or "ok" for name, wrong in found.items()},
        }
        return Answer(200 if is_ready else 503, orjson.dumps(body))

    async def _newest(self) -> Checks:
        asking = self._asking
        if asking is None or (asking.done() and monotonic() - self._asked_at_s > ASK_AGAIN_S):
            self._asked_at_s = monotonic()
            asking = self._asking = asyncio.create_task(self._check(), name="readiness")
        done, _ = await asyncio.wait([asking], timeout=READY_WITHIN_S)
        return asking.result() if done else {"stores": f"did not answer in {READY_WITHIN_S:g} s"}
