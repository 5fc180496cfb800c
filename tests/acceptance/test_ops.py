"""`floodway top` and the page `/ops` beside real workers, while orders come in: they show it, and end cleanly."""

import asyncio
import json
import re
import subprocess
import termios
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from browsing import SIZES, needs_chromium, opened
from command import FLOODWAY
from observing import exporting, fetch
from pipeline import Workers, until
from playwright.async_api import Browser, expect
from shop import order, stock_up, submit
from terminal import terminal

from streams.parts import Parts
from streams.settings import Settings, environment

pytest_plugins = ["stack_fixtures", "browser_fixtures"]
pytestmark = pytest.mark.timeout(180)

BURST, PAUSE_S = 40, 0.2
OFTEN = {"interval_s": 0.5, "stock_interval_s": 1}
WITHIN_S = 60.0
WITHIN_MS = 30_000
FIGURE = re.compile("^[1-9]")


@pytest.fixture
def exporter(settings: Settings, running: Workers, tmp_path: Path) -> Iterator[str]:
    """An exporter that knows these workers."""
    with exporting(settings, tmp_path, workers=targets(running), **OFTEN) as url:
        yield url


def targets(running: Workers) -> str:
    """Where the workers are."""
    return ",".join(str(one["metrics"]).removeprefix("http://") for one in running.statuses())


