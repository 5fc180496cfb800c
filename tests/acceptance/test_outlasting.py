"""Workers beside a server that stands still: breakers open, nothing dies, and all is decided once it is back."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
import watch
from pipeline import Workers, books, prepared, until, workers
from shop import key_of, mix, stock_up, submit
from watch import Watch

from agents.bootstrap import close, connect
from infra.embedded import Part, Stack
from infra.embedded.children import descendants
from streams.messages import Decision, Submission
from streams.parts import Parts

SKUS = [f"BRK-{n}" for n in range(50)]
STALL_S = 8.0
FROZEN_S = 2.5 * STALL_S
ORDERS = 600
SHORT = {
    "redis_timeout_s": 0.5,
    "postgres_timeout_s": 1.5,
    "stall_timeout_s": STALL_S,
    "breaker_open_s": 0.5,
    "chunk_max_records": 50,
    "batch_max_orders": 100,
}


@contextmanager
def frozen(stack: Stack, part: Part) -> Iterator[None]:
    """A server with all its processes stopped, as by SIGSTOP."""
    parent = stack.pids()[part]
    os.kill(parent, signal.SIGSTOP)
    pids = [parent, *descendants(parent)]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.timeout(280)
async def test_a_server_that_stands_still_opens_its_breaker_and_ends_no_worker() -> None:
    """For Redis, then Postgres: longer than a stall is forgiven, and through a rebalance; then all is decided."""
    with tempfile.TemporaryDirectory(prefix="floodway-") as directory, Stack.start(Path(directory)) as own:
        settings = await prepared(own, **SHORT)
        with workers(settings, intake=1, lifecycle=1) as running:
            parts = await connect(settings)
            try:
                await stock_up(parts, "breakers", [(sku, 1_000) for sku in SKUS])
                async with watch.decisions(parts) as answers:
                    for number, part, name in ((1, Part.REDIS, "redis"), (2, Part.POSTGRES, "postgres")):
                        await outlast(own, part, name, running, parts, answers)
                        assert len(running.pids("intake")) == number + 1
                report = await books(parts)
                assert report.balanced, report
                assert (report.waiting, report.submissions) == (0, len(answers.heard))
            finally:
                await close(parts)


async def outlast(
    own: Stack, part: Part, name: str, running: Workers, parts: Parts, answers: Watch[tuple[str, str], Decision]
) -> None:
    """Freeze a server under orders, have another worker join meanwhile, and let the server go on."""
    asked = [key_of(s) for s in await submitted(parts, f"{name}-before")]
    await answers.until(lambda: all(key in answers.heard for key in asked), within_s=40)
    before = running.pids()
    with frozen(own, part):
        until_s = time.monotonic() + FROZEN_S
        waiting = [key_of(s) for s in await submitted(parts, f"{name}-during")]

        async def opened() -> bool:
            return any(status["breakers"][name]["opened"] for status in running.statuses())

        async def joined() -> bool:
            return running.ready()

        await until(opened, within_s=30, what=f"{name}'s breaker")
        running.scale("intake", len(running.pids("intake")) + 1)
        await until(joined, within_s=60, what=running.logs())
        while time.monotonic() < until_s:
            await answers.look(timeout_s=0.2)
        assert not any(key in answers.heard for key in waiting), f"decided without {name}"
    await answers.until(lambda: all(key in answers.heard for key in waiting), within_s=60)
    assert set(before) <= set(running.pids()), running.logs()
    assert running.deaths == []

    async def closed() -> bool:
        states = [status["breakers"][name]["state"] for status in running.statuses()]
        return all(state == "closed" for state in states)

    await until(closed, within_s=30, what=f"{running.statuses()}")


async def submitted(parts: Parts, prefix: str) -> list[Submission]:
    """Orders, submitted."""
    some = list(islice(mix(prefix, SKUS, SKUS[0]), ORDERS))
    await submit(parts, some)
    return some
