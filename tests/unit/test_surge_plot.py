"""Pictures of a surge show what the report says, and need nothing from elsewhere."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtest.generator import GeneratorReport
from loadtest.outcome import Moment, SurgeReport
from loadtest.page import COLOURS, nice_ticks, page
from loadtest.plot import save
from streams.audit import AuditReport

MOMENTS = [Moment(0, 3_200, 3_000, 200, 12.0, 40.0), Moment(1, 3_200, 0, 3_400), Moment(2, 0, 3_400, 0, 900.0, 1_400.0)]
REPORT = SurgeReport(
    6_400,
    6_400,
    {},
    0,
    0,
    0,
    2_133.0,
    {"p50": 12.0},
    GeneratorReport(6_400, 0, 2_000, 0.0),
    cpu_us_per_order={"redis": 7.5, "total": 7.5},
    peak_rss_mb={"redis": 40.0},
    moments=MOMENTS,
    books=AuditReport(balanced=True),
)


def test_both_files_are_written(tmp_path: Path) -> None:
    """A PNG of some size, and a page with the title, into a directory that need not exist."""
    png, html = save(REPORT, tmp_path / "deep" / "plot", title="Surge of 6,400 <orders>", rows=[("orders/s", "2,133")])
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert png.stat().st_size > 20_000
    assert "<h1>Surge of 6,400 &lt;orders&gt;</h1>" in html.read_text(encoding="utf-8")


def test_the_page_is_whole_and_by_itself() -> None:
    """Three charts of well-formed SVG, every second's values, the figures, nothing to be fetched, light and dark."""
    made = page(REPORT, title="Surge", rows=[("orders/s", "2,133")])
    assert not re.search(r"(?:src|href|url)\s*[=(]|http|@import", made)
    assert "prefers-color-scheme: dark" in made
    charts = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", made)]
    assert len(charts) == 3
    said = [[title.text for title in chart.iter("title")] for chart in charts]
    assert said[0] == ["0 s: sent 3,200, decided 3,000", "1 s: sent 3,200, decided 0", "2 s: sent 0, decided 3,400"]
    assert said[2][1] == "1 s: "
    assert "<td>orders/s</td><td class=number>2,133</td>" in made
    assert "<td>redis</td><td class=number>7.50</td><td class=number>40</td>" in made


def test_a_second_without_decisions_is_a_gap_in_latency() -> None:
    """No decision has no latency: two dots, and no line across."""
    latency = re.findall(r"<svg.*?</svg>", page(REPORT, title="Surge", rows=[]))[2]
    assert latency.count("<circle") == 4
    assert "<polyline" not in latency


def test_a_curve_lies_where_its_values_are() -> None:
    """0 at the bottom of the chart, the highest value under the highest tick, later is further to the right."""
    rates = re.findall(r"<svg.*?</svg>", page(REPORT, title="Surge", rows=[]))[0]
    sent = re.search(r'<polyline class="a line" points="([^"]*)"', rates)
    assert sent is not None
    points = [tuple(map(float, point.split(","))) for point in sent[1].split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x0 < x1 < x2
    assert y0 == y1 < y2
    rules = [float(y) for y in re.findall(r'<line class="rule".*?y1="([\d.]+)"', rates)]
    assert y2 == rules[0]
    assert rules[-1] < y0 < rules[-2]  # between 3,000 and 4,000


def test_the_page_says_why_a_surge_failed() -> None:
    """In place of the good news."""
    bad = page(replace(REPORT, missing=3), title="Surge", rows=[])
    assert '<p class="bad">3 answers are missing.</p>' in bad
    assert 'class="good"' not in bad


def test_a_surge_of_nothing_has_a_page() -> None:
    """When the pipeline decided nothing at all."""
    assert page(replace(REPORT, moments=[]), title="Surge", rows=[]).count("<svg") == 3


@pytest.mark.parametrize(
    ("top", "ticks"),
    [(0, [0, 1]), (4, [0, 1, 2, 3, 4]), (950, [0, 250, 500, 750, 1_000]), (0.3, [0, 0.1, 0.2, 0.3])],
)
def test_ticks_are_round_and_cover_all(top: float, ticks: list[float]) -> None:
    """About four steps of 1, 2, 2.5 or 5."""
    assert nice_ticks(top) == pytest.approx(ticks)


def test_every_colour_is_one_by_day_and_by_night() -> None:
    """A curve in a colour that the page does not define would not be seen."""
    made = page(REPORT, title="Surge", rows=[])
    light, _, dark = made.partition("@media")
    for colour in COLOURS:
        assert all(
            re.search(rf"--{colour}: #[0-9a-f]{{6}};", palette) for palette in (light, dark.partition("body")[0])
        )
        assert f".{colour} {{ stroke: var(--{colour});" in made
