"""Who looks at orders while a surge runs: pages and timelines, asked for on a schedule that is fixed beforehand.

A look counts from the time that it was meant to begin, so a front that is slow makes the next ones late, too, and a
look that found no connection free has waited.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

from loadtest.front import Front, ask
from loadtest.tally import quantile
from streams.errors import Unavailable

CONNECTIONS = 32
PAGE, TIMELINE, WHY = "page", "timeline", "why"
PATHS = {PAGE: "/orders/{order}", TIMELINE: "/v1/orders/{order}/timeline", WHY: "/v1/orders/{order}/why"}

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Seen(NamedTuple):
    """Looks of one kind: how many, how many failed, and how long they took from the intended time, milliseconds."""

    looks: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Lookers:
    """Looks at orders in turn, each kind of look by turns, until told to stop."""

    def __init__(self, front: Front, orders: Sequence[str], rate_per_s: float) -> None:
        assert orders, "there must be something to look at"
        self._front, self._orders, self._rate_per_s = front, orders, rate_per_s
        self._took_ms: dict[str, list[float]] = {kind: [] for kind in PATHS}
        self._failed = dict.fromkeys(PATHS, 0)
        self._free: asyncio.Queue[Connection | None] = asyncio.Queue()

    async def look(self, stop: asyncio.Event) -> dict[str, Seen]:
        """Look until `stop`; what was seen, by kind."""
        for _ in range(CONNECTIONS):
            self._free.put_nowait(None)
        began, number, kinds = perf_counter(), 0, list(PATHS)
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                due = began + number / self._rate_per_s
                if (pause_s := due - perf_counter()) > 0:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), pause_s)
                    if stop.is_set():
                        break
                order = self._orders[number * 7_919 % len(self._orders)]
                tasks.create_task(self._one(kinds[number % len(kinds)], order, due))
                number += 1
        while not self._free.empty():
            if (connection := self._free.get_nowait()) is not None:
                connection[1].close()
        return {kind: self._seen(kind) for kind in PATHS}

    async def _one(self, kind: str, order: str, due: float) -> None:
        connection = await self._free.get()
        try:
            if connection is None:
                connection = await asyncio.open_connection("127.0.0.1", self._front.port)
            answer = await ask(*connection, f"GET {PATHS[kind].format(order=order)}")
            assert kind == PAGE or order.encode() in answer, "another order was shown"
            self._took_ms[kind].append((perf_counter() - due) * 1000)
        except (Unavailable, OSError, EOFError):
            self._failed[kind] += 1
            if connection is not None:
                connection[1].close()
            connection = None
        finally:
            self._free.put_nowait(connection)

    def _seen(self, kind: str) -> Seen:
        took = sorted(self._took_ms[kind])
        return Seen(len(took), self._failed[kind], quantile(took, 0.5), quantile(took, 0.99), quantile(took, 1.0))
