"""Settings to parts: the one place where the real stores are made, and where a new installation is made ready."""

import asyncio
from functools import partial
from typing import NamedTuple

from streams.breakers import Breakers, guarded
from streams.clock import Clock, SystemClock
from streams.parts import Parts
from streams.rebuild import ensure_stock
from streams.settings import Settings
from streams.stores.kafka_access import access
from streams.stores.ledger import Ledger
from streams.stores.ledger_postgres import PostgresLedger
from streams.stores.log import Log
from streams.stores.log_kafka import KafkaLog
from streams.stores.stock import Stock
from streams.stores.stock_redis import RedisStock
from streams.stores.topics_kafka import create_topics

LOST = "redis was restarted or has lost its data"
"""Why a stock is rebuilt without being asked; kept with the epoch."""


class Prepared(NamedTuple):
    """What `prepare` did."""

    epoch: int
    migrations: list[str]
    topics: list[str]


async def connect_ledger(settings: Settings, *, at_once: bool = True) -> PostgresLedger:
    """The ledger alone; not `at_once`, it connects when first asked."""
    return await PostgresLedger.connect(
        settings.postgres_dsn,
        settings.postgres_replica_dsn,
        pool_size=settings.postgres_pool,
        statement_timeout_s=settings.postgres_timeout_s,
        replica_wait_s=settings.replica_wait_s,
        at_once=at_once,
    )


async def connect_stock(settings: Settings) -> RedisStock:
    """The stock alone."""
    return RedisStock.connect(
        settings.redis_url, timeout_s=settings.redis_timeout_s, dedupe_retention_s=settings.dedupe_retention_s
    )


async def connect(settings: Settings, breakers: Breakers | None = None) -> Parts:
    """All parts, connected. Raises `Unavailable` for the first that does not answer.

    With `breakers`, those of a worker, stores are behind them and are not asked yet: a worker that starts in an outage
    may still put orders aside.
    """
    ledger: Ledger = await connect_ledger(settings, at_once=breakers is None)
    stock: Stock = await connect_stock(settings)
    log: Log = await KafkaLog.connect(access(settings))
    if breakers is not None:
        stock, ledger = guarded(stock, breakers.stock), guarded(ledger, breakers.ledger)
        log = guarded(log, breakers.log)
    clock = SystemClock()
    recover = partial(
        ensure_stock,
        ledger,
        stock,
        clock,
        retention_s=settings.dedupe_retention_s,
        reason=LOST,
        may_rebuild=settings.stock_auto_rebuild,
    )
    return Parts(stock, ledger, log, clock, settings, recover, breakers)


async def close(parts: Parts) -> None:
    """Give everything back."""
    await asyncio.gather(parts.log.close(), parts.stock.close(), parts.ledger.close())


async def prepare(settings: Settings) -> Prepared:
    """Bring the schema up to date, create missing topics, and make the stock one that can be asked. Safe to repeat."""
    ledger = await connect_ledger(settings)
    stock = await connect_stock(settings)
    try:
        migrations = await ledger.migrate()
        created = await create_topics(
            access(settings),
            partitions=settings.topic_partitions,
            replication=settings.topic_replication,
            min_insync=settings.topic_min_insync,
        )
        epoch = await ensure_epoch(ledger, stock, settings, SystemClock())
    finally:
        await asyncio.gather(stock.close(), ledger.close())
    return Prepared(epoch, migrations, created)


async def ensure_epoch(ledger: Ledger, stock: Stock, settings: Settings, clock: Clock) -> int:
    """The epoch on which ledger and stock agree; the first one, or a rebuilt stock's, if there is none.

    Raises `Fenced` for a stock that has lost its memory, where rebuilding is left to people, or is not this ledger's.
    """
    is_first = await ledger.epoch() is None
    await ensure_stock(
        ledger,
        stock,
        clock,
        retention_s=settings.dedupe_retention_s,
        reason="first" if is_first else LOST,
        may_rebuild=is_first or settings.stock_auto_rebuild,
    )
    issued = await ledger.epoch()
    assert issued is not None, "a stock that was ensured has an epoch"
    return issued
