"""A channel's export beside the centre: each difference is found and told with its break point, and no others."""

import tempfile
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from builders import NOW, FakeChunk, FakeRecord, World, accepted, chunk, report, submission, take_in, world
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from infra.reconcile_page import reconcile_page
from streams.core.books import Position, State
from streams.core.differences import Difference, Kind, Row, Stood, Words
from streams.core.vocabulary import EVENTS
from streams.errors import Refused
from streams.exports import BadRow, Columns, rows_of
from streams.lifecycle import Lifecycle
from streams.messages import ReportType as R
from streams.reconcile import Reconciled, reconcile
from streams.sources import normalisers
from streams.stores.numbers_disk import NumbersOnDisk
from streams.topics import REPORTED, SOURCE_HEADER

TMALL = normalisers()["tmall"]
COLUMNS = Columns("no", "state", "sum", "placed")
HEADER = "no,state,sum,placed\n"
PLACED = f"{NOW + timedelta(hours=8):%Y-%m-%d %H:%M:%S}"
"""As Tmall says it: in Beijing's time, and not saying so."""


async def shop(count: int = 8) -> World:
    """Orders T-0 and so on of Tmall, each of 9.00, and one of the web."""
    made = await world({"TEA": 1_000})
    orders = [structs.replace(submission(f"s-{n}", channel="tmall"), channel_order_no=f"T-{n}") for n in range(count)]
    await accepted(made, *orders, submission("other"))
    return made


async def heard(made: World, number: str, *kinds: R) -> None:
    """Reports on an order, by our own words."""
    (order_id,) = (await made.ledger.find_by_numbers([("tmall", number)])).values()
    reports = [report(order_id, f"{number}-{kind}", kind) for kind in kinds]
    await Lifecycle(made.parts()).take(chunk(*reports))


async def compared(made: World, file: Path, text: str, **bounds: datetime | None) -> Reconciled:
    """The comparison with a file of this text."""
    file.write_text(text, encoding="utf-8")
    found = Reconciled("tmall", file.name)
    rows = rows_of(file, COLUMNS, TMALL, encoding="utf-8-sig", amounts="major")
    window = bounds.get("since"), bounds.get("until")
    await reconcile(made.ledger, rows, TMALL.mapping, found, window, lambda _: None)
    return found


def row(number: str, state: str = "WAIT_BUYER_PAY", total: str = "9.00", placed: str = PLACED) -> str:
    """One line of the export."""
    return f"{number},{state},{total},{placed}\n"


async def test_an_export_that_says_the_same_has_no_differences(tmp_path: Path) -> None:
    """Codes and labels, what was passed by, what the channel has no word for; another channel's order is no matter."""
    made = await shop(5)
    await heard(made, "T-0", R.PAYMENT_PENDING)
    await heard(made, "T-1", R.PAYMENT_SUCCEEDED)
    await heard(made, "T-2", R.PAYMENT_SUCCEEDED, R.WAREHOUSE_ACCEPTED, R.PARCEL_PACKED)
    await heard(made, "T-3", R.PAYMENT_SUCCEEDED, R.ORDER_COMPLETED)
    await heard(made, "T-4", R.PAYMENT_PENDING, R.ORDER_CANCELLED)
    states = ("WAIT_BUYER_PAY", "买家已付款", "WAIT_SELLER_SEND_GOODS", "交易成功", "TRADE_CLOSED_BY_TAOBAO")
    text = HEADER + "".join(row(f"T-{n}", state) for n, state in enumerate(states))
    found = await compared(made, tmp_path / "export.csv", text)
    assert (found.counts, found.same, found.rows, found.orders) == ({}, 5, 5, 5)
    assert found.is_same


