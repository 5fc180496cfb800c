"""What workers tell of themselves, read as Prometheus would: by address, or by the files of `floodway worker`."""

import asyncio
import json
import math
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from streams import metrics

MAX_BYTES = 4_000_000
STAGE_STORES = {"reserve": "redis", "persist": "postgres", "announce": "kafka"}
"""The store that a stage of intake waits for."""

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Told:
    """What one process told: its samples by name and labels."""

    url: str
    samples: Mapping[str, Mapping[Labels, float]]

    def value(self, name: str, **labels: str) -> float:
        """A sample; not a number when it is not there."""
        return self.samples.get(name, {}).get(frozenset(labels.items()), math.nan)

    def by(self, name: str, label: str) -> dict[str, float]:
        """Samples of a metric, added up by one of its labels."""
        found: dict[str, float] = {}
        for labels, value in self.samples.get(name, {}).items():
            key = dict(labels).get(label, "")
            found[key] = found.get(key, 0.0) + value
        return found

    @property
    def role(self) -> str | None:
        """The worker's; None for what is none, as the watch."""
        return next(iter(self.by(metrics.WORKER_INFO.name, "role")), None)

    def unsettled(self) -> set[str]:
        """Dependencies whose breaker is not closed."""
        states = self.samples.get(metrics.BREAKER_STATE.name, {})
        found = [dict(labels) for labels, value in states.items() if value]
        return {labels["dependency"] for labels in found if labels["state"] != "closed"}


@dataclass(slots=True)
class Scraper:
    """Reads all workers that it can find. `status_dir` is where `floodway worker` keeps its ready files."""

    targets: Sequence[str]
    status_dir: Path
    timeout_s: float
    _before: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    async def look(self) -> list[Told]:
        """What those told that answered in time, in the order of their addresses."""
        urls = sorted({*await self._resolved(), *urls_in(self.status_dir)})
        timeout = aiohttp.ClientTimeout(total=self.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            found = await asyncio.gather(*(read(session, url) for url in urls))
        return [told for told in found if told is not None]

    def stage_s(self, told: Iterable[Told]) -> dict[str, float]:
        """How long a batch took at the store of each stage since the last look: that of the slowest worker."""
        slowest: dict[str, float] = {}
        seen: dict[tuple[str, str], tuple[float, float]] = {}
        for one in told:
            sums = one.by(f"{metrics.STAGE_S.name}_sum", "stage")
            counts = one.by(f"{metrics.STAGE_S.name}_count", "stage")
            for stage, store in STAGE_STORES.items():
                now = sums.get(stage, 0.0), counts.get(stage, 0.0)
                seen[one.url, stage] = now
                before = self._before.get((one.url, stage), now)
                batches = now[1] - before[1]
                if batches > 0:
                    slowest[store] = max(slowest.get(store, 0.0), (now[0] - before[0]) / batches)
        self._before = seen
        return slowest

    async def _resolved(self) -> list[str]:
        loop = asyncio.get_running_loop()
        found = []
        for target in self.targets:
            host, _, port = target.rpartition(":")
            try:
                addresses = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
            except OSError:
                continue  # nobody is there, as far as the name service knows
            for family, *_, address in addresses:
                ip = str(address[0])
                found.append(f"http://{f'[{ip}]' if family == socket.AF_INET6 else ip}:{port}")
        return found


def urls_in(status_dir: Path) -> list[str]:
    """Where the workers are that this directory knows of; some may be gone."""
    found = []
    for file in status_dir.glob("*.ready"):
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(told, dict) and isinstance(told.get("metrics"), str):
            found.append(told["metrics"])
    return found


def parse(url: str, text: str) -> Told:
    """The samples of a text. Raises `ValueError` for what is none."""
    samples: dict[str, dict[Labels, float]] = {}
    for one in text_string_to_metric_families(text):
        for sample in one.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Told(url, samples)


async def read(session: aiohttp.ClientSession, url: str) -> Told | None:
    """What a process tells at its `/metrics`; None when it does not, or not in time."""
    try:
        async with session.get(f"{url}/metrics") as answer:
            if answer.status != 200:
                return None
            return parse(url, (await answer.content.read(MAX_BYTES)).decode())
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError):
        return None
