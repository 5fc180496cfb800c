"""Redis without its memory, with that of another time, or of somebody else: nothing is decided on what it has."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import watch
from command import CommandLine
from pipeline import Workers, books, until
from redis.asyncio import Redis
from shop import order, promote, stock_up, submit

from agents.roles import group
from infra.embedded import Stack
from streams.core.books import PromotionState
from streams.parts import Parts
from streams.stores.reader_kafka import committed
from streams.stores.stock_keys import PREFIX
from streams.topics import SUBMITTED

pytest_plugins = ["stack_fixtures"]
pytestmark = pytest.mark.timeout(90)

ORDERS = 60
FENCED_FOR_S = 2.5
"""Long enough for several tries, and for several commits if there were any."""
EXIT_FENCED = 3
META = f"{PREFIX}meta"

Fault = Callable[[Redis], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def newer_than_the_ledger(redis: Redis) -> AsyncIterator[None]:
    """Redis carries an epoch that this ledger never issued: the ledger is an older copy."""
    async with _meta(redis):
        await redis.hset(META, "epoch", "77")
        yield


@asynccontextmanager
async def of_another_installation(redis: Redis) -> AsyncIterator[None]:
    """The stock is somebody else's, and lost at that."""
    async with _meta(redis):
        await redis.hset(META, "installation", str(UUID(int=7)))
        await redis.hdel(META, "epoch")
        yield


@asynccontextmanager
async def _meta(redis: Redis) -> AsyncIterator[None]:
    """What the stock says of itself comes back at the end."""
    before: Any = await redis.hgetall(META)
    try:
        yield
    finally:
        await redis.hset(META, mapping=before)


async def is_closed(parts: Parts, promotion_id: str) -> bool:
    """Whether the promotion was closed."""
    closed = await parts.ledger.promotions(PromotionState.CLOSED)
    return promotion_id in {record.promotion.promotion_id for record in closed}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (newer_than_the_ledger, "carries epoch 77, the ledger's newest is"),
        (of_another_installation, "FLOODWAY_REDIS_URL"),
    ],
    ids=["newer", "foreign"],
)
async def test_a_stock_that_is_not_ours_is_left_to_people(
    fault: Fault, told: str, stack: Stack, parts: Parts, running: Workers, tmp_path: Path
) -> None:
    """No decision, no commit, no worker dies, nothing is wiped, `init` explains itself; back, all are decided."""
    run = fault.__name__
    floodway = CommandLine.of(stack, tmp_path)
    await stock_up(parts, f"fenced-{run}", [(f"FENCED-{run}", ORDERS)])
    pids = running.pids()
    assert (await books(parts)).waiting == 0
    await promote(parts, f"closes-{run}", 5, lasts_ms=1_000)  # while nobody may touch the stock
    redis = Redis.from_url(parts.settings.redis_url)
    try:
        async with watch.decisions(parts) as answers:
            async with fault(redis):
                before = await committed(parts.settings.kafka_bootstrap, group("intake"), SUBMITTED.name)
                await submit(parts, [order(f"fenced-{run}-{n}", (f"FENCED-{run}", 1)) for n in range(ORDERS)])
                refused = await asyncio.to_thread(floodway, "init")
                await asyncio.sleep(FENCED_FOR_S)
                await answers.look()
                assert answers.count == 0
                assert await committed(parts.settings.kafka_bootstrap, group("intake"), SUBMITTED.name) == before
                assert running.pids() == pids, running.logs()
                assert await redis.hget(f"{PREFIX}free", f"FENCED-{run}|main") == str(ORDERS).encode()
            assert refused.code == EXIT_FENCED
            assert told in refused.error
            await answers.until(lambda: len(answers.heard) == ORDERS, within_s=20)
        await until(lambda: is_closed(parts, f"closes-{run}"), within_s=20, what=running.logs())
        assert running.pids() == pids, running.logs()
    finally:
        await redis.aclose()
    found = await books(parts)
    assert found.balanced, found


async def test_a_stock_that_lost_its_memory_is_rebuilt(parts: Parts, running: Workers) -> None:
    """Emptied while orders flow: the workers rebuild it, all are decided, promotions go on, no worker dies."""
    await stock_up(parts, "lost", [("LOST", ORDERS)])
    await promote(parts, "closes-lost", 5, lasts_ms=1_000)
    pids, epoch = running.pids(), await parts.ledger.epoch()
    asked = [order(f"lost-{n}", ("LOST", 1)) for n in range(2 * ORDERS)]
    redis = Redis.from_url(parts.settings.redis_url)
    try:
        async with watch.decisions(parts) as answers:
            await submit(parts, asked[:ORDERS])
            await answers.until(lambda: answers.count > 0, within_s=20)
            await redis.flushall()
            await submit(parts, asked[ORDERS:])
            await answers.until(lambda: len(answers.heard) == 2 * ORDERS, within_s=30)
            accepted = [heard[0] for heard in answers.heard.values() if heard[0].lines]
            assert len(accepted) == ORDERS
    finally:
        await redis.aclose()
    await until(lambda: is_closed(parts, "closes-lost"), within_s=20, what=running.logs())
    assert running.pids() == pids, running.logs()
    assert (await parts.ledger.epoch() or 0) > (epoch or 0)
    found = await books(parts)
    assert found.balanced, found
