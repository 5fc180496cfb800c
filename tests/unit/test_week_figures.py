"""The week's own arithmetic: delays are measured from when all was there, differences between twins are found."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from loadtest.week import BEGIN, Heard
from loadtest.week_delay import delays
from loadtest.week_facts import stands, told
from loadtest.week_outcome import MOST_MANUAL_SHARE, WeekReport
from streams.audit import AuditReport
from streams.core.books import Position, State
from streams.core.vocabulary import BY_NAME

ORDER, OTHER = UUID(int=1), UUID(int=2)


def changed(order_id: UUID, minutes: int, shipment: str | None = None) -> bytes:
    """A change, as far as it is looked at."""
    at = (BEGIN + timedelta(minutes=minutes)).isoformat()
    return msgspec.json.encode({"order_id": str(order_id), "occurred_at": at, "shipment": shipment})


def test_a_delay_begins_when_all_was_sent_that_it_takes() -> None:
    """A scan that comes before anybody has told whose parcel it is waits for that, and its delay begins then."""
    scan = Heard(BEGIN + timedelta(minutes=2), "sf", b"", order=7, parcel="SF1")
    packed = Heard(BEGIN + timedelta(minutes=1), "wms", b"", order=7, parcel="SF1")
    paid = Heard(BEGIN, "tmall", b"", order=7)
    sent = [(scan, 1_000), (paid, 2_000), (paid, 9_000), (packed, 11_000)]
    changes = [(2_500, changed(ORDER, 0)), (12_000, changed(ORDER, 1, "SF1")), (14_000, changed(ORDER, 2, "SF1"))]
    assert delays([*changes, (99_000, changed(OTHER, 0))], sent, {ORDER: 7}) == {
        "changes": 3,
        "mean": pytest.approx(1.5),
        "p50": 1.0,
        "p99": 3.0,
        "max": 3.0,
    }
    assert delays([], sent, {ORDER: 7}) == {}


def test_twins_are_compared_without_their_names() -> None:
    """Parcels of two series are the same to the comparison; another milestone, state or message is not."""
    shipped, packed = BY_NAME["shipped"].code, BY_NAME["packed"].code
    one = Position(State.CONFIRMED, {("SF11x00000010", ""): frozenset({shipped})}, 3)
    twin = Position(State.CONFIRMED, {("SF12x00000010", ""): frozenset({shipped})}, 9)
    assert stands(one) == stands(twin)
    assert stands(one).axes == ("unpaid", "sold", "shipped", "shipped", "kept", "shipped")
    assert stands(one) != stands(twin._replace(reached={("SF12x00000010", ""): frozenset({shipped, packed})}))
    assert stands(one) != stands(twin._replace(state=State.REFUND_DUE))
    first = told(
        [f"{ORDER}:changed:shipped:SF11x00000010:", f"{ORDER}:picklist:pick", f"{OTHER}:changed:x"], {ORDER: 7}
    )
    again = told([f"{OTHER}:changed:shipped:SF12x00000010:"] * 2 + [f"{OTHER}:picklist:pick"], {OTHER: 7})
    assert (first.facts, first.picks) == (again.facts, again.picks)
    assert first.facts == {"7:changed:shipped:SF00000010:"}
    assert first.picks == {"7"}
    assert (first.repeated, again.repeated) == (0, 1)
    withdrawn = told([f"{ORDER}:picklist:pick", f"{ORDER}:picklist:withdraw"], {ORDER: 7})
    assert not withdrawn.picks


def test_a_week_passes_only_when_everything_holds() -> None:
    """Any difference, delay, manual touch or imbalance beyond its target is told as the reason."""
    good = {"mean": 1.0}
    report = WeekReport(orders=1_000, state_delay_s=good, books=AuditReport(balanced=True))
    assert report.passed
    spoils: tuple[dict[str, Any], ...] = (
        {"manual_orders": round(MOST_MANUAL_SHARE * 1_000)},
        {"state_delay_s": {"mean": 84.0}},
        {"state_delay_s": {}},
        {"unexpected": ["1 report is a dead letter"]},
        {"different": {"axes": 1}},
        {"books": AuditReport(balanced=False)},
    )
    for spoil in spoils:
        assert len(replace(report, **spoil).failures()) == 1, spoil
