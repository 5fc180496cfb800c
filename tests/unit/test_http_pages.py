"""The order's page is fit to be read: words for all that can happen, in both languages, and colours that stand out."""

import json
import re
import zlib
from importlib.resources import files
from uuid import UUID

import pytest
from builders import NOW

from agents.http.pages import pages, prefers_chinese, snapshot
from streams.core.books import State
from streams.core.stages import EXPECTED_H, INTAKE, NEXT, REFUND, RETURN, WAY
from streams.core.vocabulary import MILESTONES, Axis
from streams.messages import Outcome, Reason, ReportType
from streams.timeline import Remark, Timeline

PAGE = files("agents.http") / "page"
SCRIPT = (PAGE / "order.js").read_text(encoding="utf-8")
STYLE = (PAGE / "order.css").read_text(encoding="utf-8")
HTML = (PAGE / "order.html").read_text(encoding="utf-8")


def words(name: str) -> str:
    """The text of a table of the script."""
    found = re.search(rf"^const {name} = \{{\n(.*?)^\}};", SCRIPT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


SAID = {
    *State,
    *Outcome,
    *Reason,
    *ReportType,
    *EXPECTED_H,
    *(owner for owner, _ in NEXT.values()),
    *(rule.owner for rule in (INTAKE, *WAY, REFUND, RETURN)),
    *(milestone.name for milestone in MILESTONES if milestone.axis is Axis.FULFILMENT),
}


@pytest.mark.parametrize("kind", sorted(SAID))
def test_all_that_can_be_said_has_words_in_both_languages(kind: str) -> None:
    """States, reports, stages, owners, reasons, how far parcels are: each can stand on the page."""
    assert re.search(rf'[ "]{re.escape(str(kind))}"?: \["[^"]+", "[^"]+"\]', words("NAMES"))


def test_every_label_stands_in_both_languages() -> None:
    """What the page marks for translation has a word in English and in Chinese; both tables have the same words."""
    english, chinese = re.findall(r"\b(?:en|zh): \{(.*?)\},\n", words("WORDS"), re.DOTALL)
    keys = [set(re.findall(r'(\w+): "', table)) for table in (english, chinese)]
    assert keys[0] == keys[1]
    assert set(re.findall(r'data-t="(\w+)"', HTML)) <= keys[0]
    assert set(re.findall(r'word\("(\w+)"', SCRIPT)) <= keys[0]


def test_nothing_from_outside_becomes_markup() -> None:
    """Texts are set as text; nothing in the script makes HTML or code of a string."""
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert way not in SCRIPT
    assert "style=" not in HTML
    assert "<script>" not in HTML


def luminance(colour: str) -> float:
    """Relative luminance as WCAG has it."""
    digits = colour.lstrip("#")
    digits = "".join(c * 2 for c in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_stand_out_from_their_ground(theme: int) -> None:
    """Text colours have a contrast of 4.5 to 1 and more against page and card, in the light and in the dark."""
    themes = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)]
    colours = themes[theme]
    for text in ("ink", "soft", "late", "now"):
        for ground in ("ground", "card"):
            lighter, darker = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)


def test_the_page_is_small_and_there() -> None:
    """Its files together are under 36 kB, 13 as they are packed, so that a phone has it at once."""
    assert len(pages()) == 3
    assert len((HTML + STYLE + SCRIPT).encode()) < 36_000
    assert len(zlib.compress((HTML + STYLE + SCRIPT).encode())) < 13_000


@pytest.mark.parametrize(
    ("header", "chinese"),
    [
        (b"", False),
        (b"zh", True),
        (b"zh-Hans-CN, en;q=0.9", True),
        (b"en-GB,en;q=0.9,zh;q=0.8", False),
        (b"fr;q=1, zh;q=0.5, en;q=0.3", True),
        (b"de", False),
        (b"zh;q=high, en;q=0.1", False),
        (b";;,zh", True),
    ],
)
def test_the_language_is_what_the_browser_asks_for(header: bytes, chinese: bool) -> None:
    """The one of the two with the most weight, English for those who ask for neither."""
    assert prefers_chinese(header) is chinese


def test_a_page_that_is_kept_needs_nobody_and_runs_nothing_of_others() -> None:
    """One file without addresses of its own; text of an order cannot end the place that it stands in."""
    text = "</script><script>alert(1)</script>"
    order_id = UUID(int=1)
    kept = snapshot(Timeline(order_id, "web", text, Outcome.ACCEPTED, NOW, (), "1", remarks=(Remark(NOW, text),)), NOW)
    assert "/page/" not in kept
    assert text not in kept
    assert kept.count("<script") == 2
    held = re.search(r'id="held">(.*?)</script>', kept)
    assert held is not None
    assert json.loads(held[1])["timeline"]["number"] == text
