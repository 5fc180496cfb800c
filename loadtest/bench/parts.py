"""The parts that are measured alone. Each is an object with a name and `round(orders)`, which is one sample of it."""

from collections.abc import Sequence
from typing import Protocol, cast

from aiokafka import AIOKafkaConsumer, TopicPartition

from loadtest.bench.figures import Sample
from loadtest.bench.orders import ALL_SKUS, HOT_SKU, Order, Orders
from loadtest.bench.rig import ENDLESS_UNITS, Rig
from loadtest.bench.stages import Stages, answered, bookings, chunks, decoded, reservations
from streams.chunks import Chunk
from streams.core.stock import Code, Promotion
from streams.intake.decode import decode
from streams.stores.kafka_access import access
from streams.stores.stock_redis import RedisStock
from streams.topics import DECIDED

EPOCH = 1
HOLD_TTL_MS = 1_800_000
DAY_MS = 86_400_000
PROMO_SHARE = 100
"""The hot promotion has units for one order in so many."""


class Part(Protocol):
    """One thing that is measured."""

    name: str

    async def round(self, orders: int) -> Sample:
        """Do it for about so many orders."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...


class _Quiet:
    """A part that holds nothing open."""

    async def close(self) -> None:
        """Nothing to give back."""


class Fetch(_Quiet):
    """aiokafka alone: `getmany` over all partitions of a filled topic."""

    name = "raw aiokafka"
    TOPIC = "bench.fetch"

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._filled = 0

    async def round(self, orders: int) -> Sample:
        """Read the topic from its beginning to its end."""
        settings = self._rig.settings
        if self._filled < orders:
            if not self._filled:
                await self._rig.create_topic(self.TOPIC)
            await self._rig.fill(self.TOPIC, Orders("fetch").make(orders - self._filled))
            self._filled = orders
        consumer = AIOKafkaConsumer(
            **access(settings).options(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=settings.fetch_max_wait_ms,
        )
        await consumer.start()
        try:
            return await self._rig.timed(orders, lambda: self._read(consumer, orders))
        finally:
            await consumer.stop()

    async def _read(self, consumer: AIOKafkaConsumer, wanted: int) -> None:
        consumer.assign([TopicPartition(self.TOPIC, p) for p in range(self._rig.settings.topic_partitions)])
        most, read = self._rig.settings.chunk_max_records, 0
        while read < wanted:
            for records in (await consumer.getmany(timeout_ms=200, max_records=most)).values():
                read += len(records)


class Decode(_Quiet):
    """`streams.intake.decode.decode`: bytes to intents. Pure Python, no server."""

    name = "decode and intent"

    def __init__(self, rig: Rig) -> None:
        self._rig, self._orders = rig, Orders("decode")

    async def round(self, orders: int) -> Sample:
        """Decode chunks as they come from the transport."""
        ready = chunks(self._orders.make(orders), self._rig.settings.chunk_max_records)

        async def work() -> None:
            for chunk in ready:
                assert len(decode(cast("Chunk", chunk)).intents) == len(chunk.records)

        return await self._rig.timed(orders, work)


class Reserve:
    """The script through `RedisStock`, one call after the other at the batch size of the settings."""

    def __init__(self, rig: Rig, name: str, *, lines: int = 1, hot: bool = False) -> None:
        self.name = name
        self._rig, self._lines, self._hot = rig, lines, hot
        self._orders = Orders(f"r{lines}{hot:d}")
        settings = rig.settings
        self._stock = RedisStock.connect(
            settings.redis_url,
            timeout_s=settings.redis_timeout_s,
            dedupe_retention_s=settings.dedupe_retention_s,
            prefix=f"bench:{name.replace(' ', '-')}:",
        )

    async def round(self, orders: int) -> Sample:
        """Reserve new orders, of which there is stock for all."""
        await self._provide()
        return await self._reserve(self._orders.make(orders, lines=self._lines, hot=self._hot), accepted=orders)

    async def _provide(self) -> None:
        await self._stock.install_epoch(EPOCH)
        await self._stock.receive(EPOCH, "bench", [(sku, ENDLESS_UNITS) for sku in ALL_SKUS])

    async def _reserve(self, orders: Sequence[Order], *, accepted: int) -> Sample:
        batches = await reservations(orders, self._rig.settings.batch_max_orders)
        found = 0

        async def work() -> None:
            nonlocal found
            for batch in batches:
                now_ms = self._rig.parts.clock.now_ms()
                held_until_ms = now_ms + HOLD_TTL_MS
                verdicts = await self._stock.reserve(EPOCH, batch, now_ms=now_ms, held_until_ms=held_until_ms)
                found += sum(verdict.code is Code.ACCEPTED and not verdict.replay for verdict in verdicts)

        before_us = await self._rig.script_us()
        sample = await self._rig.timed(len(orders), work)
        assert found == accepted, f"{self.name}: {found} orders accepted, not {accepted}"
        sample.also["script_us_per_record"] = (await self._rig.script_us() - before_us) / len(orders)
        sample.also["accepted_ratio"] = found / len(orders)
        return sample

    async def close(self) -> None:
        """Give connections back."""
        await self._stock.close()


class ReservePromotion(Reserve):
    """One hot SKU of a promotion that has units for one order in a hundred: what a flash sale mostly is, refusals."""

    def __init__(self, rig: Rig, name: str) -> None:
        super().__init__(rig, name, hot=True)
        self._opened = 0

    async def round(self, orders: int) -> Sample:
        """Open a promotion, and let everybody want its units."""
        await self._provide()
        self._opened += 1
        promotion_id, now_ms = f"flash-{self._opened}", self._rig.parts.clock.now_ms()
        quota = ((HOT_SKU, max(1, orders // PROMO_SHARE)),)
        promotion = Promotion(promotion_id, now_ms - DAY_MS, now_ms + DAY_MS, 0, quota)
        assert not await self._stock.open_promotion(EPOCH, promotion)
        wanted = self._orders.make(orders, hot=True, promotion_id=promotion_id)
        return await self._reserve(wanted, accepted=quota[0][1])


class Books(_Quiet):
    """What the third stage does beside writing: bookings before it, answers after it. Pure Python, no server."""

    name = "bookings and answers"

    def __init__(self, rig: Rig) -> None:
        self._rig, self._orders = rig, Orders("books")

    async def round(self, orders: int) -> Sample:
        """Run the stage over a ledger that only records."""
        stages = Stages()
        batches = decoded(self._orders.make(orders), self._rig.settings.batch_max_orders)
        for batch in batches:
            await stages.reserve(batch)

        async def work() -> None:
            for batch in batches:
                await stages.persist(batch)

        sample = await self._rig.timed(orders, work)
        assert sum(len(batch.decisions) for batch in batches) == orders
        return sample


class Persist(_Quiet):
    """`PostgresLedger.persist`: one COPY transaction a batch, one batch after the other."""

    def __init__(self, rig: Rig, name: str, *, lines: int = 1) -> None:
        self.name = name
        self._rig, self._lines, self._orders = rig, lines, Orders(f"p{lines}")

    async def round(self, orders: int) -> Sample:
        """Write new decisions, all accepted."""
        made = self._orders.make(orders, lines=self._lines)
        batches = await bookings(made, self._rig.settings.batch_max_orders)

        ledger = self._rig.parts.ledger
        epoch = await ledger.epoch()
        assert epoch is not None, "the rig has made the stores ready"

        async def work() -> None:
            for batch in batches:
                assert not (await ledger.persist(batch, epoch)).stored

        sample = await self._rig.timed(orders, work)
        written = await self._rig.decided(made)
        assert written == orders, f"{self.name}: {written} decisions written, not {orders}"
        return sample


class Announce(_Quiet):
    """The fourth stage: decisions encoded and appended, acknowledged by the broker."""

    name = "announce"

    def __init__(self, rig: Rig) -> None:
        self._rig, self._orders = rig, Orders("announce")

    async def round(self, orders: int) -> Sample:
        """Announce new decisions, batch by batch."""
        batches = await answered(self._orders.make(orders), self._rig.settings.batch_max_orders)
        stages = Stages(log=self._rig.parts.log)

        async def work() -> None:
            for batch in batches:
                await stages.announce(batch)

        before = await self._rig.records_in(DECIDED.name)
        sample = await self._rig.timed(orders, work)
        found = await self._rig.records_in(DECIDED.name) - before
        assert found == orders, f"{found} decisions in {DECIDED.name}, not {orders}"
        return sample
