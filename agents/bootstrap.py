"""Settings to parts: the one place where the real stores are made, and where a new installation is made ready."""

import asyncio
from contextlib import aclosing
from typing import NamedTuple

from streams.clock import SystemClock
from streams.errors import Fenced
from streams.parts import Parts
from streams.settings import Settings
from streams.stores.kafka_access import access
from streams.stores.ledger import Ledger
from streams.stores.ledger_postgres import PostgresLedger
from streams.stores.log_kafka import KafkaLog
from streams.stores.stock import Stock
from streams.stores.stock_redis import RedisStock
from streams.stores.topics_kafka import create_topics


class Prepared(NamedTuple):
    """What `prepare` did."""

    epoch: int
    migrations: list[str]
    topics: list[str]


async def connect_ledger(settings: Settings) -> PostgresLedger:
    """The ledger alone."""
    return await PostgresLedger.connect(
        settings.postgres_dsn,
        settings.postgres_replica_dsn,
        pool_size=settings.postgres_pool,
        statement_timeout_s=settings.postgres_timeout_s,
        replica_wait_s=settings.replica_wait_s,
    )


async def connect_stock(settings: Settings) -> RedisStock:
    """The stock alone."""
    return RedisStock.connect(
        settings.redis_url, timeout_s=settings.redis_timeout_s, dedupe_retention_s=settings.dedupe_retention_s
    )


async def connect(settings: Settings) -> Parts:
    """All parts, connected. Raises `Unavailable` for the first that does not answer."""
    ledger = await connect_ledger(settings)
    stock = await connect_stock(settings)
    log = await KafkaLog.connect(access(settings))
    return Parts(stock, ledger, log, SystemClock(), settings)


async def close(parts: Parts) -> None:
    """Give everything back."""
    await asyncio.gather(parts.log.close(), parts.stock.close(), parts.ledger.close())


async def prepare(settings: Settings) -> Prepared:
    """Bring the schema up to date, create missing topics, and give an empty stock its epoch. Safe to repeat."""
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
        epoch = await ensure_epoch(ledger, stock)
    finally:
        await asyncio.gather(stock.close(), ledger.close())
    return Prepared(epoch, migrations, created)


async def ensure_epoch(ledger: Ledger, stock: Stock) -> int:
    """The epoch on which ledger and stock agree, the first one issued if there is none.

    A stock without an epoch beside a ledger with movements is one that has lost its memory; to give it an epoch would
    be to sell from empty shelves, so that raises `Fenced`.
    """
    issued, carried = await ledger.epoch(), await stock.epoch()
    if issued is None:
        if carried is not None:
            raise Fenced(f"Redis carries epoch {carried}, this ledger issued none: they do not belong together.")
        issued = await ledger.issue_epoch("first")
    if carried is None:
        # Closed before anything is raised: it holds a connection, and the ledger's closing would wait for that.
        async with aclosing(ledger.balances()) as balances:  # type: ignore[type-var]  # both ledgers make generators
            remembered = await anext(balances, None) is not None
        if remembered:
            raise Fenced(
                f"Redis is empty, the ledger is at epoch {issued} with stock in its books. Nothing is decided until "
                "Redis has its own newest data again; an older copy would sell twice, `floodway verify` tells."
            )
        await stock.install_epoch(issued)
    elif carried != issued:
        raise Fenced(f"Redis carries epoch {carried}, the ledger issued {issued}; Redis' data are of another time.")
    return issued
