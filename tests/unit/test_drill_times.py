"""The record of drills: what replaces what, and the page made from it."""

from pathlib import Path

import pytest

from loadtest.drills.report import DrillReport
from loadtest.drills.table import DRILLS
from loadtest.drills.times import PAGE, RECORD, page, read, record
from streams.errors import Refused

DOCS = Path(__file__).parents[2] / "docs"


def report(seed: int, *, recovered_s: float | None, drill: str = "redis-kill", passed: bool = True) -> DrillReport:
    """A drill that took so long to recover."""
    return DrillReport(drill, seed, "tansu", passed=passed, balanced=passed, recovered_s=recovered_s)


def test_a_round_takes_the_place_of_the_same_round(tmp_path: Path) -> None:
    """The same drill, broker and seed is one row, whenever it ran; others stay."""
    record([report(1, recovered_s=9.0), report(2, recovered_s=4.0)], tmp_path)
    record([report(1, recovered_s=2.0)], tmp_path)
    assert [(row["seed"], row["recovered_s"]) for row in read(tmp_path / RECORD)] == [(1, 2.0), (2, 4.0)]
    assert (tmp_path / PAGE).read_text() == page(read(tmp_path / RECORD))


def test_the_page_has_median_and_worst_and_hides_no_failure(tmp_path: Path) -> None:
    """Of three rounds the middle one and the slowest are told; one that failed is counted as such."""
    rounds = [report(1, recovered_s=1.0), report(2, recovered_s=None, passed=False), report(3, recovered_s=8.0)]
    record([*rounds, report(4, recovered_s=2.0)], tmp_path)
    told = (tmp_path / PAGE).read_text()
    assert "4 rounds of 1 drills: 3 passed, the books of 3 balance" in told
    assert "| `redis-kill` | 3 of 4 | - | - | 2.0 / 8.0 | 0.0 | 0.0 | 0 | 0 |" in told


@pytest.mark.parametrize("held", ["{}", "[1]", '[{"drill": "x"}]', "no JSON"])
def test_what_is_no_record_is_left_alone(tmp_path: Path, held: str) -> None:
    """A file of that name that holds something else is refused, not overwritten."""
    (tmp_path / RECORD).write_text(held)
    with pytest.raises(Refused, match="is no record of drills"):
        record([report(1, recovered_s=1.0)], tmp_path)
    assert (tmp_path / RECORD).read_text() == held


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Before a drill of minutes has run for nothing."""
    with pytest.raises(Refused, match="no such directory"):
        record([], tmp_path / "typo")


def test_the_page_in_the_docs_is_that_of_the_record() -> None:
    """Nobody has edited it by hand; it has no drill that is gone, and names those that it lacks."""
    rows = read(DOCS / RECORD)
    told = (DOCS / PAGE).read_text()
    assert told == page(rows)
    assert {row["drill"] for row in rows} <= DRILLS.keys()
    assert all(f"`{name}`" in told for name in DRILLS)
