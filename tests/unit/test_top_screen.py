"""A frame of `floodway top`: fits its terminal, lines its figures up, and has colours only for what needs people."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_ops_view import AT, exporter, seen, worker

from agents.ops.course import Course
from agents.ops.window import Look
from infra.cli.figures import bar, count, resampled, seconds, share, size, sparkline
from infra.cli.top_screen import frame

WIDTHS = (40, 80, 100, 132, 220)
POOLS = "\n".join(
    f'floodway_stock_units{{pool="{pool}",account="{account}"}} {units}'
    for pool in ("main", *(f"promo:{n}" for n in range(12)))
    for account, units in (("free", 1_234_567), ("held", 8_900), ("sold", 12))
)


def drawn(course: Course, width: int) -> str:
    """A frame as a terminal of this width gets it, colours included."""
    assert course.newest is not None
    console = Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system="standard", legacy_windows=False
    )
    console.print(frame(course.newest, course.points, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plain(course: Course, width: int) -> str:
    """The same without colours."""
    assert course.newest is not None
    console = Console(file=io.StringIO(), width=width)
    console.print(frame(course.newest, course.points, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def at_work(more: str = "") -> Course:
    """Two workers, an exporter, 13 pools, ten seconds."""
    course = Course()
    for second in range(10):
        workers = [worker(f"http://127.0.0.1:{n}", 100_000 + 2_000 * second, [0.02] * second, more) for n in (1, 2)]
        course.add(Look(float(second), workers, exporter(POOLS)), AT + timedelta(seconds=second))
    return course


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    """Nothing wraps, whatever the window's size, and the first figures are always there."""
    text = plain(at_work(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "Decided" in text
    assert "4,000" in text


def test_figures_stand_under_each_other_with_their_thousands_apart() -> None:
    """Units of all pools end in the same column; what there is no room for is counted."""
    text = plain(at_work(), 132)
    ends = {line.index("1,234,567") for line in text.splitlines() if "1,234,567" in line}
    assert len(ends) == 1
    assert "and 5 more" in text


def test_there_is_a_colour_only_where_somebody_is_needed() -> None:
    """All well: no red, no yellow. A breaker open: red, in a sentence and in its row."""
    well = drawn(at_work(), 132)
    assert "[1;31m" not in well
    assert "[33m" not in well
    broken = drawn(at_work('floodway_breaker_state{dependency="kafka",state="open"} 1'), 132)
    assert broken.count("[1;31m") >= 3
    assert "The breaker around Kafka is open in 2 of 2 workers" in broken


def test_a_part_that_is_missing_has_words() -> None:
    """Figures that nobody told are dashes, not zeros."""
    look = Look(0.0, [])
    course = Course()
    course.add(look, AT)
    text = plain(course, 100)
    assert "Nothing of Floodway is to be seen" in text
    assert "not known without the exporter" in text
    assert seen(look, look).flow.decided is None
    assert "\u2013" in next(line for line in text.splitlines() if line.startswith("Decided"))


def test_figures_are_short() -> None:
    """Two or three digits and a unit, thousands apart."""
    assert [count(value) for value in (None, 0, 0.25, 7, 9.96, 12_345.6)] == ["\u2013", "0", "0.2", "7", "10", "12,346"]
    shown = [seconds(value) for value in (0.0, 0.00084, 0.0999, 0.9999, 1.23, 42.0, 99.6, 5_980, float("inf"))]
    assert shown == ["0 ms", "0.8 ms", "100 ms", "1.0 s", "1.2 s", "42 s", "1.7 min", "2 h", "never"]
    assert [size(96e6), size(1.44e9), share(0.624), share(None)] == ["96 MB", "1.4 GB", "62 %", "\u2013"]
    assert [bar(0, 9, 4), bar(1, 1_000, 4), bar(9, 9, 4), bar(0, 0, 4)] == ["░░░░", "█░░░", "████", "░░░░"]
    assert sparkline([None, 0.0, 1.0, 8.0]) == " ▁▁█"


@given(st.lists(st.floats(0.0, 1e9), max_size=50), st.integers(10, 60))
def test_a_line_of_blocks_keeps_the_highest(values: list[float], cells: int) -> None:
    """However few cells there are, a peak is not averaged away, and there is one block a cell."""
    now = datetime(2026, 11, 11, tzinfo=UTC)
    points = [(now - timedelta(seconds=i), value) for i, value in enumerate(values)]
    found = resampled(points, now, 60.0, cells)
    assert len(found) == len(sparkline(found)) == cells
    if values:
        assert max(value for value in found if value is not None) == max(values)
