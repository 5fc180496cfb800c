"""The exporter beside real servers: lag to the record with no worker alive, and advice that knows the bottleneck."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from observing import autoscale, exporting, fetch, sample, samples
from pipeline import books, prepared, until, workers
from shop import order, stock_up, submit

from agents.bootstrap import close, connect
from agents.roles import group
from infra.embedded import Part, Stack
from loadtest.drills.links import Links
from streams.messages import Submission
from streams.metrics import ALL, MEMBERS, Teller
from streams.parts import Parts
from streams.stores.partitioner import partition_of
from streams.topics import SUBMITTED

ORDERS = 1_500
BATCHES = 3
UNITS = 10_000
SHORT = {"redis_timeout_s": 3.0, "breaker_slow_s": 2.9}
EXPORTER = {
    "interval_s": 0.5,
    "stock_interval_s": 1,
    "books_interval_s": 5,
    "autoscale_worker_per_s": 20,
    "autoscale_drain_s": 20,
    "autoscale_settle_s": 2,
    "autoscale_cool_s": 1,
    "autoscale_max": 4,
}
SLOW_S = 0.4
"""In each direction, so the smallest call takes 0.8 s."""
WATCHED_S = 8.0


@pytest.mark.timeout(280)
async def test_lag_is_right_to_the_record_and_advice_knows_the_bottleneck() -> None:
    """No worker alive: lag as produced, more workers advised. A slow Redis: lag again, and nobody is asked for."""
    with tempfile.TemporaryDirectory(prefix="floodway-") as directory, Stack.start(Path(directory) / "s") as own:
        direct = await prepared(own, **SHORT)
        async with Links.started(direct) as links:
            settings = links.lead(direct)
            with exporting(settings, Path(directory), **EXPORTER) as url:
                parts = await connect(direct)
                try:
                    await stock_up(parts, "exported", [("EXP", UNITS)])
                    await with_workers_stopped(parts, url)
                    with workers(settings, intake=1, lifecycle=1) as running:
                        targets = ",".join(str(one["metrics"]).removeprefix("http://") for one in running.statuses())
                        await until(lambda: lag_is(url, 0), within_s=60, what="the lag to drain")
                        with exporting(settings, Path(directory), **EXPORTER, workers=targets) as knowing:
                            await with_redis_slowed(parts, knowing, links)
                    assert (await books(parts)).balanced
                    await with_redis_dead(own, url)
                finally:
                    await close(parts)


async def with_workers_stopped(parts: Parts, url: str) -> None:
    """Several appends a partition, the last of more than one record: what a broker tells of its end falls short."""
    made = [order(f"lag-{n}", ("EXP", 1)) for n in range(ORDERS)]
    for number in range(BATCHES):
        await submit(parts, made[number::BATCHES])
    await until(lambda: lag_is(url, ORDERS), within_s=30, what="the lag")
    await asyncio.sleep(1)
    assert await sum_is(url, ORDERS)
    produced = await by_partition(parts, made)
    for partition, count in produced.items():
        labels = {"consumergroup": group("intake"), "topic": SUBMITTED.name, "partition": str(partition)}
        assert await sample(url, "kafka_consumergroup_lag", **labels) == count
        assert 0 < (await sample(url, "kafka_consumergroup_lag_seconds", **labels) or 0) < 120
        assert await sample(url, "kafka_consumergroup_current_offset", **labels) is None
    await until(lambda: desired_is(url, 4), within_s=40, what="more workers to be advised")
    advice = await autoscale(url, "?min=0&max=2")
    assert (advice["desired"], advice["lag"], advice["replicas"], advice["why"]) == (2, ORDERS, 0, "lag")
    assert advice["lag_seconds"] > 2
    assert fetch(url + "/autoscale?min=3&max=2")[0] == 400
    assert await sample(url, "floodway_stock_units", pool="main", account="free") == UNITS
    assert await sample(url, "floodway_epoch_mismatch") == 0
    age_s = await sample(url, "floodway_commit_age_seconds", consumergroup=group("intake"), topic=SUBMITTED.name)
    assert age_s is not None
    assert age_s > 1
    await until(lambda: is_told(url, "floodway_books_checked_timestamp_seconds"), within_s=30, what="a stocktake")
    told = samples(url)[1]
    later = {"floodway_workers"}  # none are alive
    assert {m.name for m in ALL if m.teller is Teller.EXPORTER} - told <= later | {MEMBERS.name}


async def with_redis_slowed(parts: Parts, url: str, links: Links) -> None:
    """Lag grows as before, and the advice stays where it is, with the reason; healed, the lag drains."""
    await until(lambda: advised(url, desired=1, replicas=1, lag=0), within_s=60, what="rest")
    await links.set("redis", delay_s=SLOW_S)
    for number in range(BATCHES):
        await submit(parts, [order(f"slow-{number}-{n}", ("EXP", 1)) for n in range(ORDERS)])
    await until(lambda: advised(url, held_back=True, why="store_slow"), within_s=30, what="to be held back")
    deadline = asyncio.get_running_loop().time() + WATCHED_S
    while asyncio.get_running_loop().time() < deadline:
        advice = await autoscale(url)
        assert advice["desired"] <= 1, advice
        await asyncio.sleep(0.5)
    await links.set("redis")
    await until(lambda: lag_is(url, 0), within_s=60, what="the lag to drain")


async def with_redis_dead(own: Stack, url: str) -> None:
    """A store that is away is told to be so; what it would have told is left out, the rest stays."""
    own.kill(Part.REDIS)
    await until(lambda: redis_is_down(url), within_s=20, what="redis to be down")
    assert not await is_told(url, "floodway_redis_memory_bytes")
    assert await sum_is(url, 0)
    assert fetch(url + "/readyz")[0] == 200


async def by_partition(parts: Parts, made: list[Submission]) -> Counter[int]:
    """How many records each partition got."""
    count = await parts.log.partitions(SUBMITTED.name)
    return Counter(partition_of(f"{s.channel}:{s.submission_id}".encode(), count) for s in made)


async def lag_is(url: str, lag: int) -> bool:
    """Whether the advice goes by this lag."""
    return (await autoscale(url)).get("lag") == lag


async def sum_is(url: str, lag: int) -> bool:
    """Whether the lag is told as this."""
    return await sample(url, "kafka_consumergroup_lag_sum", consumergroup=group("intake"), topic=SUBMITTED.name) == lag


async def desired_is(url: str, desired: int) -> bool:
    """Whether so many are advised."""
    return (await autoscale(url)).get("desired") == desired


async def advised(url: str, **wanted: object) -> bool:
    """Whether the advice says all this."""
    advice = await autoscale(url)
    return all(advice.get(name) == value for name, value in wanted.items())


async def is_told(url: str, name: str) -> bool:
    """Whether a metric without labels has a value."""
    return await sample(url, name) is not None


async def redis_is_down(url: str) -> bool:
    """Whether the exporter says so."""
    return await sample(url, "floodway_store_up", store="redis") == 0
