"""Stages of an order: when each began, should end and ended, who owns it, and what of it is late."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from builders import NOW

from streams.core.books import OrderRecord, State, StepRecord, StepResult
from streams.core.stages import EXPECTED_H, NEXT, WAY, Stage, first_times, parcels, stages
from streams.core.standing import Status
from streams.core.vocabulary import BY_NAME, Part

ORDER = OrderRecord(
    order_id=UUID(int=1),
    channel="web",
    submission_id="s-1",
    buyer_id="b",
    channel_order_no=None,
    currency="CNY",
    total=1,
    promotion_id=None,
    pool="main",
    state=State.CONFIRMED,
    submitted_at=NOW,
    decided_at=NOW + timedelta(seconds=1),
    held_until=NOW + timedelta(minutes=30),
    changed_at=NOW + timedelta(hours=5),
    trace_id="t",
    quantities=(("TEA", 1),),
)
Said = tuple[str, float] | tuple[str, float, Part]


def at(hours: float) -> datetime:
    """So many hours after the submission."""
    return NOW + timedelta(hours=hours)


def of(*said: Said, order: OrderRecord = ORDER) -> tuple[Stage, ...]:
    """Stages of an order of which milestones were reported: name, hours after the submission, part."""
    steps = [_step(one[0], at(one[1]), one[2] if len(one) == 3 else ("", "")) for one in said]
    return stages(order, first_times(steps))


def _step(milestone: str, when: datetime, part: Part) -> StepRecord:
    code = BY_NAME[milestone].code
    return StepRecord(when, when, "x", "wms", "e", StepResult.TAKEN, None, code, part, None, None, None)


def told(found: Sequence[Stage]) -> list[tuple[str, str | None, float, float | None]]:
    """Name, parcel, and hours of begin and end."""

    def hours(one: datetime | None) -> float | None:
        return None if one is None else round((one - NOW).total_seconds() / 3600, 1)

    return [(s.name, s.shipment, hours(s.began_at) or 0.0, hours(s.ended_at)) for s in found]


def test_a_way_without_gaps() -> None:
    """Each stage begins where the one before ended; the last one goes on until what is expected of it."""
    found = of(("paid", 1), ("released", 2), ("picking", 3), ("packed", 4), ("shipped", 5))
    assert told(found) == [
        ("intake", None, 0, 0),
        ("payment", None, 0, 1),
        ("acceptance", None, 1, 2),
        ("queue", None, 2, 3),
        ("picking", None, 3, 4),
        ("handover", None, 4, 5),
        ("transit", None, 5, None),
    ]
    transit = found[-1]
    assert transit.due_at == at(5 + EXPECTED_H["transit"])
    assert transit.late_s(at(5)) == 0
    assert transit.late_s(transit.due_at + timedelta(hours=1)) == 3600
    assert transit.owner == "the carrier"
    assert found[1].due_at == ORDER.held_until
    assert found[1].late_s(NOW) == 1800  # paid half an hour after the hold had ended


def test_what_nobody_reports_gives_its_time_to_the_next() -> None:
    """A channel that says paid and shipped only: one stage between them, with the time of all four."""
    found = of(("paid", 1), ("shipped", 9))
    assert told(found)[2:] == [("handover", None, 1, 9), ("transit", None, 9, None)]
    share = sum(EXPECTED_H[name] for name in ("acceptance", "queue", "picking", "handover"))
    assert found[2].due_at == at(1 + share)
    assert told(of(("shipped", 9)))[1:] == [("handover", None, 0, 9), ("transit", None, 9, None)]


def test_parcels_go_apart_and_what_they_share_ends_with_the_last() -> None:
    """Two parcels: handover, transit and delivery of each; packed when both are; confirmed once for all."""
    one, two = ("P1", ""), ("P2", "")
    said: list[Said] = [
        ("paid", 1),
        ("packed", 2, one),
        ("packed", 4, two),
        ("shipped", 5, one),
        ("delivered", 50, one),
    ]
    found = told(of(*said))
    assert found[2:] == [
        ("picking", None, 1, 4),
        ("handover", "P1", 2, 5),
        ("delivery", "P1", 5, 50),
        ("handover", "P2", 4, None),
    ]
    found = told(of(*said, ("shipped", 6, two), ("delivered", 60, two), ("completed", 100)))
    assert found[-1] == ("confirmation", None, 60, 100)
    assert parcels(first_times([_step("packed", at(2), two), _step("packed", at(1), one)])) == ("P1", "P2")


def test_lines_of_a_parcel_count_together() -> None:
    """A parcel of which lines are reported is as far as all lines of it that are known."""
    lines: list[Said] = [("packed", 2, ("P1", "TEA")), ("packed", 3, ("P1", "CUP")), ("shipped", 4, ("P1", "TEA"))]
    assert told(of(("paid", 1), *lines))[-1] == ("handover", None, 3, None)
    assert told(of(("paid", 1), *lines, ("shipped", 6, ("P1", "CUP"))))[-2:] == [
        ("handover", None, 3, 6),
        ("transit", None, 6, None),
    ]


def test_an_order_that_ends_otherwise_breaks_off_what_was_under_way() -> None:
    """Expired: the payment is broken off and not late. Cancelled after payment: a refund is due, and has an owner."""
    expired = ORDER._replace(state=State.EXPIRED, changed_at=at(0.6))
    payment = of(order=expired)[-1]
    assert (payment.name, payment.broken_off, payment.ended_at) == ("payment", True, at(0.6))
    assert payment.late_s(at(9)) == 0
    due = ORDER._replace(state=State.REFUND_DUE, changed_at=at(3))
    found = of(("paid", 1), ("cancelled", 3), order=due)
    assert told(found)[2:] == [("acceptance", None, 1, 3), ("refund", None, 3, None)]
    assert (found[-1].owner, found[-1].due_at) == ("finance", at(3 + EXPECTED_H["refund"]))
    assert told(of(("paid", 1), ("cancelled", 3), ("refunded", 7), order=due))[-1] == ("refund", None, 3, 7)


def test_a_return_is_a_stage_until_it_is_closed() -> None:
    """Asked for after delivery: confirmation is broken off, after-sales owns the rest."""
    found = of(("paid", 1), ("delivered", 9), ("return_requested", 20))
    assert told(found)[-2:] == [("confirmation", None, 9, 20), ("return", None, 20, None)]
    assert found[-1].owner == "after-sales"
    assert told(of(("paid", 1), ("delivered", 9), ("return_requested", 20), ("return_closed", 70)))[-1][3] == 70


def test_clocks_that_disagree_make_no_stage_that_ends_before_it_begins() -> None:
    """A warehouse's clock that is behind: its stages have no length, the next one begins where time had come to."""
    found = of(("paid", 5), ("released", 3), ("packed", 6))
    assert [(s.name, s.ended_at) for s in found[2:4]] == [("acceptance", at(5)), ("picking", at(6))]
    assert all(s.ended_at is None or s.ended_at >= s.began_at for s in found)


def test_what_is_lost_ends_nothing() -> None:
    """Lost ranks beyond delivery's begin, but it is not on the way there."""
    assert told(of(("paid", 1), ("shipped", 2), ("lost", 30)))[-1] == ("transit", None, 2, None)
    assert told(of(("paid", 1), ("shipped", 2), ("delivery_failed", 30)))[-1] == ("delivery", None, 2, None)


def test_figures_can_be_replaced() -> None:
    """What is learned takes the place of the defaults; every stage has one, every status on its way has an owner."""
    found = stages(ORDER, {}, {**EXPECTED_H, "intake": 1.0})
    assert found[0].due_at == at(1)
    assert {rule.name for rule in WAY} < EXPECTED_H.keys()
    ended = {Status.RETURNED, Status.REFUNDED, Status.CANCELLED, Status.COMPLETED, Status.EXPIRED}
    assert NEXT.keys() == set(Status) - ended
