"""A real browser for pages: Chromium without a window, on a phone and on a desk."""

import shutil
from typing import Any

import pytest
from playwright.async_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SIZES = {"phone": (390, 844), "desk": (1280, 900)}

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; `apt-get install chromium` brings it")


async def opened(browser: Browser, url: str, size: str = "desk", **context: Any) -> tuple[Page, list[str]]:
    """A page on this address, and what goes wrong on it, as long as it is open."""
    width, height = SIZES[size]
    page = await browser.new_page(viewport={"width": width, "height": height}, timezone_id="Asia/Shanghai", **context)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    await page.goto(url)
    return page, wrong