async def test_each_difference_is_told_with_where_it_broke_off(tmp_path: Path) -> None:
    """Missing on either side, behind on either side, another total, an unknown code, a number twice, a bad row."""
    made = await shop(6)
    await heard(made, "T-0", R.PAYMENT_SUCCEEDED, R.WAREHOUSE_ACCEPTED)
    await heard(made, "T-1", R.PAYMENT_SUCCEEDED, R.PARCEL_SHIPPED)
    for n in (2, 3, 4, 5):
        await heard(made, f"T-{n}", R.PAYMENT_SUCCEEDED)
    lines = [
        row("T-0", "交易成功"),
        row("T-1", "已付款"),
        row("T-2", "已付款", "9.01"),
        row("T-3", "PAID_TWICE"),
        row("T-4", "已付款"),
        row("T-4", "已付款"),
        row("T-9", "已付款"),
        row("T-8", "已付款", "nine"),
        "too,few\n",
    ]
    found = await compared(made, tmp_path / "export.csv", HEADER + "".join(lines))
    told = {(one.kind, one.number): one for one in found.differences}
    assert found.counts == {
        **dict.fromkeys(("behind_here", "behind_there", "amount", "unknown_code", "repeated", "missing_here"), 1),
        "bad_row": 2,
        "missing_there": 1,
    }
    behind = told[Kind.BEHIND_HERE, "T-0"]
    assert (behind.here, behind.there, behind.line) == ("processing", "交易成功", 2)
    assert "last accepted: warehouse.accepted from pay" in behind.broke
    assert behind.broke.endswith("first missing here: picking")
    assert told[Kind.BEHIND_THERE, "T-1"].broke.endswith("first missing there: shipped")
    assert (told[Kind.AMOUNT, "T-2"].here, told[Kind.AMOUNT, "T-2"].there) == ("900", "901")
    assert told[Kind.UNKNOWN_CODE, "T-3"].there == "PAID_TWICE"
    assert told[Kind.REPEATED, "T-4"].line == 7
    assert told[Kind.MISSING_HERE, "T-9"].broke == "nothing was ever submitted or reported under this number"
    assert (told[Kind.MISSING_THERE, "T-5"].here, told[Kind.MISSING_THERE, "T-5"].line) == ("paid", None)
    bad = [(one.line, one.there, one.broke) for one in found.differences if one.kind is Kind.BAD_ROW]
    assert bad == [(9, "sum", "'nine' is no amount"), (10, "$", "2 values, the header has 4")]
    assert found.same == 1


async def test_what_is_missing_here_is_told_apart(tmp_path: Path) -> None:
    """Rejected, waiting in quarantine, or never heard of; a submission id does where there is no number."""
    made = await shop(1)
    await accepted(made, submission("s-plain", channel="tmall"))
    too_many = submission("s-full", channel="tmall", lines=[("TEA", 9_999, 1)])
    assert await take_in(made.parts(), [chunk(too_many)]) is None
    body = msgspec.json.encode({"tid": "T-77", "status": "已付款", "modified": PLACED})
    record = FakeRecord(0, body, headers=((SOURCE_HEADER, b"tmall"),))
    await Lifecycle(made.parts()).take(FakeChunk([record], topic=REPORTED.name))
    text = HEADER + row("T-0") + row("s-plain") + row("s-full") + row("T-77") + row("T-78")
    found = await compared(made, tmp_path / "export.csv", text.replace("WAIT_BUYER_PAY", ""))
    broke = {one.number: one.broke for one in found.differences}
    assert broke.keys() == {"s-full", "T-77", "T-78"}
    assert broke["s-full"] == "its submission was rejected: out_of_stock"
    assert broke["T-77"].startswith("never submitted; 1 reports of it wait in quarantine since ")


async def test_only_the_window_is_compared(tmp_path: Path) -> None:
    """Orders of other days are not missing there, nor their rows here; without a window that of the file counts."""
    made = await shop(2)
    later = structs.replace(
        submission("s-late", channel="tmall", submitted_at=NOW + timedelta(days=1)), channel_order_no="T-late"
    )
    await accepted(made, later)
    tomorrow = f"{NOW + timedelta(days=1, hours=8):%Y-%m-%d %H:%M:%S}"
    text = HEADER + row("T-0", "") + row("T-1", "")
    file = tmp_path / "export.csv"
    assert (await compared(made, file, text)).is_same
    found = await compared(made, file, text + row("T-9", "", placed=tomorrow), until=NOW + timedelta(hours=1))
    assert (found.is_same, found.outside, found.orders) == (True, 1, 2)
    found = await compared(made, file, text, since=NOW, until=NOW + timedelta(days=2))
    assert [(one.kind, one.number) for one in found.differences] == [(Kind.MISSING_THERE, "T-late")]
    text = text.replace("placed", "other")
    with pytest.raises(Refused, match="no column 'placed'"):
        await compared(made, file, text)


def read(file: Path, columns: Columns = COLUMNS, encoding: str = "utf-8-sig") -> list[Row | BadRow]:
    """All rows of a file."""
    return list(rows_of(file, columns, TMALL, encoding=encoding, amounts="major"))


