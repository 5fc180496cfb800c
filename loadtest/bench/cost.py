"""What an order costs in each stage, as a multiple of fixed work: a figure that is steady where others use the machine.

Python stages are measured by CPU time of this process, the script by that of the server's thread. (The server's own
count, `INFO commandstats`, is elapsed time, and under load two to three times as unsteady.) Each round is divided by
the fixed work done right before it, and the median of many short rounds counts: what slows the machine for a while hits
both, and under load that is steadier than the best of each, which need not have had the same machine.
"""

import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from time import process_time
from typing import Any, cast

from redis.asyncio import Redis

from loadtest.bench import calibration
from loadtest.bench.cpu import main_thread_cpu_us
from loadtest.bench.lone_redis import lone_redis
from loadtest.bench.orders import ALL_SKUS, Order, Orders
from loadtest.bench.stages import Stages, bookings, chunks, copied, decoded, reservations
from streams.chunks import Chunk
from streams.clock import SystemClock
from streams.core.stock import Code
from streams.intake.decode import decode
from streams.stores.stock_redis import RedisStock

ROUNDS = 50
BATCH = 500
"""Orders in one round: some milliseconds, so that many rounds pass undisturbed even on a busy machine."""
UNITS = 1_000_000_000
HOLD_TTL_MS = 1_800_000
TIMEOUT_S = 10.0
RETENTION_S = 86_400.0


@dataclass(slots=True)
class Rounds:
    """What a stage and the fixed work right before it have cost, round by round; microseconds an order."""

    pairs: list[tuple[float, float]] = field(default_factory=list)

    def note(self, stage_us: float, fixed_us: float) -> None:
        """Take in a round."""
        self.pairs.append((stage_us, fixed_us))

    @property
    def best_us(self) -> float:
        """The least that the stage has cost."""
        return min(stage_us for stage_us, _ in self.pairs)

    @property
    def ratio(self) -> float:
        """The stage's cost as a multiple of the fixed work's, the median over the rounds."""
        return median(stage_us / fixed_us for stage_us, fixed_us in self.pairs)


Cost = dict[str, Rounds]
"""By stage."""


async def measure_cost(rounds: int = ROUNDS) -> Cost:
    """Measure all stages; takes some ten seconds."""
    with lone_redis() as url:
        enabled = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            return await _measure(url, rounds)
        finally:
            if enabled:
                gc.enable()


async def _measure(url: str, rounds: int) -> Cost:
    cost: Cost = {}
    scripts = [
        Script(url, "script", lines=1),
        Script(url, "script_5_lines", lines=5),
        Script(url, "script_hot", hot=True),
    ]
    orders = Orders("cost")
    try:
        for _ in range(rounds):
            await _python_round(cost, orders.make(BATCH))
            for script in scripts:
                await script.round(cost)
    finally:
        for script in scripts:
            await script.close()
    return cost


async def _python_round(cost: Cost, orders: list[Order]) -> None:
    """Each stage once, each with the fixed work right before it."""
    (chunk,) = chunks(orders, BATCH)
    (batch,) = decoded(orders, BATCH)
    (booked,) = await bookings(orders, BATCH)
    stages = Stages()

    async def decode_stage() -> None:
        decode(cast("Chunk", chunk))

    async def copy_stage() -> None:
        copied(booked)

    work: dict[str, Callable[[], Awaitable[object]]] = {
        "decode": decode_stage,
        "reserve": lambda: stages.reserve(batch),
        "persist": lambda: stages.persist(batch),
        "copy": copy_stage,
        "announce": lambda: stages.announce(batch),
    }
    for name, stage in work.items():
        fixed_us = _fixed_us()
        began_s = process_time()
        await stage()
        cost.setdefault(name, Rounds()).note((process_time() - began_s) * 1e6 / BATCH, fixed_us)
    assert len(batch.decisions) == BATCH


def _fixed_us() -> float:
    began_s = process_time()
    calibration.python_work()
    return (process_time() - began_s) * 1e6 / calibration.ORDERS


class Script:
    """The reservation script on stock of its own; the client's share of the call is measured on the way."""

    def __init__(self, url: str, name: str, *, lines: int = 1, hot: bool = False) -> None:
        self._name, self._lines, self._hot = name, lines, hot
        self._orders = Orders(name)
        self._redis: Any = Redis.from_url(url)
        self._stock = RedisStock.connect(
            url, timeout_s=TIMEOUT_S, dedupe_retention_s=RETENTION_S, prefix=f"cost:{name}:"
        )
        self._pid = 0

    async def round(self, cost: Cost) -> None:
        """One call with new orders, after the fixed script."""
        if not self._pid:
            await self._stock.install_epoch(1)
            await self._stock.receive(1, "cost", [(sku, UNITS) for sku in ALL_SKUS])
            self._pid = int((await self._redis.info("server"))["process_id"])
        (batch,) = await reservations(self._orders.make(BATCH, lines=self._lines, hot=self._hot), BATCH)
        now_ms = SystemClock().now_ms()
        began_us = await self._server_us()
        await calibration.script_work(self._redis)
        fixed_us = (await self._server_us() - began_us) / calibration.SCRIPT_KEYS
        fixed_client_us, began_us, began_s = _fixed_us(), await self._server_us(), process_time()
        verdicts = await self._stock.reserve(1, batch, now_ms=now_ms, held_until_ms=now_ms + HOLD_TTL_MS)
        client_us = (process_time() - began_s) * 1e6 / BATCH
        cost.setdefault(self._name, Rounds()).note((await self._server_us() - began_us) / BATCH, fixed_us)
        assert all(verdict.code is Code.ACCEPTED for verdict in verdicts)
        if self._name == "script":
            cost.setdefault("reserve_client", Rounds()).note(client_us, fixed_client_us)

    async def _server_us(self) -> float:
        """CPU that the server has used up to now. It answers a ping first, so it is done with what came before."""
        await self._redis.ping()
        return main_thread_cpu_us(self._pid)

    async def close(self) -> None:
        """Give connections back."""
        await self._stock.close()
        await self._redis.aclose()
