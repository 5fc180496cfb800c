"""A channel's export beside the centre: what is missing on either side, what stands otherwise, and where it broke off.

Two passes, both in bounded memory: the rows of the file, looked up in the ledger a few thousand at a time; then the
orders of the ledger in the window, looked up among the numbers that the file has named, which are kept on disk. The
ledger is read from the replica.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import monotonic
from typing import Any
from uuid import UUID

import msgspec

from streams.core.differences import Difference, Kind, Row, Stood, Words, broke_off, never_came, standing_of
from streams.core.sources import SourceMapping
from streams.exports import BadRow
from streams.instants import to_ms
from streams.stores.ledger import Ledger
from streams.stores.numbers_disk import NumbersOnDisk

SLICE = 2_000
Window = tuple[datetime | None, datetime | None]
"""From when (included) until when (not included) orders were submitted; None is no bound."""

Progress = Callable[[str], object]


class Reconciled(msgspec.Struct):
    """What was compared and found. Of each kind `differences` has the first `limit`; `counts` has all."""

    channel: str
    file: str
    since: datetime | None = None
    until: datetime | None = None
    rows: int = 0
    outside: int = 0
    orders: int = 0
    same: int = 0
    compared: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    differences: list[Difference] = []
    seconds: float = 0.0
    limit: int = 1_000

    @property
    def is_same(self) -> bool:
        """Whether nothing differs and every row could be read."""
        return not self.counts

    def note(self, one: Difference) -> None:
        """Count a difference, and keep it unless there are many of its kind."""
        count = self.counts[one.kind] = self.counts.get(one.kind, 0) + 1
        if count <= self.limit:
            self.differences.append(one)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        plain["differences"] = [
            {name: value for name, value in msgspec.to_builtins(one._asdict()).items() if value not in (None, "")}
            for one in self.differences
        ]
        plain["rows_the_same"] = plain.pop("same")
        return {"same": self.is_same, **plain}


async def reconcile(
    ledger: Ledger,
    rows: Iterator[Row | BadRow],
    mapping: SourceMapping,
    found: Reconciled,
    window: Window,
    progress: Progress,
) -> None:
    """Compare all rows with the centre, and the centre with them; `found` is filled in.

    Without a window it is that of the times in the file, where it has them. Raises `LedgerUnavailable`.
    """
    began, words, seen_times = monotonic(), Words(mapping), _Times()
    with NumbersOnDisk() as numbers:
        while some := list(islice(rows, SLICE)):
            good = _good(some, found, window, seen_times, numbers)
            await _compare(ledger, good, words, found)
            found.rows += len(some)
            progress(f"{found.rows:,} rows compared")
        found.since, found.until = window if any(window) else seen_times.window()
        await _look_for_missing_there(ledger, numbers, found, progress)
    found.seconds = round(monotonic() - began, 2)


class _Times:
    """The earliest and the latest time of a file."""

    def __init__(self) -> None:
        self._first: datetime | None = None
        self._last: datetime | None = None

    def see(self, at: datetime) -> None:
        self._first = at if self._first is None or at < self._first else self._first
        self._last = at if self._last is None or at > self._last else self._last

    def window(self) -> Window:
        """Sources that tell seconds tell the one in which something happened."""
        return self._first, None if self._last is None else self._last + timedelta(seconds=1)


def _good(
    some: Sequence[Row | BadRow], found: Reconciled, window: Window, times: _Times, numbers: NumbersOnDisk
) -> list[Row]:
    """The rows to compare; those that cannot be read, come twice or lie outside of the window are noted."""
    since, until = window
    known = numbers.among([one.number for one in some if isinstance(one, Row)])
    good: list[Row] = []
    for one in some:
        if isinstance(one, BadRow):
            found.note(Difference(Kind.BAD_ROW, "", one.line, there=one.field, broke=one.what))
            continue
        if one.number in known:
            found.note(Difference(Kind.REPEATED, one.number, one.line, broke="the file names it more than once"))
            continue
        known.add(one.number)
        if one.at is not None:
            if (since is not None and one.at < since) or (until is not None and one.at >= until):
                found.outside += 1
                continue
            times.see(one.at)
        good.append(one)
    numbers.add(list(known))
    return good


async def _compare(ledger: Ledger, rows: Sequence[Row], words: Words, found: Reconciled) -> None:
    stood = await ledger.standings(found.channel, [row.number for row in rows])
    missing = [row for row in rows if row.number not in stood]
    traces = await ledger.traces(found.channel, [row.number for row in missing])
    for row in missing:
        broke = never_came(traces.get(row.number))
        found.note(Difference(Kind.MISSING_HERE, row.number, row.line, there=row.code or "", broke=broke))
    differing: list[tuple[Kind, Row, Stood]] = []
    for row in rows:
        mine = stood.get(row.number)
        if mine is None:
            continue
        kinds = [kind] if (kind := words.compare(row, mine)) else []
        if row.amount is not None and row.amount != mine.total:
            kinds.append(Kind.AMOUNT)
        differing += [(kind, row, mine) for kind in kinds]
        found.same += not kinds
    last = await ledger.last_steps([mine.order_id for _, _, mine in differing])
    for kind, row, mine in differing:
        here, there = standing_of(mine), row.code or ""
        missing_first = None
        if kind is Kind.AMOUNT:
            here, there = str(mine.total), str(row.amount)
        elif kind is not Kind.UNKNOWN_CODE:
            missing_first = words.first_missing(row, mine)
        broke = broke_off(last.get(mine.order_id), missing_first, there=kind is Kind.BEHIND_THERE)
        found.note(Difference(kind, row.number, row.line, mine.order_id, here, there, broke))


async def _look_for_missing_there(
    ledger: Ledger, numbers: NumbersOnDisk, found: Reconciled, progress: Progress
) -> None:
    after, before = _first_id(found.since), _first_id(found.until)
    while page := await ledger.orders_between(found.channel, after, before, SLICE):
        after = page[-1][0]
        found.orders += len(page)
        named = numbers.among([number for _, number in page])
        missing = {order_id: number for order_id, number in page if number not in named}
        if missing:
            last = await ledger.last_steps(list(missing))
            stood = await ledger.standings(found.channel, list(missing.values()))
            for order_id, number in missing.items():
                here = standing_of(stood[number]) if number in stood else "accepted"
                broke = broke_off(last.get(order_id), None)
                found.note(Difference(Kind.MISSING_THERE, number, None, order_id, here, broke=broke))
        progress(f"{found.orders:,} orders looked for in the file")


def _first_id(at: datetime | None) -> UUID | None:
    """Orders' ids rise with the time of their submission: the least that one of this time may have."""
    return None if at is None else UUID(int=to_ms(at.astimezone(UTC)) << 80)


def counted(found: Reconciled) -> Counter[str]:
    """How often each kind was found; all kinds."""
    return Counter({kind.value: found.counts.get(kind, 0) for kind in Kind})
