"""Reads what processes tell of themselves over HTTP, and runs an exporter as people do."""

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from command import FLOODWAY
from prometheus_client.parser import text_string_to_metric_families

from streams.settings import Settings, environment

STARTS_WITHIN_S = 40.0

Labels = frozenset[tuple[str, str]]
Samples = Mapping[tuple[str, Labels], float]


def fetch(url: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def samples(url: str) -> tuple[Samples, set[str]]:
    """All samples of a process by name and labels, and the names of its metrics."""
    _, text = fetch(url + "/metrics")
    families = list(text_string_to_metric_families(text))
    found = {(s.name, frozenset(s.labels.items())): s.value for one in families for s in one.samples}
    return found, {one.name for one in families}


async def sample(url: str, name: str, **labels: str) -> float | None:
    """One sample; None when it is not told."""
    found, _ = await asyncio.to_thread(samples, url)
    return found.get((name, frozenset(labels.items())))


async def autoscale(url: str, query: str = "") -> dict[str, Any]:
    """The advice; empty while there is none."""
    status, body = await asyncio.to_thread(fetch, f"{url}/autoscale{query}")
    assert status in (200, 503), body
    found: dict[str, Any] = json.loads(body) if status == 200 else {}
    return found


@contextmanager
def exporting(settings: Settings, directory: Path, **chosen: float | str) -> Iterator[str]:
    """`floodway exporter` beside these servers; where it is. `chosen` are its own settings."""
    environ = {**os.environ, **environment(settings)}
    environ |= {f"FLOODWAY_EXPORTER_{name.upper()}": str(value) for name, value in chosen.items()}
    log = directory / "exporter.log"
    with log.open("wb") as errors:
        process = subprocess.Popen([FLOODWAY, "exporter"], env=environ, cwd=directory, stderr=errors)
    try:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while (said := re.search(r"http://\S+:\d+", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield said[0]
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        assert process.wait(15) == 0, log.read_text()
