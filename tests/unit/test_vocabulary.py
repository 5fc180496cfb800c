"""The words for where an order is: what is reached only grows, whatever the order in which it is told."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from infra.cli.report import What
from streams.core.books import State
from streams.core.standing import RULES, Reached, Status, standing
from streams.core.vocabulary import (
    BY_CODE,
    BY_NAME,
    EVENTS,
    MILESTONES,
    WHOLE,
    Axis,
    next_on,
    overtaken,
    stands,
)
from streams.messages import ReportType
from streams.stores.ledger_codes import STATES

CODES = st.sampled_from(sorted(BY_CODE))


def codes(*names: str) -> frozenset[int]:
    """Codes of milestones."""
    return frozenset(BY_NAME[name].code for name in names)


def parts(**by_shipment: str) -> Reached:
    """Parts with what was reported of each; `whole` is the whole order."""
    return {
        WHOLE if name == "whole" else (name, ""): codes(*([milestone] if milestone else []))
        for name, milestone in by_shipment.items()
    }


@given(st.frozensets(CODES), CODES)
def test_no_axis_runs_backwards(before: frozenset[int], code: int) -> None:
    """Whatever is reported, no axis stands lower than before, and a final milestone stays where it is."""
    milestone = BY_CODE[code]
    for axis in Axis:
        was, now = stands(axis, before), stands(axis, before | {code})
        assert now.rank >= was.rank
        assert not was.final or now is was
        if axis is milestone.axis:
            assert now is (was if overtaken(milestone, before) else milestone)


def test_a_final_milestone_is_the_last_of_its_axis() -> None:
    """Nothing has a higher rank, and no step of the table leads out of it."""
    for axis in Axis:
        mine = [m for m in MILESTONES if m.axis is axis]
        assert len({m.rank for m in mine}) == len(mine)
        assert max(mine, key=lambda m: m.rank).final
        assert [m.final for m in mine].count(True) == 1
        assert all(a.rank < b.rank and not a.final for a, b in next_on(axis))


def test_events_of_one_kind_lead_to_milestones_of_their_axis() -> None:
    """The first word of an event is its axis; a remark moves nothing."""
    axis_of = {"payment": Axis.PAYMENT, "refund": Axis.PAYMENT, "parcel": Axis.FULFILMENT, "return": Axis.RETURN}
    for event, milestone in EVENTS.items():
        wanted = axis_of.get(event.value.split(".")[0])
        if wanted is not None:
            assert milestone is not None
            assert milestone.axis is wanted
    assert EVENTS[ReportType.ORDER_REMARKED] is None


def test_what_lies_beside_the_way_leads_back_to_it() -> None:
    """A lost parcel that turns up is delivered; a failed payment may succeed; neither hides what comes after it."""
    assert stands(Axis.FULFILMENT, codes("lost", "delivered")).name == "delivered"
    assert stands(Axis.PAYMENT, codes("payment_failed", "paid")).name == "paid"
    assert overtaken(BY_NAME["lost"], codes("delivered"))
    assert not overtaken(BY_NAME["lost"], codes("shipped"))


def test_the_shown_status_follows_from_the_axes() -> None:
    """A table of cases, from waiting for money to a closed return."""
    cases: list[tuple[State, Reached, Status]] = [
        (State.HELD, {}, Status.AWAITING_PAYMENT),
        (State.HELD, parts(whole="payment_pending"), Status.PAYMENT_PENDING),
        (State.HELD, parts(whole="payment_failed"), Status.AWAITING_PAYMENT),
        (State.EXPIRED, {}, Status.EXPIRED),
        (State.CONFIRMED, parts(whole="paid"), Status.PAID),
        (State.CONFIRMED, parts(whole="picking"), Status.PROCESSING),
        (State.CONFIRMED, parts(a="shipped", b="packed"), Status.PARTLY_SHIPPED),
        (State.CONFIRMED, parts(a="shipped", b="shipped"), Status.SHIPPED),
        (State.CONFIRMED, parts(a="delivered", b="in_transit"), Status.PARTLY_DELIVERED),
        (State.CONFIRMED, parts(a="delivered", b="lost"), Status.PARTLY_DELIVERED),
        (State.CONFIRMED, parts(a="lost"), Status.DELIVERY_PROBLEM),
        (State.CONFIRMED, parts(whole="shipped", a="delivered"), Status.DELIVERED),
        (State.CONFIRMED, parts(whole="completed", a="shipped"), Status.COMPLETED),
        (State.CANCELLED, parts(whole="cancelled"), Status.CANCELLED),
        (State.REFUND_DUE, parts(whole="paid", a="shipped"), Status.REFUND_DUE),
        (State.REFUND_DUE, parts(whole="refunded"), Status.REFUNDED),
        (State.CONFIRMED, parts(whole="return_approved", a="delivered"), Status.RETURNING),
        (State.CONFIRMED, parts(whole="return_rejected", a="delivered"), Status.DELIVERED),
        (State.REFUND_DUE, parts(whole="return_closed"), Status.RETURNED),
    ]
    for state, got, status in cases:
        assert standing(state, got).status is status, (state, got)
    assert {status for _, _, status in cases} | {Status.OUT_FOR_DELIVERY} == set(Status) == {r.status for r in RULES}


def test_lines_of_a_shipment_count_apart() -> None:
    """One of two lines in a parcel is delivered: partly; what is said of the parcel holds for its lines."""
    got: Reached = {("P1", "TEA"): codes("delivered"), ("P1", "CUP"): codes("picking"), ("P1", ""): codes("shipped")}
    found = standing(State.CONFIRMED, got)
    assert (found.fulfilment.name, found.furthest.name, found.status) == (
        "shipped",
        "delivered",
        Status.PARTLY_DELIVERED,
    )


def test_every_state_of_the_ledger_has_a_standing() -> None:
    """No state that the ledger may hold is without a status, with nothing and with everything reached."""
    everything = {WHOLE: frozenset(BY_CODE)}
    for state in STATES:
        assert standing(state, {}).status in Status
        assert standing(state, everything).status is Status.RETURNED


def test_the_command_line_knows_every_event() -> None:
    """`floodway report` takes what a report may say, no more and no less."""
    assert list(get_args(What)) == [kind.value for kind in ReportType]
