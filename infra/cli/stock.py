"""`floodway stock`: goods in, and what is on the shelves."""

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

import orjson

from infra.cli.context import connected, out, print_json, print_table
from streams.core.stock import Pool
from streams.errors import Refused, UnknownThing
from streams.receiving import receive


async def load(file: Path, *, ref: str | None = None, json: bool = False) -> None:
    """Add units to the main pool: CSV with a header `sku,qty`, or NDJSON with the same names.

    Loading is idempotent: the same reference is added once, however often it is tried.

    Parameters
    ----------
    file
        What came in.
    ref
        Reference of the delivery; by default a digest of the file, so that a second delivery of the very same
        content needs a reference of its own.
    json
        Print one JSON object.

    """
    if not file.is_file():
        raise Refused(f"There is no file {file}.")
    reference = ref or f"file:{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
    items = list(_items(file))
    if not items:
        raise Refused(f"{file} has no rows; each needs a `sku` and a whole `qty`.")
    async with connected() as parts:
        skus, units = await receive(parts, reference, items)
    if json:
        print_json({"ref": reference, "skus": skus, "units": units, "repeated": skus == 0})
    elif skus == 0:
        out.print(f"Delivery {reference} was loaded before; nothing was added. Give --ref for a new delivery.")
    else:
        out.print(f"Delivery {reference}: {units:,} units of {skus:,} SKUs added to main.")


async def show(*skus: str, json: bool = False, limit: int = 50) -> None:
    """Show units free, held and sold, by SKU and pool.

    Parameters
    ----------
    skus
        Only these; all when none is named.
    json
        Print one JSON object a line, all of them.
    limit
        Rows of the table at the most.

    """
    rows: list[Pool] = []
    more = 0
    async with connected() as parts:
        async for pool in parts.stock.pools(list(skus) or None):
            if json:
                print_json(pool._asdict())
            elif len(rows) < limit:
                rows.append(pool)
            else:
                more += 1
    if skus and not (json or rows):
        raise UnknownThing(f"None of {', '.join(skus)} was ever received; `floodway stock show` lists what was.")
    if not json:
        print_table(["SKU", "pool", "free", "held", "sold"], sorted(rows))
        if more:
            out.print(f"and {more:,} more; name SKUs, or raise --limit")


def _items(file: Path) -> Iterator[tuple[str, int]]:
    number = 0
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines) if file.suffix == ".csv" else map(orjson.loads, filter(str.strip, lines))
        while True:
            number += 1
            try:
                row = next(rows, None)
                if row is None:
                    return
                item = _text(row["sku"]), _whole(row["qty"])
            except UnicodeDecodeError:
                raise Refused(f"{file} is no text in UTF-8; save it as CSV or NDJSON in UTF-8.") from None
            except KeyError as error:
                raise Refused(f"{file}, row {number} has no {error.args[0]!r}; each needs `sku` and `qty`.") from None
            except (TypeError, ValueError, csv.Error) as error:
                raise Refused(f"{file}, row {number}: {error}; each needs a `sku` and a whole `qty`.") from None
            yield item


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"{value!r} is no text")


def _whole(value: object) -> int:
    """A number as it was meant: 1.5 is not 1."""
    if isinstance(value, str) or type(value) is int:
        return int(value)
    raise TypeError(f"{value!r} is no whole number")