def test_rows_are_read_as_they_are_written(tmp_path: Path) -> None:
    """Byte order mark, quotes, thousands, yuan signs and GB18030; NDJSON with paths, numbers as numbers."""
    file = tmp_path / "export.csv"
    file.write_bytes(("\ufeff" + HEADER + f'"T-0","已付款","¥1,234.50",{PLACED}\n\n').encode())
    assert read(file) == [Row(2, "T-0", "已付款", 123_450, NOW.replace(microsecond=0))]
    file.write_bytes((HEADER + row("T-0", "已付款")).encode("gb18030"))
    assert read(file, encoding="gb18030")[0] == Row(2, "T-0", "已付款", 900, NOW.replace(microsecond=0))
    wrong = read(file)[0]
    assert isinstance(wrong, BadRow)
    assert (wrong.field, "--encoding" in wrong.what) == ("state", True)
    lines = tmp_path / "export.ndjson"
    lines.write_text('{"trade":{"no":123},"state":"已付款","sum":9.5}\n\n[1]\n{"trade":\n{"trade":{}}\n')
    found = read(lines, Columns("trade.no", "state", "sum", None))
    assert found[0] == Row(1, "123", "已付款", 950)
    bad = [(one.line, one.field) for one in found if isinstance(one, BadRow)]
    assert bad == [(3, "$"), (4, "$"), (5, "trade.no")]


def test_a_line_without_end_costs_no_memory(tmp_path: Path) -> None:
    """Fifty megabytes without a line end, or behind an open quote, are bad rows; what comes after is read."""
    file = tmp_path / "export.csv"
    with file.open("w") as out:
        out.write(HEADER + row("T-0"))
        for _ in range(50):
            out.write("x" * 1_000_000)
        out.write("\n" + row("T-1"))
    tracemalloc.start()
    found = read(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [type(one) for one in found] == [Row, BadRow, Row]
    assert peak < 2_000_000


@given(st.binary(max_size=400))
def test_no_bytes_raise(data: bytes) -> None:
    """Whatever a file holds, rows and bad rows come out, or the header is refused."""
    for name in ("export.csv", "export.ndjson"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / name
            file.write_bytes(HEADER.encode() + data if data[:1] > b"\x40" else data)
            try:
                found = read(file)
            except Refused:
                continue
            assert all(isinstance(one, Row | BadRow) for one in found)


@pytest.mark.parametrize("source", sorted(normalisers()))
def test_an_order_that_has_just_what_a_code_says_is_the_same(source: str) -> None:
    """For every code of every source: whoever has heard it agrees, whoever has heard nothing is behind."""
    mapping = normalisers()[source].mapping
    words = Words(mapping)
    at = datetime(2026, 11, 11, tzinfo=UTC)
    for code, event in mapping.codes.items():
        milestone = EVENTS[event]
        row = Row(1, "n", code)
        nothing = Stood("n", UUID(int=1), 1, at, Position(State.HELD, {}, 0))
        if milestone is None:
            assert words.compare(row, nothing) is None
            continue
        just = nothing._replace(position=Position(State.HELD, {("", ""): frozenset({milestone.code})}, 1))
        assert words.compare(row, just) is None, code
        assert words.compare(row, nothing) is Kind.BEHIND_HERE
        assert words.first_missing(row, nothing) is not None


def test_the_page_escapes_what_the_file_says() -> None:
    """A number may be a script: it stands there as text, and the page loads nothing."""
    found = Reconciled("tmall", "<b>.csv", counts={"missing_here": 2_000})
    found.differences.append(Difference(Kind.MISSING_HERE, "<script>alert(1)</script>", 2, there='"&', broke="<i>"))
    page = reconcile_page(found)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "missing here: 2,000, the first 1 shown" in page
    assert "&lt;b&gt;.csv" in page
    assert "http" not in page.replace("http-equiv", "")


def test_numbers_on_disk_are_a_set() -> None:
    """What was put in is found, twice is once, and any text does."""
    odd = ["a", "'; DROP TABLE numbers", "№ 1", "a"]
    with NumbersOnDisk() as numbers:
        assert numbers.among(odd) == set()
        numbers.add(odd)
        numbers.add(odd)
        assert numbers.among([*odd, "b"]) == set(odd)
