"""Each alert set off for real: a Prometheus with the mounted rules, real processes, real trouble; and each resolves."""

import asyncio
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import redis.asyncio
import yaml
from command import CommandLine
from observing import exporting
from pipeline import Workers, books, prepared, until, workers
from shop import encode, order, stock_up, submit

from agents.bootstrap import close, connect
from infra.embedded import Part, Stack, children, spawn
from infra.embedded.state import choose_ports
from streams.parts import Parts
from streams.settings import Settings, environment
from streams.stores.log import Entry
from streams.stores.stock_keys import PREFIX, field
from streams.topics import SUBMITTED

INFRA = Path(__file__).parents[2] / "infra"
MOUNTED = INFRA / "prometheus"
SHORT: dict[str, float | str] = {"redis_timeout_s": 0.5, "breaker_open_s": 1.0, "stock_auto_rebuild": "false"}
PENDING_S = 2.5
EXPORTER = {"interval_s": 0.5, "stock_interval_s": 0.5, "books_interval_s": 1, "low_units": 5}

# The rules as mounted, with times that a test has. Thresholds stay, but for the one that is a time itself.
SHORTER = (
    (r"(?m)^(\s+for: ).*$", r"\g<1>1s"),
    (r"\[5m\]", "[20s]"),
    (r"\[1m\]", "[5s]"),
    (r"> 90$", "> 3"),
)


def shortened(directory: Path) -> None:
    """Write the mounted rules and configuration for a test: short times, and targets from a file in place of DNS."""
    text = (MOUNTED / "rules/alerts.yml").read_text()
    for pattern, by in SHORTER:
        text, count = re.subn(pattern, by, text, flags=re.MULTILINE)
        assert count, pattern
    (directory / "rules").mkdir()
    (directory / "rules/alerts.yml").write_text(text)
    config = yaml.safe_load((MOUNTED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"}
    for job in config["scrape_configs"]:
        for found_by in ("dns_sd_configs", "static_configs", "relabel_configs"):
            job.pop(found_by, None)
        job["file_sd_configs"] = [{"files": [f"{job['job_name']}.json"]}]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))


