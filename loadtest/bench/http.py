"""What an order costs by way of the HTTP front: single, under idempotency keys, and in batches, all acknowledged.

The front is a process of its own, as shipped; its processor time is what is told: rates of a machine that also runs the
client, the broker and whatever else say little. Every answer is looked at: an order that was not acknowledged ends it.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from time import monotonic, perf_counter

from infra.embedded import spawn
from infra.embedded.children import end
from loadtest.bench import cpu
from loadtest.bench.figures import Sample, Series
from loadtest.bench.orders import Order, Orders
from loadtest.bench.rig import Rig, rig
from streams.errors import Unavailable
from streams.settings import environment

CONNECTIONS = 16
BATCH = 2_000
BATCH_SHARE = 5
"""Batches take so many times the orders of a round, for they are cheap and the clock is coarse."""
READY_WITHIN_S = 60.0
STOP_GRACE_S = 15.0
LOOK_S = 0.02
ENOUGH_PER_S = "1000000000"

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
                    await _post(reader, writer, "/v1/orders:batch", "application/x-ndjson", body, expect=200)

        await asyncio.gather(some(bodies[::2]), some(bodies[1::2]))

    async def _lane(self, orders: Sequence[Order], *, with_key: bool) -> None:
        async with self._connection() as (reader, writer):
            for order in orders:
                header = f'Idempotency-Key: "{order.key.decode()}"\r\n' if with_key else ""
                await _post(reader, writer, "/v1/orders", "application/json", order.value, expect=202, header=header)

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
    async with rig(say) as on, _front(on) as front:
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


@contextlib.asynccontextmanager
async def _front(on: Rig) -> AsyncIterator[_Front]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ready, log_path = on.directory / "front.ready", Path(on.directory, "bench", "front.log")
    log_path.parent.mkdir(exist_ok=True)
    environ = {**os.environ, **environment(on.settings), "FLOODWAY_READY_FILE": str(ready)}
    environ |= {"FLOODWAY_HTTP_RATE_PER_S": ENOUGH_PER_S, "FLOODWAY_HTTP_HOST": "127.0.0.1"}
    argv = [sys.executable, "-c", "from infra.cli import main; main()", "http", "--port", str(port)]
    process = spawn(argv, log_path=log_path, env=environ)
    try:
        deadline = monotonic() + READY_WITHIN_S
        while not ready.exists():
            if process.poll() is not None or monotonic() > deadline:
                raise Unavailable(f"The front did not start. It said: {log_path.read_text(errors='replace')[-1_500:]}")
            await asyncio.sleep(LOOK_S)
        yield _Front(process.pid, port)
    finally:
        await asyncio.to_thread(end, process, grace_s=STOP_GRACE_S)


async def _post(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    path: str,
    kind: str,
    body: bytes,
    *,
    expect: int,
    header: str = "",
) -> None:
    """One request, and its whole answer. Raises `Unavailable` for another status."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{header}\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    told = await reader.readuntil(b"\r\n\r\n")
    length = int(told.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    answer = await reader.readexactly(length)
    if int(told.split(b" ", 2)[1]) != expect:
        raise Unavailable(f"The front answered {told.splitlines()[0].decode()}: {answer[:300].decode()}")
