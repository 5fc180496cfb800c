"""Workers follow the lag of a surge and leave again, on one machine, with `floodway worker --autoscale`."""

import asyncio
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import FLOODWAY
from observing import autoscale
from pipeline import books, prepared, until
from shop import order, stock_up, submit

from agents.bootstrap import close, connect
from infra.embedded import Stack
from streams.parts import Parts
from streams.settings import Settings, environment

SLOW_WORKERS = {"chunk_max_records": 20, "batch_max_orders": 20}
"""Small batches, so that one worker is soon overtaken by what a test can send."""
EXPORTER = {
    "interval_s": 0.5,
    "timeout_s": 10,
    "autoscale_worker_per_s": 100,
    "autoscale_drain_s": 5,
    "autoscale_settle_s": 6,
    "autoscale_cool_s": 3,
    "autoscale_slow_s": 2,
    "autoscale_slow_stage_s": 10,
}
WAVES_MOST, ORDERS = 60, 1_000
CHANGE = re.compile(r"intake: (\d) -> (\d) workers \((.*)\)")


@contextmanager
def autoscaled(settings: Settings, directory: Path) -> Iterator[tuple[str, Path]]:
    """`floodway worker intake --autoscale 1..3`, with an exporter of its own; where that is, and what was said."""
    environ = {**os.environ, **environment(settings), "COLUMNS": "200"}
    environ |= {f"FLOODWAY_EXPORTER_{name.upper()}": str(value) for name, value in EXPORTER.items()}
    said = directory / "said.log"
    argv = [FLOODWAY, "worker", "intake", "lifecycle", "--autoscale", "1..3"]
    with said.open("wb") as errors:
        process = subprocess.Popen(argv, env=environ, cwd=directory, stderr=errors)
    try:
        deadline = time.monotonic() + 30
        while (found := re.search(r"http://\S+:\d+", said.read_text())) is None:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        yield found[0], said
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0, said.read_text()


@pytest.mark.slow
@pytest.mark.timeout(290)
async def test_workers_follow_a_surge_and_leave_again() -> None:
    """Lag rises, workers come; it drains, they leave in order; each order has one decision and the books balance."""
    with tempfile.TemporaryDirectory(prefix="floodway-") as directory, Stack.start(Path(directory) / "s") as own:
        settings = await prepared(own, **SLOW_WORKERS)
        parts = await connect(settings)
        try:
            await stock_up(parts, "autoscaled", [("AUT", WAVES_MOST * ORDERS)])
            with autoscaled(settings, Path(directory)) as (url, said):
                await until(lambda: workers_are(url, 1), within_s=60, what="the first worker")
                more = asyncio.Event()
                surging = asyncio.create_task(surge(parts, more))
                try:
                    await until(lambda: workers_are(url, 2, 3), within_s=90, what="more workers")
                finally:
                    print(await advice(url))
                    more.set()
                    sent = await surging
                await until(lambda: drained(url), within_s=90, what="the lag to drain")
                await until(lambda: workers_are(url, 1), within_s=90, what="workers to leave")
                changes = CHANGE.findall(said.read_text())
                print(*(f"{before} -> {after}  {why}" for before, after, why in changes), sep="\n")
                assert changes[0][0] == changes[-1][1] == "1"
                assert "died" not in said.read_text()
                assert "ended with" not in said.read_text()
            report = await books(parts)
            assert (report.balanced, report.waiting, report.submissions) == (True, 0, sent), report
        finally:
            await close(parts)


async def surge(parts: Parts, more: asyncio.Event) -> int:
    """Orders in waves, until more workers have come; how many that were."""
    waves = 0
    while waves < WAVES_MOST and not more.is_set():
        await submit(parts, [order(f"aut-{waves}-{n}", ("AUT", 1)) for n in range(ORDERS)])
        waves += 1
        await asyncio.sleep(1)
    return waves * ORDERS


async def workers_are(url: str, *counts: int) -> bool:
    """Whether so many are at work."""
    return (await advice(url)).get("replicas") in counts


async def drained(url: str) -> bool:
    """Whether nothing waits."""
    return (await advice(url)).get("lag") == 0


async def advice(url: str) -> dict[str, object]:
    """The advice; empty while nobody answers."""
    try:
        return await autoscale(url)
    except OSError:
        return {}
