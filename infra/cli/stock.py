"""`floodway stock`: goods in, and what is on the shelves."""

import asyncio
import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

import orjson

from infra.cli.context import connected, out, parse_duration, people, print_json, print_table
from streams.core.stock import Pool
from streams.errors import Fenced, Refused, Unavailable, UnknownThing
from streams.parts import Parts
from streams.rebuild import rebuild_stock
from streams.receiving import receive
from streams.stocktake import take_stock

SHOWN = 50
"""Differences printed for people; `--json` has all."""


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


async def rebuild(*, reason: str = "asked for", take_over: bool = False, json: bool = False) -> None:
    """Empty Redis and refill it from the ledger under a new epoch. Orders wait in Kafka meanwhile.

    Workers do this by themselves when Redis was restarted or has lost its data, unless FLOODWAY_STOCK_AUTO_REBUILD is
    false. What was decided and is not in the ledger yet is decided again.

    Parameters
    ----------
    reason
        Kept in the ledger beside the epoch.
    take_over
        Also empty a stock that is another installation's, or newer than this ledger.
    json
        Print one JSON object.

    """
    async with connected() as parts:
        retention_s = parts.settings.dedupe_retention_s
        with people.status("rebuilding"):
            done = await rebuild_stock(
                parts.ledger, parts.stock, parts.clock, retention_s=retention_s, reason=reason, take_over=take_over
            )
    if json:
        print_json({"epoch": done.epoch, "reason": done.reason, "seconds": done.seconds, **done.counts})
        return
    print_table(["refilled", "count"], list(done.counts.items()))
    out.print(f"Rebuilt under epoch {done.epoch} in {done.seconds:.2f} s.")


async def check(*, interval: str | None = None, json: bool = False) -> int:
    """Compare Redis with the ledger, pool by pool and hold by hold, while orders flow; exit 1 when they differ.

    What is merely in flight is told from what differs by looking again; nothing is repaired.

    Parameters
    ----------
    interval
        Look again after so long (30s, 5m), until interrupted; once by default.
    json
        Print one JSON object for each stocktake.

    """
    try:
        pause_s = None if interval is None else parse_duration(interval).total_seconds()
    except ValueError as error:
        raise Refused(f"--interval: {error}.") from None
    differed = False
    async with connected() as parts:
        while True:
            differed |= await _check_once(parts, json=json, again=pause_s is not None)
            if pause_s is None:
                return int(differed)
            await asyncio.sleep(pause_s)


async def _check_once(parts: Parts, *, json: bool, again: bool) -> bool:
    """Whether there were differences. A stock that is lost or rebuilt meanwhile is looked at the next time."""
    try:
        with people.status("looking"):
            found = await take_stock(parts)
    except (Fenced, Unavailable) as error:
        if not again:
            raise
        people.print(str(error))
        return False
    if json:
        print_json(found.as_dict())
        return bool(found.differences)
    for one in found.differences[:SHOWN]:
        units = f": Redis has (free, held, sold) {one.stock}, the ledger {one.ledger}" if one.stock else ""
        out.print(f"{one.kind} {one.what}{units}")
    verdict = f"{len(found.differences):,} differences" if found.differences else "No difference"
    out.print(
        f"{verdict} in {found.pools:,} pools and {found.holds:,} holds under epoch {found.epoch}; "
        f"{found.moving:,} pools moved too much to be judged. {found.seconds:.1f} s."
    )
    return bool(found.differences)


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
    raise TypeError(f"a {type(value).__name__} is no text")


def _whole(value: object) -> int:
    """A number as it was meant: 1.5 is not 1."""
    if isinstance(value, str) or type(value) is int:
        return int(value)
    raise TypeError(f"a {type(value).__name__} is no whole number")