@asynccontextmanager
async def orders(parts: Parts, name: str) -> AsyncIterator[list[tuple[float, int]]]:
    """Orders come in all the while; when, and how many had come by then."""
    await stock_up(parts, name, [("OPS-1", 1_000_000)])
    sent: list[tuple[float, int]] = []

    async def send() -> None:
        while True:
            number = len(sent) * BURST
            await submit(parts, [order(f"{name}-{number + n}", ("OPS-1", 1)) for n in range(BURST)])
            sent.append((time.monotonic(), number + BURST))
            await asyncio.sleep(PAUSE_S)

    sending = asyncio.create_task(send())
    try:
        yield sent
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_a_script_reads_what_happens(
    exporter: str, settings: Settings, running: Workers, parts: Parts, tmp_path: Path
) -> None:
    """One object a second: the rate is that at which orders came; latency, workers and stock are this run's."""
    process = await asyncio.create_subprocess_exec(
        *(FLOODWAY, "top", "--json", "--exporter", exporter),
        env={**environment(settings), "FLOODWAY_EXPORTER_WORKERS": targets(running)},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with orders(parts, "ops-json") as sent:
            await until(lambda: many(sent), within_s=WITHIN_S, what="orders")
            began, first = sent[-1]
            rates: list[float] = []
            while time.monotonic() < began + 12 or len(rates) < 6:
                told = json.loads(await asyncio.wait_for(process.stdout.readline(), WITHIN_S))
                rates.append(told["flow"]["decided"] or 0.0)
            (ended, last) = sent[-1]
    finally:
        process.terminate()
        await process.wait()
    real = (last - first) / (ended - began)
    assert 0.6 * real < sum(rates[3:]) / len(rates[3:]) < 1.6 * real
    assert 0 < told["p50_s"] <= told["p99_s"] < 60
    assert [worker["role"] for worker in told["workers"]] == ["intake", "intake", "lifecycle"]
    assert sum(worker["partitions"] for worker in told["workers"] if worker["role"] == "intake") > 0
    (pool,) = [pool for pool in told["pools"] if pool["name"] == "main"]
    assert pool["free"] > 0
    assert {store["name"]: store["is_up"] for store in told["stores"]} == dict.fromkeys(
        ("kafka", "redis", "postgres"), True
    )
    assert told["lags"][0]["role"] == "intake"
    assert not [note for note in told["notes"] if note["level"] == "bad"]


async def many(sent: list[tuple[float, int]]) -> bool:
    """Whether orders have come for a while."""
    return len(sent) > 10


async def test_a_person_sees_it_on_a_terminal(exporter: str, running: Workers, parts: Parts, tmp_path: Path) -> None:
    """Drawn anew each second and for each size; q, Ctrl-C and SIGTERM give the terminal back as it was."""
    stale = {"COLUMNS": "80", "LINES": "24"}  # as a program that has loaded readline hands them on
    environ = {"FLOODWAY_EXPORTER_WORKERS": targets(running), **stale}
    async with orders(parts, "ops-top"):
        with terminal(["top", "--exporter", exporter], environ, tmp_path) as one:
            before = termios.tcgetattr(one.slave)
            seen = await one.until(r"Decided +[1-9]", within_s=WITHIN_S)
            assert seen.index("Decided") < seen.index("Lag") < seen.index("Latency p99") < seen.index("Workers")
            assert seen.count("intake :") == 2
            assert "main" in seen
            one.resize(64, 20)
            seen = await one.until(whole(20, 64), within_s=10)
            assert seen.startswith("Floodway")
            assert "memory" not in seen
            one.press(b"q")
            assert await one.ended(within_s=10) == 0
            assert one.shown.endswith(b"\x1b[?25h\x1b[?1049l")  # the cursor, and the screen that was there before
            assert termios.tcgetattr(one.slave) == before
        with terminal(["top", "--exporter", exporter], environ, tmp_path) as one:
            await one.until("Decided", within_s=WITHIN_S)
            one.press(b"\x03")
            assert await one.ended(within_s=10) == 0
            assert one.shown.endswith(b"\x1b[?25h\x1b[?1049l")


def whole(lines: int, columns: int) -> str:
    """A pattern for a frame that fills a terminal of this size: one of another size is none, nor a part of one."""
    return rf"\A(.{{{columns}}}\n){{{lines - 1}}}.{{{columns}}}\Z"


def test_where_nothing_runs_it_says_what_to_start(tmp_path: Path) -> None:
    """One frame, in words; without a terminal the command says how it can be used."""
    argv = [FLOODWAY, "top", "--exporter", "http://127.0.0.1:9"]
    once = subprocess.run([*argv, "--once"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Start `floodway up`" in once.stdout
    refused = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "use --once for one frame, or --json" in refused.stderr


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_everybody_can_read_the_page(
    browser: Browser, exporter: str, parts: Parts, size: str, scheme: Any, tmp_path: Path
) -> None:
    """Figures and charts fill themselves; no rule of WCAG that axe knows is broken, nothing sticks out."""
    async with orders(parts, f"ops-{size}-{scheme}"):
        page, wrong = await opened(browser, f"{exporter}/ops", size, color_scheme=scheme)
        decided = page.locator("[data-chart=rate] .figure b").first
        await expect(decided).to_have_text(FIGURE, timeout=WITHIN_MS)
        await expect(page.locator("[data-chart=latency] .figure b").nth(1)).to_have_text(FIGURE, timeout=WITHIN_MS)
        await expect(page.locator("[data-chart=rate] path.first")).to_have_attribute(
            "d", re.compile("L"), timeout=WITHIN_MS
        )
        await expect(page.locator("#workers tbody tr")).to_have_count(3)
        await expect(page.locator("#pools tbody")).to_contain_text("main", timeout=WITHIN_MS)
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert await page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
        assert len(await page.screenshot(full_page=True)) > 20_000
        assert wrong == []


@needs_chromium
async def test_the_page_says_when_nobody_answers(
    browser: Browser, settings: Settings, running: Workers, tmp_path: Path
) -> None:
    """What stood there stays, with the time it is from; it asks nobody but its exporter."""
    asked: list[str] = []
    with exporting(settings, tmp_path, workers=targets(running), **OFTEN) as url:
        page, _ = await opened(browser, f"{url}/ops")
        page.on("request", lambda request: asked.append(request.url))
        await expect(page.locator("#stores tbody tr")).to_have_count(3, timeout=WITHIN_MS)
        await page.reload()
        await expect(page.locator("#stores tbody tr")).to_have_count(3, timeout=WITHIN_MS)
        status, _ = fetch(f"{url}/ops.json?since=9999")
        assert status == 200
    await expect(page.locator("#state")).to_contain_text("does not answer since", timeout=WITHIN_MS)
    await expect(page.locator("#stores tbody tr")).to_have_count(3)
    assert all(one.startswith((url, "data:")) for one in asked), asked


@needs_chromium
@pytest.mark.parametrize("size", SIZES)
async def test_trouble_can_be_read_on_any_screen(browser: Browser, exporter: str, size: str) -> None:
    """A store away, breakers open, large figures: words in red that axe can read, and nothing sticks out."""
    await until(lambda: board(exporter), within_s=WITHIN_S, what="a first look")
    told = await board(exporter)
    now = told["now"]
    for worker in now["workers"]:
        worker |= {"breakers": {"postgres": "open", "redis": "half_open"}, "in_flight": 1_234_567, "per_s": 123_456.7}
    for store in now["stores"]:
        store |= {"is_up": False, "breakers": {"closed": 1, "half_open": 2, "open": 3}}
    account = {"free": 12_345_678, "held": 1_234_567, "sold": 123_456, "skus": 5_000, "low": 3, "out": 4}
    now["pools"] = [{"name": f"promo:the-longest-name-of-a-promotion-{n}", **account} for n in range(3)]
    now["notes"] = [
        {"level": "bad", "words": "Postgres does not answer."},
        {"level": "look", "words": "Somebody looks."},
    ]
    page = await browser.new_page(viewport=dict(zip(("width", "height"), SIZES[size], strict=True)))  # type: ignore[arg-type]
    await page.route("**/ops.json*", lambda route: route.fulfill(json=told))
    await page.goto(f"{exporter}/ops")
    await expect(page.locator("#notes .bad")).to_have_text("Postgres does not answer.")
    await expect(page.locator("#stores .bad-text").first).to_have_text("does not answer")
    await expect(page.locator("#pools")).to_contain_text("12,345,678")
    found = await Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert await page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]


async def board(url: str) -> Any:
    """What the page draws; None before the first look at workers."""
    told = json.loads((await asyncio.to_thread(fetch, f"{url}/ops.json"))[1])
    return told if told["now"] and told["now"]["workers"] else None
