"""What an order costs by way of the HTTP front: single, under idempotency keys, and in batches, all acknowledged.

The front is a process of its own, as shipped; its processor time is what is told: rates of a machine that also runs the
client, the broker and whatever else say little. Every answer is looked at: an order that was not acknowledged ends it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from time import perf_counter

from loadtest.bench import cpu
from loadtest.bench.figures import Sample, Series
from loadtest.bench.orders import Order, Orders
from loadtest.bench.rig import Rig, rig
from loadtest.front import ask
from loadtest.front import front as started

CONNECTIONS = 16
JSON, NDJSON = "Content-Type: application/json\r\n", "Content-Type: application/x-ndjson\r\n"
BATCH = 2_000
BATCH_SHARE = 5
"""Batches take so many times the orders of a round, for they are cheap and the clock is coarse."""

SINGLE, KEYED, BATCHES = "single", "single, with key", f"batches of {BATCH:,}"


class _Front:
    """One front process and connections to it."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid, self._port = pid, port

    async def singles(self, orders: Sequence[Order], *, with_key: bool) -> None:
        """POST each, over connections that stay open."""
        lanes = [orders[lane::CONNECTIONS] for lane in range(CONNECTIONS)]
        await asyncio.gather(*(self._lane(lane, with_key=with_key) for lane in lanes if lane))

    async def batches(self, orders: Sequence[Order]) -> None:
        """POST them in batches, one after the other over two connections."""
        bodies = [b"\n".join([o.value for o in orders[at : at + BATCH]]) for at in range(0, len(orders), BATCH)]

        async def some(lane: Sequence[bytes]) -> None:
            async with self._connection() as (reader, writer):
                for body in lane:
                    await ask(reader, writer, "POST /v1/orders:batch", NDJSON, body, expect=200)

        await asyncio.gather(some(bodies[::2]), some(bodies[1::2]))

    async def _lane(self, orders: Sequence[Order], *, with_key: bool) -> None:
        async with self._connection() as (reader, writer):
            for order in orders:
                header = f'{JSON}Idempotency-Key: "{order.key.decode()}"\r\n' if with_key else JSON
                await ask(reader, writer, "POST /v1/orders", header, order.value, expect=202)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def measure_http(orders: int, say: Callable[[str], object], *, rounds: int) -> list[Series]:
    """Go over all ways in turn, after a round to warm up; samples' client is the front. Raises `Unavailable`."""
    series = {name: Series(name) for name in (SINGLE, KEYED, BATCHES)}
    async with rig(say) as on, started(on.settings, on.directory / "bench") as process:
        front = _Front(process.pid, process.port)
        maker = Orders("http")
        for number in range(rounds + 1):
            for name, one in series.items():
                say(f"{name}, round {number} of {rounds}")
                count = orders * BATCH_SHARE if name == BATCHES else orders
                made = maker.make(count)
                sample = await _timed(on, front, name, made)
                if number:
                    one.samples.append(sample)
    return list(series.values())


async def _timed(on: Rig, front: _Front, name: str, orders: Sequence[Order]) -> Sample:
    servers, used_s, began_s = on.servers_cpu_s(), cpu.cpu_s(front.pid), perf_counter()
    if name == BATCHES:
        await front.batches(orders)
    else:
        await front.singles(orders, with_key=name == KEYED)
    wall_s = perf_counter() - began_s
    spent_s = cpu.cpu_s(front.pid) - used_s
    return Sample(len(orders), wall_s, spent_s, cpu.difference(on.servers_cpu_s(), servers))
