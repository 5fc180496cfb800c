"""Workers killed with `kill -9` under load: nothing is lost, nothing happens twice, the books balance."""

import asyncio
import random
import tempfile
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path
from uuid import UUID

import pytest
import watch
from pipeline import Workers, books, prepared, until, workers
from shop import key_of, mix, promote, report, stock_up, submit
from watch import Watch

from agents.bootstrap import close, connect
from infra.embedded import Stack
from streams.core.books import State
from streams.messages import Change, Decision, OrderChanged, Outcome, Reason, ReportType
from streams.parts import Parts

pytest_plugins = ["stack_fixtures"]

SKUS = [f"KILL-{n}" for n in range(200)]
HOT = "kill-hot"
HOT_UNITS = 150
BURST = 120
BURST_EVERY_S = 0.4
AT_LEAST = 2_500
RECEIVED = 1_000
ENDINGS = (
    {Change.CONFIRMED},
    {Change.EXPIRED, Change.CONFIRMED_LATE},
    {Change.CONFIRMED_LATE},  # its payment was read between the hold's end and the ledger's hearing of it
    {Change.CANCELLED},
    {Change.EXPIRED, Change.CANCELLED},
    {Change.EXPIRED},
)
"""What may be said of an order in this test, repeats aside: there is stock for every late payment."""

Asked = Counter[tuple[str, str]]


