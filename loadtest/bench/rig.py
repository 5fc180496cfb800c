"""What measurements run on: the embedded stack with its real settings files, topics, and a way to fill them."""

import asyncio
import contextlib
import gc
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from agents.bootstrap import close, connect, prepare
from infra.embedded import Stack
from loadtest.bench import cpu
from loadtest.bench.figures import Sample
from loadtest.bench.orders import ALL_SKUS, Order, spread_out
from streams.messages import Outcome
from streams.parts import Parts
from streams.receiving import receive
from streams.settings import Settings, load
from streams.stores.kafka_access import access
from streams.stores.log import Entry
from streams.stores.reader_kafka import TopicReader

ENDLESS_UNITS = 1_000_000_000
"""Units of each SKU: no order is refused unless that is what is measured."""

LOOKUP = 4_000
"""Keys asked for at once."""

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Rig:
    """A stack with everything ready for orders. `run` is a name that no earlier run on these servers had."""

    stack: Stack
    settings: Settings
    parts: Parts
    directory: Path
    run: str = "bench"

    def servers_cpu_s(self) -> dict[str, float]:
        """CPU that each server has used, seconds."""
        return cpu.each_cpu_s(self.stack.pids())

    async def create_topic(self, name: str) -> None:
        """A topic with as many partitions as ours."""
        admin = AIOKafkaAdminClient(**access(self.settings).options())
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, self.settings.topic_partitions, 1)])
        finally:
            await admin.close()

    async def fill(self, topic: str, orders: Sequence[Order]) -> None:
        """Append the orders, spread evenly over the partitions; returns when they can be read."""
        now_ms = self.parts.clock.now_ms()
        lanes = spread_out(orders, self.settings.topic_partitions)
        entries = [[Entry(order.key, order.value, now_ms) for order in lane] for lane in lanes]
        await asyncio.gather(*(self.parts.log.append(topic, p, lane) for p, lane in enumerate(entries) if lane))

    async def records_in(self, topic: str) -> int:
        """How many records a topic has."""
        reader = await TopicReader.open(access(self.settings), topic, start="end")
        await reader.close()
        return sum(reader.ends.values())

    async def decided(self, orders: Sequence[Order]) -> int:
        """How many of the orders have a decision in the ledger."""
        return len(await self.outcomes(orders))

    async def outcomes(self, orders: Sequence[Order]) -> dict[tuple[str, str], Outcome]:
        """What the ledger says of the orders, by channel and submission id; those without a decision are left out."""
        keys = [order.submission_key for order in orders]
        found: dict[tuple[str, str], Outcome] = {}
        for at in range(0, len(keys), LOOKUP):
            stored = await self.parts.ledger.lookup(keys[at : at + LOOKUP])
            found |= {key: decision.outcome for key, decision in stored.items()}
        return found

    async def script_us(self) -> int:
        """Microseconds that the server has spent in scripts, by its own count."""
        async with Redis.from_url(self.settings.redis_url) as client:
            found = await client.info("commandstats")
        return int(found.get("cmdstat_evalsha", {}).get("usec", 0))

    async def timed(self, records: int, work: Callable[[], Awaitable[object]], **also: float) -> Sample:
        """A round of work that this process does itself."""
        gc.collect()
        servers, began_cpu_s, began_s = self.servers_cpu_s(), process_time(), perf_counter()
        await work()
        wall_s, client_s = perf_counter() - began_s, process_time() - began_cpu_s
        return Sample(records, wall_s, client_s, cpu.difference(self.servers_cpu_s(), servers), also)


@contextlib.asynccontextmanager
async def rig(say: Say) -> AsyncIterator[Rig]:
    """Start a stack in a temporary directory, with stock of every SKU; all is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="floodway-bench-") as directory:
        say("starting Kafka, Redis, Postgres and its replica")
        with Stack.start(Path(directory)) as stack:
            settings = load(os.environ | stack.addresses.environment(), log_level="WARNING")
            await prepare(settings)
            parts = await connect(settings)
            try:
                await receive(parts, "bench", [(sku, ENDLESS_UNITS) for sku in ALL_SKUS])
                yield Rig(stack, settings, parts, Path(directory))
            finally:
                await close(parts)
