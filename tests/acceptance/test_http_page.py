"""The page of an order in a real browser: on phone and desk, light and dark, in both languages, as things happen."""

import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from axe_playwright_python.async_playwright import Axe
from browsing import SIZES, needs_chromium, opened
from front import FrontProcess, front
from page_sample import FIRST, REMARK, SECOND, sample
from pipeline import Workers
from playwright.async_api import Browser, expect
from shop import encode, order, report, stock_up

from streams.messages import ReportType
from streams.parts import Parts
from streams.settings import Settings

pytest_plugins = ["stack_fixtures", "browser_fixtures"]

WITHIN_MS = 20_000
KEYS = "k" * 40

pytestmark = [pytest.mark.timeout(120), needs_chromium]


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_everybody_can_read_it(browser: Browser, size: str, scheme: Any, lang: str, tmp_path: Path) -> None:
    """No rule of WCAG that axe knows is broken, nothing sticks out, what is late is red and says so in words."""
    story, _, service = sample(lang)
    file = tmp_path / "order.html"
    file.write_text(service, encoding="utf-8")
    locale = {"en": "en-GB", "zh": "zh-CN"}[lang]
    page, wrong = await opened(browser, file.as_uri(), size, color_scheme=scheme, locale=locale)
    await page.click("summary")
    found = await Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert await page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
    assert await page.evaluate("document.documentElement.lang") == lang
    assert await page.text_content("h1") == (story.status_zh if lang == "zh" else story.status_en)
    await expect(page.locator("#note")).to_contain_text(
        {"en": "14 h 52 min late", "zh": "已超时 14 小时 52 分钟"}[lang]
    )
    late = page.locator(".stage.late")
    await expect(late).to_have_count(1)
    await expect(late).to_contain_text(SECOND)
    red = await late.locator(".over-bar").evaluate("e => getComputedStyle(e).backgroundColor")
    assert red == {"light": "rgb(179, 38, 30)", "dark": "rgb(255, 141, 132)"}[scheme]
    await expect(page.locator("#remarks")).to_contain_text(REMARK[lang])
    assert await page.locator("#numbers code").all_text_contents() == [FIRST, SECOND]
    assert await page.locator("#lines td").all_text_contents() == ["KETTLE-1L", "1", "TEA-OOLONG", "2"]
    await expect(page.locator("#reports tr")).to_have_count(11)
    picture = await page.screenshot()
    assert len(picture) > 20_000
    assert wrong == []


async def test_what_happens_comes_to_the_open_page(
    browser: Browser, settings: Settings, running: Workers, parts: Parts, tmp_path: Path
) -> None:
    """Paid, then a remark: both stand there without a reload, what is new is marked, and service reads why."""
    await stock_up(parts, "page", [("PAGE-1", 1_000)])
    with front(settings, tmp_path) as one:
        story = accepted(one, "page-live")
        page, wrong = await opened(browser, f"http://127.0.0.1:{one.port}/orders/http:page-live")
        await expect(page.locator("h1")).to_have_text("Awaiting payment")
        await expect(page.locator("#live")).to_have_text("Live", timeout=WITHIN_MS)
        await expect(page.locator("#steps .next")).to_have_text("Paid")
        await page.evaluate("window.stayed = true")
        await report(parts, ReportType.PAYMENT_SUCCEEDED, [UUID(story["order_id"])])
        await expect(page.locator("h1")).to_have_text("Paid", timeout=WITHIN_MS)
        await expect(page.locator("li.new strong")).to_have_text("Paid")
        await expect(page.locator("#steps .next")).to_have_text("Packed")
        await page.click("summary")
        await expect(page.locator("#reports")).to_contain_text("the stock is confirmed")
        said = one.ask(
            "POST",
            f"/v1/orders/{story['order_id']}/remarks",
            b'{"text": "Snow."}',
            {"Content-Type": "application/json"},
        )
        assert said.status == 202
        await expect(page.locator("#remarks")).to_contain_text("Snow.", timeout=WITHIN_MS)
        await expect(page.locator("#reports")).to_contain_text("operator+local")
        assert await page.evaluate("window.stayed")
        assert wrong == []


async def test_a_buyer_reads_his_link_in_his_language(
    browser: Browser, settings: Settings, running: Workers, parts: Parts, tmp_path: Path
) -> None:
    """The server goes by Accept-Language, the switch by the reader; nothing for service; a changed link says so."""
    await stock_up(parts, "page", [("PAGE-1", 1_000)])
    with front(settings, tmp_path, link_keys=KEYS) as one:
        accepted(one, "page-buyer")
        url = f"http://127.0.0.1:{one.port}" + one.ask("POST", "/v1/orders/http:page-buyer/links").json["url"]
        page, wrong = await opened(browser, url, "phone", locale="zh-CN")
        await expect(page.locator("h1")).to_have_text("待付款")
        assert '<html lang="zh">' in one.get("/orders/x", accept_language="zh-CN,zh;q=0.9,en;q=0.8").body.decode()
        assert '<html lang="en">' in one.get("/orders/x", accept_language="fr,en;q=0.8,zh;q=0.1").body.decode()
        await page.click("button[data-lang=en]")
        await expect(page.locator("h1")).to_have_text("Awaiting payment")
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        await expect(page.locator("#live")).to_have_text("Live", timeout=WITHIN_MS)
        await expect(page.locator("#service")).to_be_hidden()
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert wrong == []
        changed = re.sub(r"fwl_.", lambda m: "fwl_" + ("B" if m[0][-1] == "A" else "A"), url)
        other, _ = await opened(browser, changed, "phone")
        await expect(other.locator("h1")).to_contain_text("no longer, good")


def accepted(one: FrontProcess, name: str) -> dict[str, Any]:
    """An order that waits for its payment."""
    one.submit(encode(order(name, ("PAGE-1", 3), channel="http")))
    story: dict[str, Any] = one.get(f"/v1/orders/http:{name}?wait=20").json
    assert story["state"] == "held"
    return story
