"""What a channel's export says of an order beside what the centre knows: the same, behind, ahead, another amount. Pure.

A channel knows fewer milestones than we do, so we are compared by those that its mapping can express: an order that is
packed here and paid there is no difference where the channel has no word for packed.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from streams.core.books import Position
from streams.core.sources import SourceMapping
from streams.core.standing import standing
from streams.core.vocabulary import EVENTS, MILESTONES, Axis, Milestone
from streams.messages import Reason

Place = tuple[int, int]
"""Where a milestone stands among all: by its axis, then its rank."""

_AXES = (Axis.PAYMENT, Axis.FULFILMENT, Axis.STOCK, Axis.RETURN)
_BACK = 90
"""Rank of a full refund: it comes after everything else, though it stands on the axis of payment."""


class Kind(StrEnum):
    """In what an export and the centre differ."""

    MISSING_HERE = "missing_here"
    MISSING_THERE = "missing_there"
    BEHIND_HERE = "behind_here"
    BEHIND_THERE = "behind_there"
    AMOUNT = "amount"
    UNKNOWN_CODE = "unknown_code"
    REPEATED = "repeated"
    BAD_ROW = "bad_row"


class Row(NamedTuple):
    """One row of an export. What the export does not tell is None; `amount` is in minor units."""

    line: int
    number: str
    code: str | None = None
    amount: int | None = None
    at: datetime | None = None


class Stood(NamedTuple):
    """An accepted order by the number that its channel knows it by, and where it stands."""

    number: str
    order_id: UUID
    total: int
    submitted_at: datetime
    position: Position


class LastStep(NamedTuple):
    """The last report that an order took."""

    at: datetime
    kind: str
    source: str


class Trace(NamedTuple):
    """What is known of a number that no accepted order has."""

    rejected: Reason | None = None
    waiting: int = 0
    since: datetime | None = None


class Difference(NamedTuple):
    """One difference; `here` and `there` in words, `broke` where the way of the order broke off."""

    kind: Kind
    number: str
    line: int | None = None
    order_id: UUID | None = None
    here: str = ""
    there: str = ""
    broke: str = ""


class Words:
    """The milestones that a channel can express. Make one for each export."""

    def __init__(self, mapping: SourceMapping) -> None:
        self._codes = mapping.codes
        named = {EVENTS[event] for event in mapping.codes.values()}
        self._known = sorted((m for m in named if m is not None), key=_place)
        self._judge = lru_cache(maxsize=16_384)(self._judged)

    def compare(self, row: Row, stood: Stood) -> Kind | None:
        """In what the state that a row tells differs; None when it does not, or tells none."""
        if row.code is None:
            return None
        event = self._codes.get(row.code)
        if event is None:
            return Kind.UNKNOWN_CODE
        claim = EVENTS[event]
        return None if claim is None else self._judge(claim, *_reached(stood.position))

    def first_missing(self, row: Row, stood: Stood) -> Milestone | None:
        """The first milestone that one side has and the other has not; None when there is none."""
        event = self._codes.get(row.code or "")
        claim = EVENTS[event] if event is not None else None
        if claim is None:
            return None
        codes, least, furthest = _reached(stood.position)
        if not _has(claim, codes, furthest):
            way = [m for m in MILESTONES if m.axis is claim.axis and m.on_way and 0 < m.rank <= claim.rank]
            return next((m for m in way if not _has(m, codes, furthest)), claim)
        return next((m for m in self._known if _place(m) > _place(claim) and _has(m, codes, least)), None)

    def _judged(self, claim: Milestone, codes: frozenset[int], least: int, furthest: int) -> Kind | None:
        if not _has(claim, codes, furthest):
            return Kind.BEHIND_HERE
        place = _place(claim)
        beyond = any(_place(m) > place and _has(m, codes, least) for m in self._known)
        return Kind.BEHIND_THERE if beyond else None


def standing_of(stood: Stood) -> str:
    """Where an order stands, in one word."""
    return standing(stood.position.state, stood.position.reached).status.value


def broke_off(last: LastStep | None, missing: Milestone | None, *, there: bool = False) -> str:
    """The break point in words: what was heard last, and what is missing first."""
    heard = (
        f"last accepted: {last.kind} from {last.source} at {last.at.isoformat()}" if last else "nothing was reported"
    )
    if missing is None:
        return heard
    return f"{heard}; first missing {'there' if there else 'here'}: {missing.name}"


def never_came(trace: Trace | None) -> str:
    """The break point of a number that no accepted order has."""
    if trace is None:
        return "nothing was ever submitted or reported under this number"
    if trace.rejected is not None:
        return f"its submission was rejected: {trace.rejected.value}"
    since = trace.since.isoformat() if trace.since else "?"
    return f"never submitted; {trace.waiting} reports of it wait in quarantine since {since}"


def _place(milestone: Milestone) -> Place:
    late = milestone.axis is Axis.PAYMENT and milestone.rank >= _BACK
    return (len(_AXES) if late else _AXES.index(milestone.axis), milestone.rank)


def _has(milestone: Milestone, codes: Iterable[int], fulfilled: int) -> bool:
    """Whether it was reached, reported or passed by; on the axis of fulfilment by rank."""
    if milestone.code in codes:
        return True
    if milestone.axis is Axis.FULFILMENT:
        return milestone.on_way and fulfilled >= milestone.rank
    return milestone.on_way and any(
        m.code in codes and m.axis is milestone.axis and m.rank >= milestone.rank for m in MILESTONES
    )


def _reached(position: Position) -> tuple[frozenset[int], int, int]:
    """All milestones of any part but those of fulfilment, and the ranks that all parts and the furthest have."""
    found = standing(position.state, position.reached)
    reached: Mapping[tuple[str, str], frozenset[int]] = position.reached
    return frozenset().union(*reached.values()), found.fulfilment.rank, found.furthest.rank
