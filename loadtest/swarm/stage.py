"""The stage, a process of its own beside Locust's master: servers and workers, stock on the shelves, the audit.

What it is asked comes as JSON lines on standard input, and it ends with that; what it says goes to standard output.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from agents.bootstrap import close, connect, prepare
from infra.rehearsal import LIFECYCLE_WORKERS, PARTITIONS_A_WORKER, joined, servers, supervised
from loadtest.plan import Plan
from loadtest.surge import balance, provide
from loadtest.swarm.words import share_from
from streams.core.stock import MAIN
from streams.errors import FloodwayError, Unavailable
from streams.parts import Parts
from streams.settings import Settings, environment
from streams.topics import SUBMITTED

HOLD_TTL_S = 43_200.0
"""Longer than any run: nothing expires meanwhile."""
SAMPLE_S = 2.0
FRONT_WAIT_S = 30.0


class Stage:
    """Does what is asked, one thing after another; while orders flow it looks at the shelves now and then."""

    def __init__(self, parts: Parts, log_dir: Path, kept: contextlib.AsyncExitStack) -> None:
        self._parts, self._log_dir, self._kept = parts, log_dir, kept
        self._url = ""
        self._skus: list[str] = []
        self._looking: asyncio.Task[None] | None = None

    async def do(self, what: str, value: Any) -> None:
        """Do one thing and say how it ended. Raises `FloodwayError` when it cannot be done."""
        match what:
            case "provide":
                shares = [share_from(plain) for plain in value]
                plans = [await asyncio.to_thread(share.plan) for share in shares]
                for plan in plans:
                    await provide(self._parts, plan, lasts_s=HOLD_TTL_S, show=_show)
                self._look(plans)
                _say("provided", len(plans))
            case "front":
                if not self._url:
                    self._url = await self._kept.enter_async_context(_front(self._parts.settings, self._log_dir))
                _say("front", self._url)
            case "audit":
                await self._look_no_more()
                _say("books", (await balance(self._parts, _show)).as_dict())
            case _:
                raise FloodwayError(f"Nobody knows how to do {what!r} here.")

    def _look(self, plans: Sequence[Plan]) -> None:
        self._skus = sorted({sku for plan in plans for sku in plan.stock})
        self._looking = asyncio.create_task(self._keep_looking())

    async def _look_no_more(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
            self._looking = None

    async def _keep_looking(self) -> None:
        while True:
            units: dict[str, Counter[str]] = {"main": Counter(), "promotions": Counter()}
            with contextlib.suppress(FloodwayError):  # the audit will tell; this is for the eye
                async for pool in self._parts.stock.pools(self._skus):
                    found = units["main" if pool.pool == MAIN else "promotions"]
                    found.update(free=pool.free, held=pool.held, sold=pool.sold)
                _say("pools", units)
            await asyncio.sleep(SAMPLE_S)


async def _stage(settings: Settings, embedded: bool, args: argparse.Namespace) -> None:
    settings = replace(settings, hold_ttl_s=min(HOLD_TTL_S, settings.dedupe_retention_s / 2), log_level="WARNING")
    if embedded:
        settings = replace(settings, topic_partitions=PARTITIONS_A_WORKER * max(1, args.workers))
    await prepare(settings)
    roles = {"intake": args.workers, "lifecycle": LIFECYCLE_WORKERS} if args.workers else {}
    log_dir = args.data_dir / "logs"
    async with supervised(settings, roles, log_dir, say=_log) as supervisor:
        parts = await connect(settings)
        try:
            await joined(supervisor, _show)
            # Whose servers they are knows how to reach them; ours are on this machine, and have no passwords.
            found = environment(settings) if embedded else {}
            _say("up", {"environment": found, "partitions": await parts.log.partitions(SUBMITTED.name)})
            async with contextlib.AsyncExitStack() as kept:
                await _obey(Stage(parts, log_dir, kept))
        finally:
            await close(parts)


async def _obey(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        what, value = json.loads(line)
        try:
            await stage.do(what, value)
        except FloodwayError as error:
            _say("failed", str(error))


@contextlib.asynccontextmanager
async def _front(settings: Settings, log_dir: Path) -> AsyncIterator[str]:
    """An HTTP front of its own; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def argv(_role: str, _number: int) -> Sequence[str]:
        return [sys.executable, "-c", "from infra.cli import main; main()", "http", "--port", str(port)]

    url = f"http://127.0.0.1:{port}"
    async with supervised(settings, {"http": 1}, log_dir, say=_log, argv=argv):
        deadline = monotonic() + FRONT_WAIT_S
        while not await asyncio.to_thread(_is_ready, url):
            if monotonic() > deadline:
                raise Unavailable(f"The HTTP front did not get ready within {FRONT_WAIT_S:g} s; see {log_dir}.")
            await asyncio.sleep(0.2)
        yield url


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310 - our own front
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


_told: list[str] = []


def _show(what: str, _done: int, _of: int) -> None:
    """What is begun is told, once; numbers are for bars, which Locust has none of."""
    what = what.partition(": ")[0]
    if [what] != _told[-1:]:
        _told.append(what)
        _log(what)


def _log(words: str) -> None:
    _say("log", words)


def _say(what: str, value: object) -> None:
    print(json.dumps({what: value}, default=str), flush=True)


def main() -> int:
    """Be the stage until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--workers", type=int, required=True)
    args = parser.parse_args()
    try:
        with servers(args.data_dir, say=_log) as (settings, pids):
            asyncio.run(_stage(settings, bool(pids()), args))
    except FloodwayError as error:
        _say("failed", str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
