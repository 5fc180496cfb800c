"""`floodway reconcile`: a channel's export beside the centre."""

import codecs
from datetime import datetime
from pathlib import Path
from typing import Literal

from infra.cli.context import out, people, print_json, print_table, settings
from infra.reconcile_page import WORDS, reconcile_page
from streams.core.normalise import Normaliser
from streams.errors import Refused
from streams.exports import Columns, rows_of
from streams.reconcile import Reconciled
from streams.reconcile import reconcile as compare
from streams.sources import normalisers

SHOWN = 20
MOST_SHOWN = 1_000_000


async def reconcile(
    channel: str,
    file: Path,
    *,
    source: str | None = None,
    number: str = "number",
    state: str | None = None,
    amount: str | None = None,
    time: str | None = None,
    amounts: Literal["minor", "major"] = "major",
    since: str | None = None,
    until: str | None = None,
    encoding: str = "utf-8-sig",
    limit: int = 1_000,
    html: Path | None = None,
    json: bool = False,
) -> int:
    """Compare a channel's export with the centre, row by row and order by order; exit 1 when anything differs.

    Tells what is missing on either side, states and amounts that differ, and where the way of each broke off: the last
    report that was accepted, and the first stage that is missing. States are read by the mapping of the channel's
    source. An order is found by the channel's number, or by its submission id where it has none. Reads the replica;
    files may be of any size.

    Parameters
    ----------
    channel
        As orders name it.
    file
        CSV with a header; NDJSON when it is named .ndjson, .jsonl or .json.
    source
        Whose mapping tells states and times; by default the one whose `numbers_of` is the channel.
    number
        The column with the channel's number of an order. In NDJSON columns may be paths, as `order.id`.
    state
        The column with the channel's code or label; without it states are not compared.
    amount
        The column with the order's total; without it totals are not compared.
    time
        The column that tells when an order was placed. Where the file has it and no window is given, orders of the
        centre that were submitted between the first and the last of these times must stand in the file.
    amounts
        `major` (yuan, euros) or `minor` (fen, cents).
    since
        Only orders submitted from then on, as 2026-11-11T00:00:00+08:00.
    until
        Only orders submitted before then.
    encoding
        Of the file; `gb18030` for what many Chinese consoles export.
    limit
        Differences of each kind that are told one by one; all are counted.
    html
        Write the report as one HTML file, too.
    json
        Print one JSON object.

    """
    from agents.bootstrap import connect_ledger  # noqa: PLC0415 - asyncpg takes a moment to import

    window = _time("--since", since), _time("--until", until)
    if not file.is_file():
        raise Refused(f"There is no file {file}.")
    if not 0 <= limit <= MOST_SHOWN:
        raise Refused(f"--limit {limit} must be from 0 to {MOST_SHOWN:,}.")
    _check_encoding(encoding)
    using = settings()
    normaliser = _normaliser(channel, source, using.sources_dir)
    columns = Columns(number, state, amount, time)
    compared = tuple(name for name, column in columns._asdict().items() if column is not None)
    found = Reconciled(channel, file.name, compared=compared, limit=limit)
    ledger = await connect_ledger(using)
    try:
        with people.status("comparing") as status:
            rows = rows_of(file, columns, normaliser, encoding=encoding, amounts=amounts)
            await compare(ledger, rows, normaliser.mapping, found, window, status.update)
    finally:
        await ledger.close()
    if html is not None:
        html.write_text(reconcile_page(found), encoding="utf-8")
    print_json(found.as_dict()) if json else _show(found)
    return 0 if found.is_same else 1


def _show(found: Reconciled) -> None:
    print_table(["difference", "count", ""], [(n, found.counts.get(kind, 0), why) for kind, (n, why) in WORDS.items()])
    rows = [
        (WORDS[one.kind][0], one.number, one.line or "", one.here, one.there, one.broke)
        for one in found.differences[:SHOWN]
    ]
    if rows:
        print_table(["difference", "number", "line", "here", "there", "where it broke off"], rows)
    told = f"{found.rows:,} rows and {found.orders:,} orders compared in {found.seconds:.1f} s"
    if found.is_same:
        out.print(f"{told}: no differences.", style="bold green")
    else:
        more = sum(found.counts.values()) - len(rows)
        rest = f"; {more:,} more with --json or --html" if more > 0 else ""
        out.print(f"{told}: {sum(found.counts.values()):,} differences{rest}.", style="bold red")


def _normaliser(channel: str, source: str | None, folder: str | None) -> Normaliser:
    known = normalisers(folder)
    if source is None:
        mine = [name for name, one in known.items() if one.mapping.numbers_of == channel]
        if len(mine) != 1:
            which = f"{', '.join(mine)} use" if mine else "no source uses"
            raise Refused(f"{which} the numbers of {channel!r}; name the mapping with --source NAME.")
        source = mine[0]
    if source not in known:
        raise Refused(f"There is no mapping {source!r}; known are {', '.join(sorted(known))}.")
    return known[source]


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"{option} {text!r} is no time; write it as 2026-11-11T00:00:00+08:00.") from None
    if at.tzinfo is None or not 2000 <= at.year < 2100:
        raise Refused(f"{option} {text!r} needs its offset, as +08:00, and a year from 2000 to 2099.")
    return at


def _check_encoding(name: str) -> None:
    try:
        if codecs.lookup(name)._is_text_encoding:
            return
    except (LookupError, ValueError):
        pass
    raise Refused(f"--encoding {name!r} is unknown; try utf-8-sig or gb18030.")
