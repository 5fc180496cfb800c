"""One contender: a process, its topics, its books, and rounds whose outcome is verified."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from loadtest.bench import cpu
from loadtest.bench.announced import announced
from loadtest.bench.figures import Sample
from loadtest.bench.held import Told, Worker
from loadtest.bench.orders import ALL_SKUS, Order, Orders
from loadtest.bench.peers.books import Books, OurBooks, PeerBooks
from loadtest.bench.rig import ENDLESS_UNITS, Rig
from loadtest.bench.running import FAUST_IDLE_FETCH_S, IDLE_FETCH_S
from streams.stores.kafka_access import access
from streams.topics import DECIDED, SUBMITTED

ROUND_TIMEOUT_S = 120.0
SCARCITY = 4
"""One order in so many gets one."""


class Contender:
    """Somebody who does the job. `faults` is what was wrong with its outcome."""

    def __init__(self, rig: Rig, name: str, process: Told | Worker, books: Books, target: str) -> None:
        self.name = name
        self.faults: list[str] = []
        self._rig, self._process, self._books, self._target = rig, process, books, target
        self._source = SUBMITTED.name if isinstance(process, Worker) else source_of(name)
        self._idle_fetch_s = FAUST_IDLE_FETCH_S if name.startswith("faust") else IDLE_FETCH_S
        self._orders, self._scarce = Orders(name), Orders(f"{name}-last", f"SKU-LAST-{name}")

    @classmethod
    async def ours(cls, rig: Rig) -> "Contender":
        """`floodway worker intake`."""
        return cls(rig, "ours", Worker(rig.settings, Path(rig.directory, "bench")), OurBooks(rig), DECIDED.name)

    @classmethod
    async def peer(cls, rig: Rig, name: str, module: str, *, concurrency: int = 1, stock: str = "ours") -> "Contender":
        """A peer of this package. `stock` is where it keeps its own: `redis` or `postgres`; or it works with ours."""
        books: Books = OurBooks(rig)
        target = DECIDED.name
        await rig.create_topic(source_of(name))
        if stock != "ours":
            own = books = PeerBooks(rig, name, in_redis=stock == "redis")
            await own.create()
            await own.provide(dict.fromkeys(ALL_SKUS, ENDLESS_UNITS))
            target = f"bench.{name}.decided"
            await rig.create_topic(target)
        process = Told(
            f"loadtest.bench.peers.{module}",
            *(name, source_of(name), target, str(concurrency)),
            log_path=Path(rig.directory, "bench", f"{name}.log"),
            env=os.environ | rig.stack.addresses.environment(),
        )
        return cls(rig, name, process, books, target)

    async def assigned(self) -> None:
        """Wait until it can begin."""
        await self._process.assigned()

    async def scarce_round(self, orders: int) -> None:
        """More orders than there are units: exactly as many as there are units must be accepted."""
        last = orders // SCARCITY
        await self._books.provide({self._scarce.hot_sku: last})
        made = self._scarce.make(orders, hot=True)
        accepted = (await self._round(made))[1]
        if accepted != last:
            self.faults.append(f"{self.name}: {accepted} orders accepted on {last} units")

    async def round(self, orders: int, *, hot: bool = False) -> Sample:
        """New orders, with stock for all."""
        sample, accepted = await self._round(self._orders.make(orders, hot=hot))
        if accepted != orders:
            self.faults.append(f"{self.name}: {accepted} of {orders} orders accepted, with stock for all")
        return sample

    async def _round(self, made: Sequence[Order]) -> tuple[Sample, int]:
        """Fill its topic while it stands still, let it work, and verify; returns also the units accepted."""
        process, books = self._process, self._books
        before = await books.shelf()
        process.hold()
        await self._rig.fill(self._source, made)
        await asyncio.sleep(self._idle_fetch_s)
        async with announced(access(self._rig.settings), self._target) as decisions:
            servers, client_s = self._rig.servers_cpu_s(), process.cpu_s()
            began = process.let_go()
            ended = await decisions.until(len(made), timeout_s=ROUND_TIMEOUT_S)
            used = cpu.difference(self._rig.servers_cpu_s(), servers)
            sample = Sample(len(made), ended - began, process.cpu_s() - client_s, used)
            seen = await decisions.all_seen()
        after = await books.shelf()
        decided, accepted = await books.decided(made)
        taken = before.free - after.free
        self.faults += faults(self.name, len(made), decided, seen, accepted, taken, after.least)
        return sample, accepted

    async def close(self) -> None:
        """End the process."""
        await asyncio.to_thread(self._process.end)


def source_of(name: str) -> str:
    """Topic that a peer reads."""
    return f"bench.{name}"


def faults(
    name: str, orders: int, decided: int, announced: int, accepted_units: int, taken_units: int, least: int
) -> list[str]:
    """What is wrong with an outcome, in words."""
    found = []
    if decided != orders:
        found.append(f"{name}: {decided} of {orders} orders decided")
    if announced != orders:
        found.append(f"{name}: {announced} decisions announced for {orders} orders")
    if taken_units != accepted_units:
        found.append(f"{name}: {taken_units} units taken for {accepted_units} accepted")
    if least < 0:
        found.append(f"{name}: a SKU has {least} units free")
    return found
