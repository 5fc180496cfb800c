"""The order's page is fit to be read: words for all that can happen, in both languages, and colours that stand out."""

import re
from importlib.resources import files

import pytest

from agents.http.pages import pages
from streams.core.books import State
from streams.messages import Outcome, ReportType

PAGE = files("agents.http") / "page"
SCRIPT = (PAGE / "order.js").read_text(encoding="utf-8")
STYLE = (PAGE / "order.css").read_text(encoding="utf-8")
HTML = (PAGE / "order.html").read_text(encoding="utf-8")


def words(name: str) -> str:
    """The text of a table of the script."""
    found = re.search(rf"^const {name} = \{{\n(.*?)^\}};", SCRIPT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("kind", [*State, *Outcome, *ReportType])
def test_states_and_reports_have_names_in_both_languages(kind: State | Outcome | ReportType) -> None:
    """Each can be a title or a moment of the page."""
    assert re.search(rf'[ "]{re.escape(kind.value)}"?: \["[^"]+", "[^"]+"\]', words("NAMES"))


def test_every_label_stands_in_both_languages() -> None:
    """What the page marks for translation has a word in English and in Chinese; both tables have the same words."""
    english, chinese = re.findall(r"\b(?:en|zh): \{(.*?)\},\n", words("WORDS"), re.DOTALL)
    keys = [set(re.findall(r'(\w+): "', table)) for table in (english, chinese)]
    assert keys[0] == keys[1]
    assert set(re.findall(r'data-t="(\w+)"', HTML)) <= keys[0]
    assert set(re.findall(r'word\("(\w+)"\)', SCRIPT)) <= keys[0]


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
    for text in ("ink", "soft", "late"):
        for ground in ("ground", "card"):
            lighter, darker = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)


def test_the_page_is_small_and_there() -> None:
    """Its files together are under 20 kB, so that a phone has it at once."""
    assert len(pages()) == 3
    assert len((HTML + STYLE + SCRIPT).encode()) < 20_000
