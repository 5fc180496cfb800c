"""Redis without its memory, or with that of another time: intake decides nothing until it is back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import watch
from command import CommandLine
from pipeline import Workers, books, until
from redis.asyncio import Redis
from shop import order, promote, stock_up, submit

from agents.worker import group
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

Fault = Callable[[Redis], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def memory_lost(redis: Redis) -> AsyncIterator[None]:
    """Redis is empty for a while; then its data are restored, as from a snapshot."""
    kept = {key: await redis.dump(key) async for key in redis.scan_iter()}
    assert kept
    await redis.flushall()
    try:
        yield
    finally:
        for key, value in kept.items():
            await redis.restore(key, 0, value or b"", replace=True)


@asynccontextmanager
async def memory_of_another_time(redis: Redis) -> AsyncIterator[None]:
    """Redis carries another epoch than the ledger issued, as an old snapshot would."""
    epoch = await redis.hget(f"{PREFIX}meta", "epoch")
    await redis.hset(f"{PREFIX}meta", "epoch", "77")
    try:
        yield
    finally:
        await redis.hset(f"{PREFIX}meta", "epoch", epoch)


async def is_closed(parts: Parts, promotion_id: str) -> bool:
    """Whether the promotion was closed."""
    closed = await parts.ledger.promotions(PromotionState.CLOSED)
    return promotion_id in {record.promotion.promotion_id for record in closed}


@pytest.mark.parametrize(
    ("fault", "told"),
    [(memory_lost, "Redis is empty, the ledger is at epoch 1"), (memory_of_another_time, "Redis carries epoch 77")],
    ids=["empty", "other-epoch"],
)
async def test_a_stock_that_cannot_be_trusted_decides_nothing(
    fault: Fault, told: str, stack: Stack, parts: Parts, running: Workers, tmp_path: Path
) -> None:
    """No decision, no commit, no worker dies, and `init` explains itself; once the data are back all are decided."""
    run = fault.__name__
    await stock_up(parts, f"fenced-{run}", [(f"FENCED-{run}", ORDERS)])
    pids = running.pids()
    assert (await books(parts)).waiting == 0
    await promote(parts, f"closes-{run}", 5, lasts_ms=1_000)  # while nobody may touch the stock
    redis = Redis.from_url(parts.settings.redis_url)
    floodway = CommandLine.of(stack, tmp_path)
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
            assert refused.code == EXIT_FENCED
            assert told in refused.error
            await answers.until(lambda: len(answers.heard) == ORDERS, within_s=20)
        await until(lambda: is_closed(parts, f"closes-{run}"), within_s=20, what=running.logs())
        assert running.pids() == pids, running.logs()
    finally:
        await redis.aclose()
    found = await books(parts)
    assert found.balanced, found
