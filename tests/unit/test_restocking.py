"""Cancelled or returned after it was sold: what goes back on the shelf, what never, and what a crash leaves."""

from collections.abc import Sequence
from itertools import permutations
from typing import Literal
from uuid import UUID

import pytest
from builders import World, accepted, at_call, chunk, promotion, report, submission, world
from lifecycle_kit import GRACE_S
from msgspec import structs

from streams.core import restock
from streams.core.books import Position, RestockAsked, State
from streams.core.restock import RESTOCK_POLICY, Restocking
from streams.core.vocabulary import BY_NAME, EVENTS
from streams.lifecycle import Lifecycle
from streams.messages import Report
from streams.messages import ReportType as R
from streams.promotions import close_promotion, open_promotion
from streams.rebuild import rebuild_stock

TEA = ("TEA", "main")
WHEN: tuple[Literal["before", "after"], ...] = ("before", "after")


async def shop(promotion_id: str | None = None) -> tuple[World, UUID]:
    """Ten TEA, two of which are ordered."""
    made = await world()
    if promotion_id:
        await open_promotion(made.parts(), promotion(promotion_id))
    (order_id,) = await accepted(made, submission(promotion_id=promotion_id))
    return made, order_id


async def hear(made: World, *reports: Report) -> None:
    """Each in a chunk of its own."""
    for one in reports:
        await Lifecycle(made.parts()).take(chunk(one))


def said(order_id: UUID, *kinds: R, sku: str | None = None) -> list[Report]:
    """A report of each kind."""
    return [structs.replace(report(order_id, kind.value, kind), sku=sku) for kind in kinds]


async def test_what_is_cancelled_on_the_shelf_is_free_again_at_once() -> None:
    """Sold, then cancelled or refunded: as if it had been cancelled before it was paid, whatever came first."""
    for ends in ((R.ORDER_CANCELLED,), (R.REFUND_SUCCEEDED,), (R.ORDER_CANCELLED, R.REFUND_SUCCEEDED)):
        kinds = (R.PAYMENT_SUCCEEDED, R.WAREHOUSE_ACCEPTED, R.PICKING_STARTED, *ends)
        for order in {tuple(order) for order in permutations(kinds)}:
            made, order_id = await shop()
            await hear(made, *said(order_id, *order))
            await hear(made, *said(order_id, *order))
            assert await made.books() == {TEA: (10, 0, 0)}, order
            assert made.ledger.accepted[order_id].state is State.REFUND_DUE


@pytest.mark.parametrize("name", sorted(RESTOCK_POLICY))
async def test_the_policy_is_what_happens(name: str) -> None:
    """For each milestone that the goods may have got to: free at once, after an inspection, or never."""
    kind = next((k for k in R if EVENTS[k] is BY_NAME[name]), None)
    made, order_id = await shop()
    reported = [*([kind] if kind else []), R.PAYMENT_SUCCEEDED, R.REFUND_SUCCEEDED]
    await hear(made, *said(order_id, *reported))
    policy = RESTOCK_POLICY[name]
    free = {TEA: (10, 0, 0)} if policy is Restocking.AT_ONCE else {TEA: (8, 0, 2)}
    assert await made.books() == free
    await hear(made, *said(order_id, R.RETURN_RECEIVED))
    assert await made.books() == free
    await hear(made, *said(order_id, R.RETURN_INSPECTED))
    assert await made.books() == {TEA: (8, 0, 2) if policy is Restocking.NEVER else (10, 0, 0)}


async def test_a_return_of_one_line_puts_that_line_back() -> None:
    """Also when its inspection is known before the payment, and once however often it is reported."""
    for order in permutations((R.PAYMENT_SUCCEEDED, R.PARCEL_DELIVERED, R.RETURN_INSPECTED)):
        made = await world({"TEA": 10, "CUP": 10})
        (order_id,) = await accepted(made, submission(lines=[("TEA", 2, 1), ("CUP", 1, 1)]))
        for kind in (*order, *order):
            await hear(made, *said(order_id, kind, sku="CUP" if kind is R.RETURN_INSPECTED else None))
        assert await made.books() == {TEA: (8, 0, 2), ("CUP", "main"): (10, 0, 0)}


async def test_units_of_a_promotion_go_back_to_it_or_to_main() -> None:
    """To its pool while it is open, so that its quota is whole again; to main once it is closed."""
    made, order_id = await shop("p1")
    await hear(made, *said(order_id, R.PAYMENT_SUCCEEDED, R.ORDER_CANCELLED))
    assert await made.books() == {TEA: (5, 0, 0), ("TEA", "promo:p1"): (5, 0, 0)}
    made, order_id = await shop("p1")
    await hear(made, *said(order_id, R.PAYMENT_SUCCEEDED))
    await close_promotion(made.parts(), "p1")
    await hear(made, *said(order_id, R.ORDER_CANCELLED))
    assert await made.books() == {TEA: (10, 0, 0)}


async def test_a_crash_at_any_call_leaves_nothing_half_done() -> None:
    """The chunk is read again, or another process finishes the claim; a rebuild in between changes nothing."""
    calls = range(1, 30)
    met = 0
    for number in calls:
        for when in WHEN:
            made, order_id = await shop()
            await hear(made, *said(order_id, R.PAYMENT_SUCCEEDED))
            trouble = at_call(number, when)
            try:
                await Lifecycle(made.parts(trouble)).take(chunk(*said(order_id, R.ORDER_CANCELLED)))
            except Exception:
                met += 1
            if number % 2:
                await rebuild_stock(made.ledger, made.stock, made.clock, retention_s=7_200.0, reason="test")
            made.clock.advance(GRACE_S)
            await Lifecycle(made.parts()).put_back_left()
            await hear(made, *said(order_id, R.ORDER_CANCELLED))
            assert await made.books() == {TEA: (10, 0, 0)}, (number, when)
            assert await Lifecycle(made.parts()).put_back_left() == 0
    assert met > 12


def test_parcels_without_lines_wait_for_a_person() -> None:
    """A parcel that was inspected says nothing of which lines it held; the order or a line do."""
    inspected = frozenset({BY_NAME["return_inspected"].code})
    order_id = UUID(int=7)

    def due(*parts: tuple[str, str]) -> Sequence[RestockAsked]:
        return restock.due(order_id, Position(State.CONFIRMED, dict.fromkeys(parts, inspected), 1))

    assert due(("SF1", "")) == []
    assert due(("", "")) == [RestockAsked(order_id, "return::")]
    assert due(("SF1", "TEA"), ("", "CUP")) == [
        RestockAsked(order_id, "return::CUP", {"CUP": None}),
        RestockAsked(order_id, "return:SF1:TEA", {"TEA": None}),
    ]
