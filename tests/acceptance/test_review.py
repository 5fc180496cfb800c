"""An outage longer than patience: put aside, told of, and after it decided exactly once, with books that balance."""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
import watch
from pipeline import Workers, books, prepared, until, workers
from shop import key_of, mix, order, stock_up, submit
from test_outlasting import frozen
from watch import Watch

from agents.bootstrap import close, connect
from agents.roles import group
from infra.embedded import Part, Stack
from streams.messages import Decision, Notification, Submission
from streams.parts import Parts
from streams.settings import Settings, environment
from streams.stores.reader_kafka import TopicReader, lag
from streams.topics import NOTIFICATIONS, REVIEW, SUBMITTED

SKUS = [f"REV-{n}" for n in range(50)]
LAST = "REV-LAST"
ORDERS = 400
SHORT = {
    "redis_timeout_s": 1.0,
    "postgres_timeout_s": 2.0,
    "stall_timeout_s": 20.0,
    "breaker_open_s": 0.5,
    "review_after_s": 4.0,
    "chunk_max_records": 50,
    "batch_max_orders": 100,
}

Answers = Watch[tuple[str, str], Decision]


async def records(parts: Parts, topic: str) -> list[bytes]:
    """All values of a topic."""
    reader = await TopicReader.open(parts.settings.kafka_bootstrap, topic, start="beginning")
    try:
        return [r.value or b"" async for _, some in reader.until_end() for r in some]
    finally:
        await reader.close()


async def put_aside(parts: Parts, running: Workers) -> None:
    """Wait until intake has committed all that was submitted."""

    async def committed() -> bool:
        return (await lag(parts.settings.kafka_bootstrap, group("intake"), SUBMITTED.name))[0] == 0

    await until(committed, within_s=60, what=f"orders put aside: {running.statuses()} {running.logs()}")


async def heard(answers: Answers, running: Workers, *wanted: Submission, times: int = 1) -> None:
    """Wait until each was answered so often."""
    try:
        await answers.until(lambda: all(len(answers.heard[key_of(s)]) >= times for s in wanted), within_s=90)
    except AssertionError as late:
        raise AssertionError(f"{late}: {running.statuses()} {running.logs()}") from None


async def closed(running: Workers) -> bool:
    """Whether all breakers are."""
    return all(one["state"] == "closed" for status in running.statuses() for one in status["breakers"].values())


async def check_told(parts: Parts, submitted: list[Submission]) -> None:
    """Each was put aside as it was submitted, and its buyer told; a kill may have repeated both."""
    keys = {key_of(s) for s in submitted}
    copies = [msgspec.json.decode(value, type=Submission) for value in await records(parts, REVIEW.name)]
    assert {key_of(copy) for copy in copies} == keys
    assert len(copies) >= len(submitted)
    notices = [msgspec.json.decode(value, type=Notification) for value in await records(parts, NOTIFICATIONS.name)]
    assert {(n.channel, n.submission_id) for n in notices} == keys
    assert len({n.notification_id for n in notices}) == len(keys)


def check_decided_once(answers: Answers, submitted: list[Submission]) -> None:
    """One decision for each key, whatever was repeated."""
    for key in {key_of(s) for s in submitted}:
        heard = answers.heard[key]
        assert len({(d.order_id, d.outcome, d.decided_at, d.reason, d.lines) for d in heard}) == 1, key


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("part", [Part.REDIS, Part.POSTGRES])
async def test_an_outage_longer_than_patience(part: Part) -> None:
    """Put aside, also by workers killed at it; then the first to come gets the last unit, and each one decision."""
    with tempfile.TemporaryDirectory(prefix="floodway-") as directory, Stack.start(Path(directory)) as own:
        settings = await prepared(own, **SHORT)
        with workers(settings, intake=2, lifecycle=1) as running:
            parts = await connect(settings)
            try:
                await stock_up(parts, "review", [*((sku, 1_000) for sku in SKUS), (LAST, 1)])
                async with watch.decisions(parts) as answers:
                    await outlast(own, part, running, parts, answers)
                report = await books(parts, wait_s=60)
                assert report.balanced, report
                assert (report.waiting, report.under_review) == (0, 0)
            finally:
                await close(parts)


async def outlast(own: Stack, part: Part, running: Workers, parts: Parts, answers: Answers) -> None:
    """The outage, a kill in it, and what is decided after it."""
    first, second = order("the-first", (LAST, 1)), order("the-second", (LAST, 1))
    with frozen(own, part):
        waiting = [first, *islice(mix("review", SKUS, SKUS[0]), ORDERS)]
        await submit(parts, waiting)
        await asyncio.sleep(SHORT["review_after_s"] + 1.0)
        running.kill(random.Random(3).choice(running.pids("intake")))
        await put_aside(parts, running)
        await check_told(parts, waiting)
        assert answers.count == 0
    await heard(answers, running, *waiting)
    await submit(parts, [second, first])
    await heard(answers, running, second)
    await heard(answers, running, first, times=2)
    check_decided_once(answers, [*waiting, second])
    assert answers.heard[key_of(first)][0].lines
    assert not answers.heard[key_of(second)][0].lines


def floodway(settings: Settings, directory: str, *argv: str) -> list[Any]:
    """Run a command; the JSON lines that it prints."""
    command = [str(Path(sys.executable).with_name("floodway")), *argv, "--json"]
    environ = {**os.environ, **environment(settings)}
    done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_an_operator_releases_what_is_under_review() -> None:
    """Until then it is counted as waiting, not as missing, and what comes later is decided; then it is, once."""
    with tempfile.TemporaryDirectory(prefix="floodway-") as directory, Stack.start(Path(directory)) as own:
        settings = await prepared(own, review_release="operator", **SHORT)
        with workers(settings, intake=1, lifecycle=1) as running:
            parts = await connect(settings)
            try:
                await stock_up(parts, "review", [(sku, 1_000) for sku in SKUS])
                waiting = list(islice(mix("held", SKUS, SKUS[0]), 100))
                async with watch.decisions(parts) as answers:
                    with frozen(own, Part.REDIS):
                        await submit(parts, waiting)
                        await put_aside(parts, running)
                    await until(lambda: closed(running), within_s=60, what=f"{running.statuses()}")
                    await asyncio.sleep(2.0)  # what comes before the worker has noticed is put aside, too
                    later = [order(f"later-{n}", (SKUS[n], 1)) for n in range(20)]
                    await submit(parts, later)
                    await heard(answers, running, *later)
                    assert not any(answers.heard.get(key_of(s)) for s in waiting)
                    report = await books(parts, wait_s=1)
                    assert report.balanced, report
                    assert (report.waiting, report.missing, report.under_review) == (0, 0, len(waiting))
                    listed = floodway(settings, directory, "review", "list")
                    assert sorted(row["submission_id"] for row in listed) == sorted(s.submission_id for s in waiting)
                    assert {(row["cause"], row["released"]) for row in listed} == {("redis did not answer", False)}
                    (released,) = floodway(settings, directory, "review", "release")
                    assert (released["released"], released["needed"]) == (len(waiting), True)
                    await heard(answers, running, *waiting)
                    check_decided_once(answers, [*waiting, *later])
                report = await books(parts, wait_s=30)
                assert report.balanced, report
                assert (report.waiting, report.under_review) == (0, 0)
                assert floodway(settings, directory, "review", "list") == []
            finally:
                await close(parts)
