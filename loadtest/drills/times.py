"""The record of what drills came to, and the page made from it: what held, and how long it took to recover."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from loadtest.drills.report import DrillReport
from loadtest.drills.table import DRILLS
from streams.errors import Refused

RECORD, PAGE = "drill-times.json", "drill-times.md"
KEPT = (
    "drill",
    "broker",
    "seed",
    "passed",
    "balanced",
    "missing",
    "oversold",
    "announced_again",
    "lasted_s",
    "first_decision_s",
    "recovered_s",
    "longest_gap_s",
    "worst_latency_s",
    "worker_restarts",
)
"""What is kept of a report."""
_TIMES = ("lasted_s", "first_decision_s", "recovered_s", "longest_gap_s", "worst_latency_s")

_HEAD = f"""# How long it takes to recover

Made by `floodway drill --all --rounds 3 --broker BROKER --record docs` from [{RECORD}]({RECORD}), everything on one
machine of two cores. Seconds, median and worst of the rounds. *Fault*: from putting it in to having healed it.
*First*: from healing to the first decision. *Recovered*: from healing until no more orders wait than before the fault.
*Gap*: the longest time without a decision. *Worst*: latency of the slowest order. *Again*: answers that came once more,
with the same content, because somebody died between announcing and committing. What each drill does:
[drills.md](drills.md).
"""

Row = Mapping[str, Any]


def record(reports: Sequence[DrillReport], directory: Path) -> None:
    """Enter reports in the record in `directory`, in place of those of the same drill, broker and seed; make the page.

    Raises `Refused` when there is no such directory, or its record cannot be read.
    """
    if not directory.is_dir():
        raise Refused(f"--record {directory}: there is no such directory.")
    path = directory / RECORD
    rows = {_key(row): row for row in read(path)} if path.exists() else {}
    for report in reports:
        row = {name: value for name, value in report.as_dict().items() if name in KEPT}
        rows[_key(row)] = row
    ordered = [rows[key] for key in sorted(rows)]
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in ordered) + "\n]\n")
    (directory / PAGE).write_text(page(ordered))


def read(path: Path) -> list[Row]:
    """The rows of a record. Raises `Refused` when the file holds something else."""
    try:
        rows = json.loads(path.read_text())
    except ValueError:
        rows = None
    if not isinstance(rows, list) or any(not isinstance(row, dict) or row.keys() != set(KEPT) for row in rows):
        raise Refused(f"{path} is no record of drills; remove it, or give another directory to --record.")
    return rows


def page(rows: Sequence[Row]) -> str:
    """The page as Markdown: for each broker what held in all rounds, then a table of times."""
    parts = [_HEAD]
    for broker in sorted({row["broker"] for row in rows}):
        mine = [row for row in rows if row["broker"] == broker]
        by_drill: dict[str, list[Row]] = {}
        for row in mine:
            by_drill.setdefault(row["drill"], []).append(row)
        parts += [
            f"## On {broker}\n",
            _summary(mine) + "\n",
            "| drill | passed | fault | first | recovered | gap | worst | again | restarts |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_line(drill, rounds) for drill, rounds in by_drill.items()),
            "",
        ]
    left_out = [f"`{name}`" for name in DRILLS if name not in {row["drill"] for row in rows}]
    if left_out:
        parts.append(f"Not recorded on either: {', '.join(left_out)}.\n")
    return "\n".join(parts)


def _summary(rows: Sequence[Row]) -> str:
    total, passed, balanced = len(rows), sum(row["passed"] for row in rows), sum(row["balanced"] for row in rows)
    missing, oversold = (sum(row[name] for row in rows) for name in ("missing", "oversold"))
    return (
        f"{total} rounds of {len({row['drill'] for row in rows})} drills: {passed} passed, the books of {balanced} "
        f"balance, {missing} answers missing, {oversold} units oversold."
    )


def _line(drill: str, rounds: Sequence[Row]) -> str:
    times = [_spread(row[name] for row in rounds) for name in _TIMES]
    again, restarts = (max(row[name] for row in rounds) for name in ("announced_again", "worker_restarts"))
    passed = f"{sum(row['passed'] for row in rounds)} of {len(rounds)}"
    return f"| `{drill}` | {passed} | {' | '.join(times)} | {again} | {restarts} |"


def _spread(values: Iterable[float | None]) -> str:
    """Median and worst; a dash where no round has a value."""
    found = [value for value in values if value is not None]
    if not found:
        return "-"
    middle, worst = median(found), max(found)
    return f"{middle:.1f}" if f"{middle:.1f}" == f"{worst:.1f}" else f"{middle:.1f} / {worst:.1f}"


def _key(row: Row) -> tuple[str, str, int]:
    return (row["drill"], row["broker"], row["seed"])
