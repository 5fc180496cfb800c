"""The command line on a running pipeline: results on standard output, errors in one line, telling exit codes."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from command import CommandLine, Said

from infra.cli import main
from infra.embedded import Stack

pytest_plugins = ["stack_fixtures"]
pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("running")]

MISUSED, UNKNOWN, REFUSED, TRY_AGAIN = 2, 4, 5, 75
Run = Callable[..., Said]

NOBODYS = "0191f2f0-0000-7000-8000-000000000000"


@pytest.fixture
def floodway(stack: Stack, tmp_path: Path) -> CommandLine:
    """The command line, in a directory of its own."""
    return CommandLine.of(stack, tmp_path)


@pytest.fixture
def at_once(floodway: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process: it says the same, without the second that a process takes to start."""
    monkeypatch.chdir(floodway.directory)
    for name, value in floodway.environ.items():
        monkeypatch.setenv(name, value)

    def run(*words: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["floodway", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Said(int(str(ended.value.code)), *capsys.readouterr())

    return run


def line(name: str, sku: str, qty: int = 1, **changes: Any) -> str:
    """A submission as one line of NDJSON."""
    body = {
        "submission_id": name,
        "channel": "cli",
        "buyer_id": "b",
        "lines": [{"sku": sku, "qty": qty, "unit_price": 250}],
        "currency": "USD",
        "submitted_at": datetime.now(UTC).isoformat(),
    }
    return json.dumps(body | changes)


def stocked(floodway: Run, **units: int) -> None:
    """Put units on the shelves."""
    with NamedTemporaryFile("w", suffix=".csv") as goods:  # where the command runs is its caller's to say
        goods.write("sku,qty\n" + "".join(f"{sku},{qty}\n" for sku, qty in units.items()))
        goods.flush()
        said = floodway("stock", "load", goods.name, "--json")
    assert said.code == 0, said.err
    assert said.json["units"] == sum(units.values())


def shelves(floodway: Run, sku: str) -> dict[str, tuple[int, int, int]]:
    """Free, held and sold units of a SKU, by pool."""
    rows = floodway("stock", "show", sku, "--json").json_lines
    return {row["pool"]: (row["free"], row["held"], row["sold"]) for row in rows}


def decided(floodway: Run, lines: Sequence[str]) -> list[dict[str, Any]]:
    """Submit, and wait for the decisions."""
    with NamedTemporaryFile("w", suffix=".ndjson") as file:
        file.write("\n".join(lines))
        file.flush()
        said = floodway("submit", file.name, "--wait", "--json")
    assert said.code == 0, said.err
    return said.json_lines


def test_stock_is_loaded_once_and_shown(floodway: CommandLine, at_once: Run) -> None:
    """A delivery counts once by its reference, in either format; it is shown by SKU, to people in a table."""
    goods = floodway.directory / "in.csv"
    goods.write_text("sku,qty\ncli-a,5\ncli-b,7\ncli-a,1\n")
    first = floodway("stock", "load", goods, "--json")
    assert first.json == {"ref": first.json["ref"], "skus": 2, "units": 13, "repeated": False}
    assert at_once("stock", "load", goods, "--json").json["repeated"] is True
    again = at_once("stock", "load", goods, "--ref", "second-delivery")
    assert "13 units of 2 SKUs added" in again.out
    more = floodway.directory / "in.ndjson"
    more.write_text('{"sku": "cli-a", "qty": 100}\n\n{"sku": "cli-b", "qty": "100"}\n')
    assert at_once("stock", "load", more, "--json").json["units"] == 200
    assert shelves(at_once, "cli-a") == {"main": (112, 0, 0)}
    table = floodway("stock", "show", "cli-a", "cli-b")
    assert table.code == 0
    assert {"cli-a", "cli-b", "112", "114"} <= set(table.out.replace("│", " ").split())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"sku,qty\nfine,1\nbroken,x\n", "row 2"),
        (b"sku,amount\nfine,1\n", "row 1"),
        (b"sku,qty\na|b,1\n", "'a|b' is no SKU"),
        (b"sku,qty\nfine,-1\n", "-1 units cannot be received"),
        (b"sku,qty\nfine," + b"9" * 30 + b"\n", "cannot be received at once"),
        (b"sku,qty\nf\xff,1\n", "no text in UTF-8"),
        (b"sku,qty\n", "has no rows"),
    ],
    ids=["no-number", "no-column", "no-sku", "negative", "huge", "no-utf8", "no-rows"],
)
def test_a_bad_delivery_is_refused_whole(at_once: Run, tmp_path: Path, content: bytes, told: str) -> None:
    """The row or the SKU is named, nothing of it is received, and the exit code is that of a refusal."""
    goods = tmp_path / "bad.csv"
    goods.write_bytes(content)
    said = at_once("stock", "load", goods)
    assert said.code == REFUSED
    assert told in said.error
    assert at_once("stock", "show", "fine", "--json").json_lines == []


