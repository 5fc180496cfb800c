"""`floodway verify` on books that balance, and on books in which one thing at a time was made wrong."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
import watch
from command import CommandLine
from faults import UNDOABLE, Fault, Member, Scene, unit_added_in_redis
from pipeline import books, prepared, until, workers
from redis.asyncio import Redis
from shop import key_of, mix, order, promote, report, stock_up, submit

from agents.bootstrap import close, connect, prepare
from infra.cli.verify import verify
from infra.embedded import Part, Stack
from streams.core.books import State
from streams.messages import Outcome, ReportType
from streams.parts import Parts
from streams.settings import Settings
from streams.stores.log import Entry
from streams.topics import DECIDED, SUBMITTED

SKUS = [f"GOOD-{n}" for n in range(12)]
HOT = "good-hot"

Look = Callable[[], Awaitable[tuple[int, Any]]]


@pytest.fixture(scope="module")
def at_rest() -> Iterator[tuple[Stack, Settings]]:
    """A stack on which a small day's business was done, and whose workers have gone home."""
    with tempfile.TemporaryDirectory(prefix="floodway-") as directory, Stack.start(Path(directory)) as stack:
        settings = asyncio.run(prepared(stack))
        with workers(settings, intake=1, lifecycle=1):
            asyncio.run(a_days_business(settings))
        yield stack, settings


async def a_days_business(settings: Settings) -> None:
    """Accepted and refused, repeated and bad submissions; orders paid, cancelled and still held."""
    parts = await connect(settings)
    try:
        await stock_up(parts, "day", [(sku, 100) for sku in SKUS])
        await promote(parts, HOT, 30)
        ones = [order(f"one-{n}", (SKUS[n % len(SKUS)], 1)) for n in range(30)]
        rest = list(islice(mix("day", SKUS, HOT), 300))
        async with watch.decisions(parts) as answers:
            await submit(parts, ones)
            await answers.until(lambda: answers.count == len(ones), within_s=20)
            ids = [answers.heard[key_of(s)][0].order_id for s in ones]
            await submit(parts, rest)
            await parts.log.append(SUBMITTED.name, 3, [Entry(None, b"\xff", 0), Entry(b"k", None, 0)])
            await answers.until(lambda: answers.count == len(ones) + len(rest), within_s=20)
        assert any(heard[0].outcome is Outcome.REJECTED for heard in answers.heard.values())
        async with watch.changes(parts) as seen:
            await report(parts, ReportType.PAYMENT_SUCCEEDED, ids[:10])
            await report(parts, ReportType.ORDER_CANCELLED, ids[10:20])
            await seen.until(lambda: len(seen.heard) == 20, within_s=20)

        async def committed() -> bool:
            return (await books(parts)).waiting == 0

        await until(committed, within_s=20, what="intake to commit")
    finally:
        await close(parts)


@pytest.fixture(scope="module")
def member(at_rest: tuple[Stack, Settings]) -> Iterator[Member]:
    """Joining a group takes seconds, so it is done once."""
    joined = Member(at_rest[1].kafka_bootstrap)
    yield joined
    joined.close()


@pytest.fixture
async def scene(at_rest: tuple[Stack, Settings], member: Member) -> AsyncIterator[Scene]:
    """That stack's stores; the books balance."""
    _, settings = at_rest
    parts = await connect(settings)
    postgres = await asyncpg.connect(settings.postgres_dsn)
    redis = Redis.from_url(settings.redis_url)
    try:
        report = await books(parts, wait_s=0, settle_s=0)
        assert report.balanced, report
        yield Scene(parts, postgres, redis, member)
    finally:
        await redis.aclose()
        await postgres.close()
        await close(parts)


@pytest.fixture
def floodway(at_rest: tuple[Stack, Settings], tmp_path: Path) -> CommandLine:
    """The command line for that stack."""
    return CommandLine.of(at_rest[0], tmp_path)


