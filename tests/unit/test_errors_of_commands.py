"""What fuzzing found of commands: errors that were tracebacks, were endless, or spoke to the terminal."""

import pytest

from loadtest.fuzz.given import Given, tried
from loadtest.fuzz.program import LOOPBACK

SURGE = b'{"cpu_us_per_order":{"total":%s},"orders_per_s":%s,"workers":%s}'


def said(*argv: str, files: dict[str, bytes] | None = None, with_stores: bool = False) -> tuple[int | None, str]:
    """The exit code of a command, and its error; asserts that it is one as errors should be."""
    ran, wrong = tried(Given(argv, LOOPBACK, files or {}, with_stores=with_stores))
    assert wrong is None, wrong
    return ran.code, ran.err


@pytest.mark.parametrize(
    ("option", "time"),
    [("--closes", "9999-12-31T23:59:59-14:00"), ("--opens", "0001-01-01T00:00:00+14:00")],
)
def test_a_time_at_the_end_of_the_calendar_is_refused(option: str, time: str) -> None:
    """In UTC there is no such day; the option is named."""
    code, error = said("promo", "open", "p1", "TEA=5", option, time, with_stores=True)
    assert code == 5
    assert option in error


@pytest.mark.parametrize(
    "content",
    [
        SURGE % (b'"x"', b"1", b"1"),
        SURGE % (b"1", b'"x"', b"1"),
        SURGE % (b"1", b"1", b'{"":1}'),
        SURGE % (b"0", b"1", b"1"),
        SURGE % (b"-1", b"1", b"1"),
        SURGE % (b"1", b"1", b"0"),
        b'{"cpu_us_per_order":' + b'{"":' * 5_000,
        b'"\xff"',
    ],
)
def test_a_report_of_another_shape_is_refused(content: bytes) -> None:
    """`capacity` looks at each figure before it reckons with it."""
    code, error = said("capacity", "surge.json", files={"surge.json": content})
    assert code == 5
    assert "surge.json" in error


def test_a_path_through_a_file_is_one_line() -> None:
    """What the system says of a path that was given is no bug of ours."""
    assert said("schema", "--into", "stock.csv", files={"stock.csv": b""})[0] == 74
    assert said("capacity", "stock.csv/x", files={"stock.csv": b""})[0] == 5


def test_an_error_gives_back_neither_megabytes_nor_escapes() -> None:
    """What was given may be anything; it is cut, and told in characters that only show."""
    code, error = said("report", "x" * 100_000)
    assert (code, len(error) < 2_000) == (2, True)
    code, error = said("\x1b[31m")
    assert code == 2
    assert r"\x1b[31m" in error


def test_numbers_that_would_fill_the_memory_are_refused() -> None:
    """A list of so many schedules was made before the first of them ran."""
    assert said("simulate", "--schedules", "9" * 20)[0] == 5
    assert said("fuzz", "cli", "--processes", "9" * 9)[0] == 5


def test_bytes_that_are_no_text_are_refused_at_once() -> None:
    """They would end the command when it prints its result, after it has done its work."""
    code, error = said("stock", "load", "stock.csv", "--ref", "\udcff", files={"stock.csv": b"sku,qty\nTEA,1\n"})
    assert code == 2
    assert r"\udcff" in error


def test_odd_values_and_files_without_an_end_are_refused() -> None:
    """A list a thousand deep has no text form, and a device is no file."""
    nested = b'{"sku":' + b"[" * 900 + b"]" * 900 + b',"qty":1}'
    code, error = said("stock", "load", "stock.ndjson", files={"stock.ndjson": nested})
    assert code == 5
    assert "row 1" in error
    assert said("capacity", "/dev/full")[0] == 5