def test_submissions_from_a_file_are_decided(floodway: CommandLine, at_once: Run) -> None:
    """A file goes in as it is; waited for, the decisions are counted for people or printed as JSON; a repeat is one."""
    stocked(at_once, **{"cli-sub": 3})
    file = floodway.directory / "orders.ndjson"
    file.write_text("\n".join(line(f"file-{n}", "cli-sub") for n in range(5)) + "\n")
    said = floodway("submit", file, "--wait")
    assert said.code == 0, said.err
    assert {("accepted", "3"), ("out_of_stock", "2")} <= rows(said)
    repeat = at_once("submit", file, "--wait", "--json")
    assert [d["replay"] for d in repeat.json_lines] == [True] * 5
    assert at_once("submit", file, "--json").json == {"submitted": 5}


def rows(said: Said) -> set[tuple[str, ...]]:
    """The rows of a printed table."""
    return {tuple(row.replace("│", " ").split()) for row in said.out.splitlines()}


def test_an_invalid_line_is_named_and_stops_the_rest(floodway: CommandLine, at_once: Run) -> None:
    """Line and field are named with what to do; unchecked it is sent all the same, and becomes a dead letter."""
    stocked(at_once, **{"cli-bad": 9})
    lines = [line("bad-1", "cli-bad"), line("bad-2", "cli-bad", submitted_at="2026-11-11T00:00:00"), "{not json"]
    said = floodway("submit", "-", stdin="\n".join(lines))
    assert said.code == REFUSED
    assert "line 2 " in said.error
    assert "$.submitted_at" in said.error
    assert "offset from UTC" in said.error
    assert shelves(at_once, "cli-bad") == {"main": (9, 0, 0)}
    before = at_once("verify", "--json").json["dead_lettered"]
    unchecked = floodway("submit", "-", "--unchecked", "--wait", "--json", stdin="\n".join(lines))
    assert unchecked.code == 0, unchecked.err
    assert [d["submission_id"] for d in unchecked.json_lines] == ["bad-1"]
    report = at_once("verify", "--json")
    assert report.code == 0
    assert report.json["dead_lettered"] == before + 2


def test_an_order_is_found_by_id_by_key_and_with_a_token(floodway: CommandLine, at_once: Run) -> None:
    """The same story by either name, at least as new as the token; it goes on when the order is paid or cancelled."""
    stocked(at_once, **{"cli-order": 5})
    lines = [line("o-1", "cli-order", 2), line("o-2", "cli-order"), line("o-3", "cli-order", 9)]
    first = {d["submission_id"]: d for d in decided(at_once, lines)}
    paid, dropped = first["o-1"]["order_id"], first["o-2"]["order_id"]
    story = floodway("order", paid, "--token", first["o-1"]["read_token"], "--json").json
    assert story == at_once("order", "cli:o-1", "--json").json
    assert (story["outcome"], story["state"]) == ("accepted", "held")
    assert [moment["what"] for moment in story["moments"]] == ["submitted", "accepted"]
    assert story["lines"] == [{"sku": "cli-order", "pool": "main", "qty": 2}]
    assert at_once("order", "cli:o-3", "--json").json["reason"] == "out_of_stock"
    report(floodway, "payment.succeeded", paid)
    report(at_once, "order.cancelled", dropped)
    comes_to(at_once, paid, "confirmed")
    comes_to(at_once, dropped, "cancelled")
    assert shelves(at_once, "cli-order") == {"main": (3, 0, 2)}
    told = floodway("order", paid)
    assert told.code == 0
    assert "payment.succeeded" in told.out


def report(floodway: Run, what: str, order_id: str) -> None:
    """Report something of an order."""
    said = floodway("report", what, order_id, "--event-id", f"{what}-{order_id}", "--json")
    assert said.code == 0, said.err
    assert said.json == {"event_id": f"{what}-{order_id}"}


def comes_to(floodway: Run, order_id: str, state: str) -> None:
    """Ask until the order is in this state."""
    found: list[str] = []
    deadline = time.monotonic() + 15
    while found[-1:] != [state]:
        assert time.monotonic() < deadline, found
        found.append(floodway("order", order_id, "--json").json["state"])