@pytest.fixture
def look(at_rest: tuple[Stack, Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Look:
    """The command in this process: it says the same, without the second that a process takes to start."""
    for name, value in at_rest[0].addresses.environment().items():
        monkeypatch.setenv(name, value)

    async def run() -> tuple[int, Any]:
        code = await verify(wait_s=0, settle_s=0, json=True)
        return code, json.loads(capsys.readouterr().out)

    return run


def faults(report: dict[str, Any]) -> dict[str, int]:
    """The numbers in a report that are not 0 and should be."""
    names = ("missing", "unanswered", "repeated", "oversold", "leaked_holds", "lost_holds", "contradictory")
    counts = {name: report[name] for name in (*names, "unbalanced_skus")}
    return {name: count for name, count in counts.items() if count} | (
        {"redis_differs": report["redis_differs_count"]} if report["redis_differs_count"] else {}
    )


def test_a_good_run_balances(floodway: CommandLine) -> None:
    """Exit code 0, balanced, nothing wrong, and the numbers are those of what was done."""
    said = floodway("verify", "--wait-s", "0", "--settle-s", "0", "--json")
    assert said.code == 0, said.err
    report = said.json
    assert report["balanced"] is True
    assert faults(report) == {}
    assert report["waiting"] == 0
    assert report["dead_lettered"] == 2
    assert report["submissions"] == report["decisions"] > 250
    assert set(report["pools"]) == {"main", f"promo:{HOT}"}
    assert sum(sum(accounts.values()) for accounts in report["pools"].values()) == 100 * len(SKUS) + 30
    assert report["pools"]["main"]["sold"] == 10


async def test_a_bad_run_is_told_to_people(scene: Scene, floodway: CommandLine) -> None:
    """Exit code 1; without --json the fault, the place and the verdict stand in words on standard output."""
    async with unit_added_in_redis(scene):
        said = await asyncio.to_thread(floodway, "verify", "--wait-s", "0", "--settle-s", "0")
    assert said.code == 1
    assert "GOOD-0 in main: Redis has" in said.out
    assert "The books do not balance." in said.out


@pytest.mark.parametrize("fault", UNDOABLE, ids=lambda fault: fault.__name__)
async def test_a_planted_fault_is_named(fault: Fault, scene: Scene, look: Look) -> None:
    """Exit code 1, just the fields that the fault touches, and an example of what is wrong."""
    async with fault(scene) as (expected, example):
        code, report = await look()
    assert code == 1
    assert report["balanced"] is False
    assert faults(report) == expected
    told = [*chain(*report["examples"].values()), *(d["sku"] for d in report["redis_differs"])]
    assert example in told


@pytest.fixture
def forgetful_log(at_rest: tuple[Stack, Settings]) -> Iterator[None]:
    """What is written to Kafka cannot be taken back, so the broker is started anew afterwards."""
    stack, settings = at_rest
    yield
    stack.restart(Part.KAFKA)
    asyncio.run(prepare(settings))


@pytest.mark.usefixtures("forgetful_log")
async def test_a_second_decision_is_named(scene: Scene, look: Look) -> None:
    """An order announced once more under another id, and another as refused after it was accepted, are `repeated`."""
    rows = await scene.postgres.fetch("SELECT * FROM orders_now WHERE state = $1 LIMIT 2", State.HELD.value)
    await announce(scene.parts, rows[0], order_id="0191f2f0-0000-7000-8000-000000000000", outcome="accepted")
    await announce(scene.parts, rows[1], order_id=str(rows[1]["order_id"]), outcome="rejected")
    code, report = await look()
    assert code == 1
    assert faults(report) == {"repeated": 2}
    assert set(report["examples"]["repeated"]) == {f"{r['channel']}:{r['submission_id']}" for r in rows}


async def announce(parts: Parts, row: asyncpg.Record, **changes: str) -> None:
    """Put a decision into Kafka that nobody made."""
    told = {name: row[name] for name in ("channel", "submission_id")} | changes
    value = msgspec.json.encode(told | {"reason": "out_of_stock"} if changes["outcome"] == "rejected" else told)
    await parts.log.append(DECIDED.name, 0, [Entry(changes["order_id"].encode(), value, 0)])
