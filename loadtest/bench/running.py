"""Parts that are processes of their own: a reader that does no work, and the whole intake."""

import asyncio
from pathlib import Path

from loadtest.bench import cpu
from loadtest.bench.announced import announced
from loadtest.bench.figures import Sample
from loadtest.bench.held import Told, Worker
from loadtest.bench.orders import Orders
from loadtest.bench.rig import Rig
from streams.stores.kafka_access import access
from streams.topics import DECIDED, SUBMITTED

ROUND_TIMEOUT_S = 60.0
FAUST_IDLE_FETCH_S = 1.6
"""Stock Faust's fetch waits up to 1.5 s at the broker: it must have come back before a round begins."""
IDLE_FETCH_S = 0.2


class Reader:
    """`loadtest.bench.readers` on a topic of its own."""

    def __init__(self, rig: Rig, name: str, kind: str) -> None:
        self.name = name
        self._rig, self._topic = rig, f"bench.{kind}"
        self._idle_fetch_s = FAUST_IDLE_FETCH_S if kind == "faust" else IDLE_FETCH_S
        self._kind, self._read, self._orders = kind, 0, Orders(kind)
        self._process: Told | None = None

    async def start(self) -> None:
        """Start the process; it joins while others do."""
        await self._rig.create_topic(self._topic)
        settings = self._rig.settings
        most = str(settings.chunk_max_records)
        log_path = Path(self._rig.directory, "bench", f"{self._kind}.log")
        arguments = (self._kind, settings.kafka_bootstrap, self._topic, most)
        self._process = Told("loadtest.bench.readers", *arguments, log_path=log_path)

    async def round(self, orders: int) -> Sample:
        """Fill the topic while it stands still, and let it read."""
        assert self._process is not None
        process = self._process
        await process.assigned()
        process.hold()
        await self._rig.fill(self._topic, self._orders.make(orders))
        await asyncio.sleep(self._idle_fetch_s)
        servers, client_s = self._rig.servers_cpu_s(), process.cpu_s()
        began = process.let_go()
        self._read += orders
        ended = await process.read(self._read, timeout_s=ROUND_TIMEOUT_S)
        used = cpu.difference(self._rig.servers_cpu_s(), servers)
        return Sample(orders, ended - began, process.cpu_s() - client_s, used)

    async def close(self) -> None:
        """End the process."""
        if self._process is not None:
            await asyncio.to_thread(self._process.end)


class Whole:
    """The intake worker as it is shipped, from the first record fetched to the last decision announced."""

    name = "whole intake"

    def __init__(self, rig: Rig) -> None:
        self._rig, self._orders = rig, Orders("whole")
        self._worker: Worker | None = None

    async def start(self) -> None:
        """Start the worker; it joins while others do."""
        self._worker = Worker(self._rig.settings, Path(self._rig.directory, "bench"))

    async def round(self, orders: int) -> Sample:
        """Fill the topic while it stands still, and let it decide."""
        assert self._worker is not None
        worker = self._worker
        await worker.assigned()
        worker.hold()
        made = self._orders.make(orders)
        await self._rig.fill(SUBMITTED.name, made)
        await asyncio.sleep(IDLE_FETCH_S)
        async with announced(access(self._rig.settings), DECIDED.name) as decisions:
            servers, client_s = self._rig.servers_cpu_s(), worker.cpu_s()
            began = worker.let_go()
            ended = await decisions.until(orders, timeout_s=ROUND_TIMEOUT_S)
            used = cpu.difference(self._rig.servers_cpu_s(), servers)
            sample = Sample(orders, ended - began, worker.cpu_s() - client_s, used)
        decided = await self._rig.decided(made)
        assert decided == orders, f"{decided} decisions in the ledger, not {orders}"
        return sample

    async def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            await asyncio.to_thread(self._worker.end)
