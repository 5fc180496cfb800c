"""The page of an order in a real browser, on a phone and on a desk, in both languages."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from front import FrontProcess, front
from pipeline import Workers
from shop import encode, order, stock_up

from streams.parts import Parts
from streams.settings import Settings

pytest_plugins = ["stack_fixtures"]

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SIZES = {"phone": (390, 844), "desk": (1280, 800)}

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; `apt-get install chromium` brings it"),
]


def browse(one: FrontProcess, path: str, size: tuple[int, int], directory: Path) -> tuple[str, bytes]:
    """What stands on the page after three seconds of its own time, and a picture of it."""
    assert CHROMIUM is not None
    picture = directory / "page.png"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={directory / 'profile'}"]
    flags += [f"--window-size={size[0]},{size[1]}", "--virtual-time-budget=3000", "--hide-scrollbars"]
    url = f"http://127.0.0.1:{one.port}{path}"
    seen = []
    for wanted in ("--dump-dom", f"--screenshot={picture}"):
        done = subprocess.run([CHROMIUM, *flags, wanted, url], capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr[-2_000:]
        seen.append(done.stdout)
    return seen[0], picture.read_bytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("lang", "title", "moments"),
    [
        ("en", "Reserved, waiting for payment", ["Submitted", "Accepted, goods reserved"]),
        ("zh", "已锁定，待付款", ["已提交", "已受理，库存已锁定"]),  # noqa: RUF001 - Chinese has commas of its own
    ],
)
async def test_the_page_tells_the_story(
    size: str,
    lang: str,
    title: str,
    moments: list[str],
    settings: Settings,
    running: Workers,
    parts: Parts,
    tmp_path: Path,
) -> None:
    """Title, stages, moments, goods and a live stream; the picture is not blank and has the size asked for."""
    await stock_up(parts, "page", [("PAGE-1", 1_000)])
    with front(settings, tmp_path) as one:
        name = f"page-{size}-{lang}"
        one.submit(encode(order(name, ("PAGE-1", 3), channel="http")))
        assert one.get(f"/v1/orders/http:{name}?wait=20").json["state"] == "held"
        page, picture = browse(one, f"/orders/http:{name}?lang={lang}", SIZES[size], tmp_path)
    assert re.search(rf"<h1[^>]*>{title}</h1>", page), page
    assert re.findall(r"<li[^>]*><strong>([^<]*)</strong>", page) == moments
    assert re.findall(r'class="stage (\w+)"', page) == ["done", "now"]
    assert '<td>PAGE-1</td><td class="number">3</td>' in page
    assert 'data-state="on"' in page
    assert f'<html lang="{lang}">' in page
    assert picture[16:24] == SIZES[size][0].to_bytes(4) + SIZES[size][1].to_bytes(4)
    assert len(picture) > 20_000
