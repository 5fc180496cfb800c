"""Named queries: cut from their file by name, each used, each there."""

import re
from pathlib import Path

import pytest

import streams.stores
from streams.stores.queries import load, parse


def test_queries_are_cut_at_their_names() -> None:
    """Text above the first name is for the reader; each query ends where the next begins."""
    text = "-- about\n\n-- name: one\nSELECT 1\n\n-- name: two\n-- why\nSELECT\n  2\n"
    assert parse(text) == {"one": "SELECT 1", "two": "-- why\nSELECT\n  2"}


@pytest.mark.parametrize(
    "text", ["-- name: a\nSELECT 1\n-- name: a\nSELECT 2\n", "-- name: a\n\n-- name: b\nSELECT 1\n"]
)
def test_a_file_that_is_ambiguous_is_refused(text: str) -> None:
    """A name used twice, or one without text, is said so when loading."""
    with pytest.raises(ValueError, match="query a "):
        parse(text)


def test_each_query_is_asked_by_name_and_each_name_is_there() -> None:
    """No query is left over from something that is gone, and none is asked for that is not written."""
    modules = Path(streams.stores.__file__).parent.glob("ledger*.py")
    asked = {name for module in modules for name in re.findall(r'SQL\["(\w+)"\]', module.read_text(encoding="utf-8"))}
    assert asked == set(load("ledger.sql")) | set(load("memory.sql"))
