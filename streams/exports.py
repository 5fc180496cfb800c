"""Rows of a channel's export, read one after the other: CSV or NDJSON, of any size, in bounded memory.

A row that cannot be read is told with its line and field, and the next one is read.
"""

import csv
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from streams.core.decode import Undecodable
from streams.core.differences import Row
from streams.core.normalise import MAX_AMOUNT, MAX_ID, Normaliser
from streams.core.sources import AMOUNTS
from streams.errors import Refused

MAX_LINE = 65_536
"""Characters. A file without line ends would else be one line."""
_DIGITS = 40

csv.field_size_limit(MAX_LINE)


class Columns(NamedTuple):
    """What the columns are called; in NDJSON paths such as `order.id`. None is not compared."""

    number: str
    state: str | None
    amount: str | None
    time: str | None


class BadRow(NamedTuple):
    """A row that cannot be read, and why."""

    line: int
    field: str
    what: str


def rows_of(
    file: Path, columns: Columns, normaliser: Normaliser, *, encoding: str, amounts: str
) -> Iterator[Row | BadRow]:
    """The rows of a file in order. `amounts` is the unit of money, a key of AMOUNTS.

    Raises `Refused` for a file whose header has not the columns asked for, or that is not in this encoding at all.
    """
    unit = AMOUNTS[amounts]
    with file.open(encoding=encoding, errors="surrogateescape", newline="") as text:
        table = _ndjson(text) if file.suffix in {".ndjson", ".jsonl", ".json"} else _csv(text, columns)
        for line, found in table:
            yield found if isinstance(found, BadRow) else _row(line, found, columns, normaliser, unit)


def _csv(text: IO[str], columns: Columns) -> Iterator[tuple[int, Mapping[str, str] | BadRow]]:
    reader = csv.reader(_lines(text), strict=True)
    try:
        header = [name.strip().removeprefix("\ufeff") for name in next(reader, [])]
    except csv.Error as error:
        raise Refused(f"The first line is no header of a CSV file: {error}; name the columns there.") from error
    missing = [name for name in columns if name is not None and name not in header]
    if missing:
        shown = ", ".join(header)[:300]
        raise Refused(f"There is no column {missing[0]!r}; the file has {shown}. Name yours, as --number COLUMN.")
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, BadRow(reader.line_num, "$", f"no CSV: {error}")
            continue
        if not values:
            continue
        if len(values) != len(header):
            what = f"{len(values)} values, the header has {len(header)}"
            yield reader.line_num, BadRow(reader.line_num, "$", what)
            continue
        yield reader.line_num, dict(zip(header, values, strict=True))


def _ndjson(text: IO[str]) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    decode = msgspec.json.Decoder().decode
    for number, line in enumerate(_lines(text), 1):
        if not line.strip():
            continue
        try:
            found = decode(line.encode("utf-8", "surrogateescape"))
        except (msgspec.DecodeError, RecursionError) as error:
            yield number, BadRow(number, "$", f"no JSON: {error}")
            continue
        yield number, found if isinstance(found, dict) else BadRow(number, "$", "no JSON object")


def _lines(text: IO[str]) -> Iterator[str]:
    """Lines, each cut at MAX_LINE: what is longer fits no row, and whoever reads it will say so."""
    while line := text.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            while (rest := text.readline(MAX_LINE)) and not rest.endswith("\n"):
                pass
            line = line[:MAX_LINE] + "\n"
        yield line


def _row(line: int, found: Mapping[str, Any], columns: Columns, normaliser: Normaliser, unit: int) -> Row | BadRow:
    values: dict[str, str | None] = {}
    for name, column in zip(columns._fields, columns, strict=True):
        text = None if column is None else _text(found, column)
        if text is not None and not text.isprintable():
            return BadRow(line, column or name, "characters that no such value has; is it in another --encoding?")
        values[name] = text
    number = values["number"]
    if not number or len(number) > MAX_ID:
        return BadRow(line, columns.number, "no number" if not number else "too long for a number")
    amount = _amount(values["amount"], unit)
    if isinstance(amount, str):
        return BadRow(line, columns.amount or "amount", amount)
    at: datetime | None = None
    if values["time"]:
        instant = normaliser.instant(values["time"])
        if isinstance(instant, Undecodable):
            return BadRow(line, columns.time or "time", instant.detail)
        at = instant[0]
    return Row(line, number, values["state"] or None, amount, at)


def _text(found: Mapping[str, Any], column: str) -> str | None:
    node: Any = found.get(column)
    if node is None and "." in column:
        node = found
        for step in column.split("."):
            node = node.get(step) if isinstance(node, dict) else None
    if isinstance(node, str):
        return node.strip().strip("\t")
    return str(node) if isinstance(node, int | float) and not isinstance(node, bool) else None


def _amount(text: str | None, unit: int) -> int | str | None:
    """Minor units, or what is wrong."""
    if not text:
        return None
    try:
        amount = Decimal(text.replace(",", "").lstrip("¥￥")) * unit if len(text) < _DIGITS else Decimal("nan")
        if 0 <= amount < MAX_AMOUNT and amount == amount.to_integral_value():
            return int(amount)
    except InvalidOperation:
        pass
    return f"{text[:_DIGITS]!r} is no amount"