def test_a_promotion_opens_sells_and_closes(floodway: CommandLine, at_once: Run) -> None:
    """Units are set aside, sold to those who name the promotion up to the limit, and what is free comes back."""
    stocked(at_once, **{"cli-promo": 10})
    opened = floodway("promo", "open", "cli-11", "cli-promo=4", "--buyer-limit", "3", "--lasts", "1h", "--json")
    assert opened.code == 0, opened.err
    assert opened.json["units"] == 4
    lines = [line("p-1", "cli-promo", 3, promotion_id="cli-11"), line("p-2", "cli-promo", 4)]
    assert {d["outcome"] for d in decided(at_once, lines)} == {"accepted"}
    over = decided(at_once, [line("p-3", "cli-promo", 1, promotion_id="cli-11")])
    assert [d["reason"] for d in over] == ["buyer_limit"]
    assert shelves(at_once, "cli-promo") == {"main": (2, 4, 0), "promo:cli-11": (1, 3, 0)}
    shown = at_once("promo", "show", "cli-11", "--json").json
    assert (shown["state"], shown["quota"], shown["buyer_limit"]) == ("open", [["cli-promo", 4]], 3)
    assert at_once("promo", "close", "cli-11", "--json").json == {"promotion_id": "cli-11", "swept": {"cli-promo": 1}}
    assert ("cli-11", "closed") in {row[:2] for row in rows(at_once("promo", "show"))}
    late = decided(at_once, [line("p-4", "cli-promo", 1, promotion_id="cli-11", buyer_id="c")])
    assert [d["reason"] for d in late] == ["promotion_closed"]


ERRORS: tuple[tuple[str, int, str], ...] = (
    ("stock load nowhere.csv", REFUSED, "There is no file nowhere.csv."),
    ("submit nowhere.ndjson", REFUSED, "There is no file nowhere.ndjson."),
    ("promo open cli-x", MISUSED, "requires an argument"),
    ("promo open cli-x nothing", REFUSED, "write SKU=UNITS"),
    ("promo open cli-x cli-none=5", REFUSED, "Main has too little for promotion cli-x: cli-none (short of 5)"),
    ("promo open cli-x cli-none=1 --lasts 3x", REFUSED, "write it as 90s, 15m, 2h or 3d"),
    ("promo open cli-x cli-none=1 --lasts 9999999999d", REFUSED, "longer than any calendar"),
    ("promo open cli-x cli-none=1 --opens 2026-11-11T00:00:00", REFUSED, "append the offset from UTC"),
    ("promo open cli|x cli-none=1", REFUSED, "no name that a submission could give"),
    ("promo close cli-never", UNKNOWN, "There is no promotion cli-never"),
    ("promo show cli-never", UNKNOWN, "There is no promotion cli-never"),
    ("order cli:never", UNKNOWN, "No decision on cli:never is known"),
    (f"order {NOBODYS}", UNKNOWN, f"No decision on {NOBODYS} is known"),
    ("order never", REFUSED, "neither an order id nor a trace id, channel:submission_id or channel:number"),
    ("order cli:never --token yesterday", REFUSED, "no position in the ledger"),
    ("report payment.exploded " + NOBODYS, MISUSED, '"payment.succeeded", "order.cancelled"'),
    ("report payment.succeeded never", MISUSED, "UUID"),
    ("verify --wait-s soon", MISUSED, "float"),
    ("nonsense", MISUSED, "Unknown command"),
)


@pytest.mark.parametrize(("words", "code", "told"), ERRORS, ids=[words for words, _, _ in ERRORS])
def test_an_error_is_one_line_with_its_exit_code(at_once: Run, words: str, code: int, told: str) -> None:
    """No traceback, nothing on standard output, and words that say what is wrong."""
    said = at_once(*words.split())
    assert said.code == code, said.err
    assert told in said.error


def test_nobody_there_is_told_in_one_line(tmp_path: Path) -> None:
    """Without servers the error names what does not answer, and the code says that trying again may help."""
    nowhere = {"FLOODWAY_KAFKA_BOOTSTRAP": "127.0.0.1:1", "FLOODWAY_POSTGRES_DSN": "postgresql://127.0.0.1:1/x"}
    floodway = CommandLine(tmp_path, {**os.environ, **nowhere})
    for words, told in (("verify", "Postgres"), ("submit -", "Kafka at 127.0.0.1:1")):
        said = floodway(*words.split())
        assert said.code == TRY_AGAIN, said.err
        assert told in said.error


def test_no_decision_in_time_is_told(floodway: CommandLine) -> None:
    """A submission that nobody decides in time makes `submit --wait` end with 1, and say what may be missing."""
    said = floodway("submit", "-", "--wait", "--json", "--timeout-s", "0", stdin=line("too-soon", "cli-none"))
    assert said.code == 1
    assert said.out == ""
    assert "does an intake worker run?" in said.err


def test_the_books_balance_after_all_that(floodway: CommandLine) -> None:
    """`verify` says so to people, with exit code 0."""
    said = floodway("verify")
    assert said.code == 0, said.out
    assert "The books balance." in said.out