class Load:
    """A steady load in bursts, until told to end. `burst` is set each time one has been produced."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._source = mix("kills", SKUS, HOT)
        self.asked: Asked = Counter()
        self.burst = asyncio.Event()
        self.ended = False

    async def run(self) -> None:
        """Produce."""
        while not self.ended or self.asked.total() < AT_LEAST:
            some = list(islice(self._source, BURST))
            await submit(self._parts, some)
            self.asked.update(key_of(s) for s in some)
            self.burst.set()
            await asyncio.sleep(BURST_EVERY_S)


async def kill_one(running: Workers, role: str, choose: random.Random) -> None:
    """Kill a worker of this role and wait until another stands in its place, with partitions."""
    before = running.pids(role)
    running.kill(choose.choice(before))

    async def replaced() -> bool:
        return sorted(running.pids(role)) != sorted(before) and running.ready()

    await until(replaced, within_s=40, what=running.logs())


@pytest.mark.timeout(150)
async def test_intake_workers_killed_under_load(parts: Parts, running: Workers) -> None:
    """Three kills in the middle of bursts: each submission is answered with its one decision, no unit is sold twice."""
    await stock_up(parts, "kills", [(sku, 60) for sku in SKUS])
    await promote(parts, HOT, HOT_UNITS)
    choose = random.Random(1)
    async with watch.decisions(parts) as answers:
        load = Load(parts)
        producing = asyncio.create_task(load.run())
        for _ in range(3):
            load.burst.clear()
            await load.burst.wait()
            await asyncio.sleep(choose.uniform(0, 0.05))  # a burst takes about so long from Kafka to Kafka
            await kill_one(running, "intake", choose)
        load.ended = True
        await producing
        await answers.until(lambda: answered(answers, load.asked), within_s=40)
    check_answers(answers, load.asked)
    report = await books(parts)
    assert report.balanced, report
    assert report.waiting == 0
    assert report.submissions >= len(load.asked)
    hot = Counter(d.outcome for d in first_decisions(answers) if d.promotion_id == HOT)
    assert hot[Outcome.ACCEPTED] == HOT_UNITS
    assert hot[Outcome.REJECTED] > 0


def answered(answers: Watch[tuple[str, str], Decision], asked: Asked) -> bool:
    """Whether each key was answered at least as often as it was submitted."""
    return all(len(answers.heard.get(key, ())) >= times for key, times in asked.items())


def check_answers(answers: Watch[tuple[str, str], Decision], asked: Asked) -> None:
    """Every answer to one key is the same decision, and nothing was answered that nobody asked."""
    assert answers.heard.keys() == asked.keys()
    for key, heard in answers.heard.items():
        assert len({(d.order_id, d.outcome, d.decided_at, d.reason, d.lines) for d in heard}) == 1, key
        assert heard[0].reason in {None, Reason.OUT_OF_STOCK}
    repeated = [key for key, times in asked.items() if times > 1]
    assert repeated
    assert all(any(d.replay for d in answers.heard[key]) for key in repeated)


def first_decisions(answers: Watch[tuple[str, str], Decision]) -> list[Decision]:
    """One decision for each key."""
    return [heard[0] for heard in answers.heard.values()]


@pytest.mark.timeout(150)
async def test_lifecycle_worker_killed_with_payments_cancels_and_expiries_in_flight() -> None:
    """Killed amid reports and again amid expiries, each order ends exactly once, as its last report or time has it."""
    with tempfile.TemporaryDirectory(prefix="floodway-") as directory, Stack.start(Path(directory)) as own:
        settings = await prepared(own, hold_ttl_s=9.0)
        with workers(settings, intake=1, lifecycle=1) as running:
            parts = await connect(settings)
            try:
                await carry_on_under_kills(parts, running)
            finally:
                await close(parts)


async def carry_on_under_kills(parts: Parts, running: Workers) -> None:
    """Orders are decided, then paid, cancelled or left; the lifecycle worker dies twice meanwhile."""
    await stock_up(parts, "ends", [(sku, RECEIVED) for sku in SKUS])
    await promote(parts, HOT, RECEIVED)
    paid, cancelled, left = await accepted_orders(parts)
    choose = random.Random(2)
    async with watch.changes(parts) as seen:
        await report(parts, ReportType.PAYMENT_SUCCEEDED, paid[::2])
        await report(parts, ReportType.ORDER_CANCELLED, cancelled[::2])
        await seen.until(lambda: seen.count > 0, within_s=20)
        await kill_one(running, "lifecycle", choose)
        await seen.until(lambda: any(said(Change.EXPIRED, heard) for heard in seen.heard.values()), within_s=30)
        await report(parts, ReportType.PAYMENT_SUCCEEDED, paid[1::2])
        await report(parts, ReportType.ORDER_CANCELLED, cancelled[1::2])
        await kill_one(running, "lifecycle", choose)

        def all_ended() -> bool:
            heard = seen.heard
            return (
                all(said(Change.CONFIRMED, heard[i]) or said(Change.CONFIRMED_LATE, heard[i]) for i in paid)
                and all(said(Change.CANCELLED, heard[i]) for i in cancelled)
                and all(said(Change.EXPIRED, heard[i]) for i in left)
            )

        await seen.until(all_ended, within_s=40)
    for order_id, heard in seen.heard.items():
        assert {c.change for c in heard} in ENDINGS, order_id
    await check_ends(parts, {**dict.fromkeys(paid, State.CONFIRMED), **dict.fromkeys(cancelled, State.CANCELLED)}, left)


async def accepted_orders(parts: Parts) -> tuple[list[UUID], list[UUID], list[UUID]]:
    """Orders that intake has accepted: those to be paid, to be cancelled, and to be left alone."""
    asked = list({key_of(s): s for s in islice(mix("ends", SKUS, HOT), 1_500)}.values())
    async with watch.decisions(parts) as answers:
        await submit(parts, asked)
        await answers.until(lambda: len(answers.heard) == len(asked), within_s=20)
    ids = [d.order_id for d in first_decisions(answers) if d.outcome is Outcome.ACCEPTED]
    assert len(ids) == len(asked)
    return ids[: len(ids) // 2], ids[len(ids) // 2 : len(ids) * 7 // 10], ids[len(ids) * 7 // 10 :]


def said(change: Change, heard: list[OrderChanged]) -> bool:
    """Whether this is among what was said of an order."""
    return any(c.change is change for c in heard)


async def check_ends(parts: Parts, wanted: dict[UUID, State], left: list[UUID]) -> None:
    """The ledger has each order in its last state, and each unit of a paid order is sold, every other one free."""
    wanted = {**wanted, **dict.fromkeys(left, State.EXPIRED)}
    found = await parts.ledger.orders(list(wanted))
    assert {order_id: record.state for order_id, record in found.items()} == wanted
    sold: Counter[str] = Counter()
    for record in found.values():
        if record.state is State.CONFIRMED:
            sold.update(dict(record.quantities))
    pools: dict[str, Counter[str]] = defaultdict(Counter)
    async for pool in parts.stock.pools():
        pools[pool.sku].update(free=pool.free, held=pool.held, sold=pool.sold)
    for sku in [*SKUS, HOT]:
        assert pools[sku] == Counter(free=RECEIVED - sold[sku], held=0, sold=sold[sku]), sku
    report = await books(parts)
    assert report.balanced, report
