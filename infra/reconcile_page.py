"""The differences between a channel and the centre as one HTML file: nothing is loaded, everything is escaped."""

from collections.abc import Sequence
from html import escape

from streams.core.differences import Kind
from streams.reconcile import Reconciled

WORDS = {
    Kind.MISSING_HERE: ("missing here", "the channel has it, the centre does not"),
    Kind.MISSING_THERE: ("missing there", "the centre has it, the export does not"),
    Kind.BEHIND_HERE: ("behind here", "the channel is further than the centre"),
    Kind.BEHIND_THERE: ("behind there", "the centre is further than the channel"),
    Kind.AMOUNT: ("amount", "totals differ, in minor units"),
    Kind.UNKNOWN_CODE: ("unknown code", "the source's mapping does not have this state"),
    Kind.REPEATED: ("repeated", "the file names it more than once; the first row counts"),
    Kind.BAD_ROW: ("bad row", "cannot be read and was not compared"),
}
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #c0392b; --good: #1e8449 }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: left; vertical-align: top }
th { position: sticky; top: 0; background: Canvas } td.n { text-align: right }
td { overflow-wrap: anywhere } .bad { color: var(--bad) } .good { color: var(--good) }
.scroll { overflow-x: auto } @media print { th { position: static } }
"""


def reconcile_page(found: Reconciled) -> str:
    """The page: what was compared, counts, and a table for each kind of difference."""
    title = f"{found.channel}: {'no differences' if found.is_same else 'differences'}"
    window = " to ".join(at.isoformat() if at else "…" for at in (found.since, found.until))
    facts = [
        ("file", found.file),
        ("orders submitted in", window),
        ("rows read", f"{found.rows:,}"),
        ("rows outside of the window", f"{found.outside:,}"),
        ("orders of the centre looked for", f"{found.orders:,}"),
        ("rows that are the same", f"{found.same:,}"),
        ("compared", ", ".join(found.compared)),
    ]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f'<h1 class="{"good" if found.is_same else "bad"}">{escape(title)}</h1>',
        _table((), [(name, value) for name, value in facts]),
    ]
    for kind, (name, meaning) in WORDS.items():
        count = found.counts.get(kind, 0)
        if not count:
            continue
        some = [one for one in found.differences if one.kind is kind]
        shown = f", the first {len(some):,} shown" if len(some) < count else ""
        parts.append(f"<h2>{escape(name)}: {count:,}{shown}</h2><p>{escape(meaning)}</p>")
        rows = [
            (
                one.number,
                "" if one.line is None else str(one.line),
                one.here,
                one.there,
                one.broke,
                str(one.order_id or ""),
            )
            for one in some
        ]
        parts.append(_table(("number", "line", "here", "there", "where it broke off", "order"), rows))
    return "\n".join([*parts, "</body></html>\n"])


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "<thead><tr>" + "".join(f'<th scope="col">{escape(c)}</th>' for c in columns) + "</tr></thead>"
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table>{head if columns else ""}<tbody>{body}</tbody></table></div>'