class Prometheus:
    """A running one, asked for what fires."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory, self._url = directory, f"http://127.0.0.1:{port}"

    def look_at(self, job: str, urls: Mapping[str, str]) -> None:
        """From now on these, by role, are the targets of a job; the empty role is none, and no label."""
        groups = [
            {"targets": [url.removeprefix("http://")], "labels": {"role": role} if role else {}}
            for role, url in urls.items()
        ]
        new = self._directory / f"{job}.json.new"
        new.write_text(json.dumps(groups))
        new.rename(self._directory / f"{job}.json")

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        found = self._get("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}

    def sees(self) -> set[str]:
        """The jobs all of whose targets answer."""
        targets = self._get("targets")["activeTargets"]
        down = {one["labels"]["job"] for one in targets if one["health"] != "up"}
        return {one["labels"]["job"] for one in targets} - down

    def _get(self, what: str) -> Any:
        with urlopen(f"{self._url}/api/v1/{what}", timeout=5) as answer:
            return json.load(answer)["data"]

    async def until_firing(self, names: set[str], *, within_s: float = 60) -> None:
        """Wait until all of these have fired, whether they still do or not."""
        seen: set[str] = set()

        async def fired() -> bool:
            seen.update(await asyncio.to_thread(self.firing))
            return names <= seen

        try:
            await until(fired, within_s=within_s, what="")
        except AssertionError:
            raise AssertionError(f"{names - seen} did not fire") from None

    async def until_silent(self, *, within_s: float = 60) -> None:
        """Wait until nothing fires, and has not for as long as an alert is pending here."""
        since_s = time.monotonic()

        async def silent() -> bool:
            nonlocal since_s
            if await asyncio.to_thread(self.firing):
                since_s = time.monotonic()
            return time.monotonic() - since_s > PENDING_S

        try:
            await until(silent, within_s=within_s, what="")
        except AssertionError:
            raise AssertionError(f"these did not resolve: {self._get('alerts')}") from None


@asynccontextmanager
async def prometheus(directory: Path) -> AsyncIterator[Prometheus]:
    """Prometheus with the mounted rules, shortened."""
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("no Prometheus here; on Debian: apt-get install prometheus")
    shortened(directory)
    port = choose_ports({})[Part.KAFKA]
    argv = [found, f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'data'}"]
    process = spawn([*argv, f"--web.listen-address=127.0.0.1:{port}"], log_path=directory / "prometheus.log")
    made = Prometheus(directory, port)
    made.look_at("prometheus", {"": f"http://127.0.0.1:{port}"})

    async def ready() -> bool:
        assert process.poll() is None, (directory / "prometheus.log").read_text()[-2_000:]
        try:
            return "prometheus" in await asyncio.to_thread(made.sees)
        except URLError:
            return False

    try:
        await until(ready, within_s=30, what="Prometheus")
        yield made
    finally:
        children.end(process, grace_s=10)


def addresses(running: Workers) -> dict[str, str]:
    """Where the workers that run tell of themselves, by role."""
    alive = set(running.pids())
    return {one["role"]: one["metrics"] for one in running.statuses() if one["pid"] in alive}


async def submit_late(parts: Parts, count: int) -> None:
    """Orders that have waited in Kafka for a minute already."""
    then_ms = parts.clock.now_ms() - 60_000
    for partition in range(2):
        made = [encode(order(f"late-{partition}-{n}", ("PLENTY", 1))) for n in range(count)]
        await parts.log.append(SUBMITTED.name, partition, [Entry(b"late", value, then_ms) for value in made])


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_each_alert_fires_and_resolves() -> None:
    """Nine troubles, nine alerts, none before; what the runbooks say ends them all, and the books balance."""
    with (
        tempfile.TemporaryDirectory(prefix="floodway-") as held,
        Stack.start(Path(held) / "stack") as stack,
    ):
        directory = Path(held)
        (directory / "prometheus").mkdir()
        ports = choose_ports({}, ["exporter", "workers"])
        settings = await prepared(stack, **SHORT, metrics_port=ports["workers"])
        command = CommandLine(directory, {**os.environ, **environment(settings)})
        # A port that is taken is not: the second worker has the next, and who comes back has that of who went.
        found = ",".join(f"127.0.0.1:{ports['workers'] + n}" for n in range(2))
        export = partial(exporting, settings, directory, port=ports["exporter"], workers=found, **EXPORTER)
        with workers(settings, intake=1, lifecycle=1) as running:
            async with prometheus(directory / "prometheus") as seen, parts_of(settings) as parts:
                await stock_up(parts, "plenty", [("PLENTY", 10_000)])
                with export() as url:
                    seen.look_at("floodway-exporter", {"": url})
                    seen.look_at("floodway-worker", addresses(running))
                    jobs = {"floodway-exporter", "floodway-worker"}
                    await until(lambda: all_seen(seen, jobs), within_s=30, what="targets")
                    await submit(parts, [order(f"quiet-{n}", ("PLENTY", 1)) for n in range(50)])
                    await seen.until_silent(within_s=30)
                    await in_stock(seen, parts, settings)
                    await with_workers_and_redis_away(seen, parts, running, stack)
                    # What the runbooks say.
                    assert command("stock", "rebuild", "--reason", "drill").code == 0
                    await stock_up(parts, "more", [("SCARCE", 100)])
                    running.scale("intake", 1)
                    await until(lambda: is_back(running), within_s=40, what="a worker")
                    await seen.until_silent()
                await seen.until_firing({"FloodwayUnseen"})
                with export():
                    await seen.until_silent()
                report = await books(parts)
                assert report.balanced, report


async def in_stock(seen: Prometheus, parts: Parts, settings: Settings) -> None:
    """Few units, messages that are none, and a number in Redis changed by hand."""
    await stock_up(parts, "scarce", [("SCARCE", 3)])
    await parts.log.append(SUBMITTED.name, 0, [Entry(b"bad", b"{", parts.clock.now_ms())] * 20)
    client = redis.asyncio.Redis.from_url(settings.redis_url)
    await client.hincrby(f"{PREFIX}free", field("PLENTY", "main"), 7)
    await client.aclose()
    await seen.until_firing({"FloodwayPoolLow", "FloodwayDeadLetters", "FloodwayBooksUnbalanced"})


async def with_workers_and_redis_away(seen: Prometheus, parts: Parts, running: Workers, stack: Stack) -> None:
    """Nobody decides while orders wait; then Redis dies, and comes back without being rebuilt."""
    running.scale("intake", 0)
    await submit_late(parts, 20)
    await seen.until_firing({"FloodwayWorkerDown", "FloodwayLag", "FloodwayCommitsStuck"})
    stack.kill(Part.REDIS)
    await seen.until_firing({"FloodwayBreakerOpen"})
    stack.restart(Part.REDIS)
    await seen.until_firing({"FloodwayEpochMismatch"})


@asynccontextmanager
async def parts_of(settings: Settings) -> AsyncIterator[Parts]:
    """The stores, from the test's own process."""
    parts = await connect(settings)
    try:
        yield parts
    finally:
        await close(parts)


async def all_seen(seen: Prometheus, jobs: set[str]) -> bool:
    """Whether all targets of these jobs answer."""
    return jobs <= await asyncio.to_thread(seen.sees)


async def is_back(running: Workers) -> bool:
    """Whether every worker has partitions."""
    return running.ready() and addresses(running).keys() >= {"intake", "lifecycle"}
