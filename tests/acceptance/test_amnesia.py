"""Redis comes back with an older copy of its own data, in the middle of a surge: no unit is sold twice."""

import asyncio
import shutil
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path
from time import monotonic

import pytest
import watch
from command import CommandLine
from pipeline import Workers, books, prepared, workers
from redis.asyncio import Redis
from shop import key_of, mix, promote, report, stock_up, submit

from agents.bootstrap import close, connect
from infra.embedded import Stack
from infra.embedded.addresses import Part
from streams.messages import Outcome, ReportType
from streams.parts import Parts
from streams.stores.stock_keys import PREFIX

pytestmark = pytest.mark.timeout(180)

SKUS = [f"OLD-{n}" for n in range(40)]
HOT = "old-hot"
UNITS, HOT_UNITS = 40, 60
BURST = 100


@pytest.mark.parametrize(
    "worker_dies",
    [pytest.param(False, id="workers-live", marks=pytest.mark.slow), pytest.param(True, id="a-worker-dies")],
)
async def test_an_older_copy_sells_nothing_twice(worker_dies: bool) -> None:
    """Snapshot, go on selling, kill, restart from the snapshot: orders flow again and every unit has one owner.

    So too when a worker dies at the same time, with verdicts in hand that nobody has written.
    """
    with tempfile.TemporaryDirectory(prefix="floodway-") as directory, Stack.start(Path(directory)) as own:
        settings = await prepared(own)
        with workers(settings, intake=2, lifecycle=1) as running:
            parts = await connect(settings)
            try:
                await sell_through_amnesia(own, Path(directory), parts, running, worker_dies=worker_dies)
            finally:
                await close(parts)


async def sell_through_amnesia(
    own: Stack, directory: Path, parts: Parts, running: Workers, *, worker_dies: bool
) -> None:
    """More is asked for than there is, so that every unit that comes back from the past would be sold again."""
    await stock_up(parts, "old", [(sku, UNITS) for sku in SKUS])
    await promote(parts, HOT, HOT_UNITS, buyer_limit=2)
    source, asked, pids = mix("old", SKUS, HOT), Counter[tuple[str, str]](), running.pids()
    data, copy = directory / "redis", directory / "copy-of-redis"
    async with watch.decisions(parts) as answers:

        async def ask(bursts: int) -> None:
            for _ in range(bursts):
                some = list(islice(source, BURST))
                asked.update(key_of(s) for s in some)
                await submit(parts, some)
                await asyncio.sleep(0.1)

        await ask(4)
        await answers.until(lambda: answers.count >= asked.total(), within_s=30)
        shutil.copytree(data, copy)
        await ask(3)
        await answers.until(lambda: answers.count >= asked.total() - BURST // 2, within_s=30)
        paid = [h[0].order_id for h in answers.heard.values() if h[0].outcome is Outcome.ACCEPTED][:100]
        await report(parts, ReportType.PAYMENT_SUCCEEDED, paid)
        await ask(1)
        own.kill(Part.REDIS)
        shutil.rmtree(data)
        shutil.copytree(copy, data)
        began, heard = monotonic(), answers.count
        own.restart(Part.REDIS)
        back = monotonic()
        if worker_dies:
            running.kill(running.pids("intake")[0])
        await ask(2)
        await answers.until(lambda: answers.count > heard, within_s=30)
        print(f"Redis back after {back - began:.2f} s, decisions {monotonic() - back:.2f} s later")
        await ask(2)
        await answers.until(lambda: all(len(answers.heard.get(k, ())) >= n for k, n in asked.items()), within_s=60)
    assert (running.pids() == pids) is not worker_dies, running.logs()
    sold: Counter[tuple[str, str]] = Counter()
    for heard_of in answers.heard.values():
        assert len({(d.order_id, d.outcome, d.reason, d.decided_at) for d in heard_of}) == 1
        for line in heard_of[0].lines:
            sold[line.sku, line.pool] += line.qty
    assert max(sold[sku, "main"] for sku in SKUS) <= UNITS
    assert sold[HOT, f"promo:{HOT}"] <= HOT_UNITS
    assert sum(sold.values()) > 0.8 * UNITS * len(SKUS), "too little was asked for to sell anything twice"
    found = await books(parts)
    assert found.balanced, found
    assert await parts.ledger.epoch() == 2
    await by_hand(CommandLine.of(own, directory), parts)


async def by_hand(floodway: CommandLine, parts: Parts) -> None:
    """`stock check` finds what somebody has put into Redis, `stock rebuild` mends it while the workers live."""
    clean = await asyncio.to_thread(floodway, "stock", "check", "--json")
    assert (clean.code, clean.json["differences"], clean.json["epoch"]) == (0, [], 2), clean
    redis = Redis.from_url(parts.settings.redis_url)
    await redis.hincrby(f"{PREFIX}free", f"{SKUS[0]}|main", 5)
    await redis.aclose()
    found = await asyncio.to_thread(floodway, "stock", "check", "--json")
    assert (found.code, [d["what"] for d in found.json["differences"]]) == (1, [f"{SKUS[0]}|main"]), found
    rebuilt = await asyncio.to_thread(floodway, "stock", "rebuild", "--reason", "a test", "--json")
    assert (rebuilt.code, rebuilt.json["epoch"], rebuilt.json["reason"]) == (0, 3, "a test"), rebuilt
    assert (await asyncio.to_thread(floodway, "stock", "check")).code == 0
    async with watch.decisions(parts) as answers:
        again = list(islice(mix("after", SKUS, HOT), BURST))
        await submit(parts, again)
        await answers.until(lambda: len(answers.heard) == len({key_of(s) for s in again}), within_s=30)
    report = await books(parts)
    assert report.balanced, report
