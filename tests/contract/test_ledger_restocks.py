"""The contract of what is put back on the shelf: claimed once, never more than was sold, booked in double entry."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from ledger_values import EPOCH, NOW, accepted, received, sold, step
from test_ledger_standings import caught_up

from streams.core.books import Balance, RestockAsked, RestockClaim, State
from streams.core.stock import End
from streams.errors import Fenced, Refused
from streams.stores.ledger import Ledger

pytest_plugins = ["ledger_fixtures"]

LATER = NOW + timedelta(hours=1)
LINES = (("TEA", 3, 100), ("CUP", 2, 100))


async def paid(ledger: Ledger, number: int = 1) -> UUID:
    """An order of 3 TEA and 2 CUP that is sold."""
    made = accepted(number, lines=LINES)
    await ledger.record_movements(received(f"d-{number}", ("TEA", 10), ("CUP", 10)))
    await ledger.persist([made], EPOCH)
    await ledger.take_steps([step(made.order_id, "paid", movements=sold(made))], EPOCH)
    return made.order_id


async def balances(ledger: Ledger) -> dict[str, tuple[int, int, int]]:
    """Free, held and sold by SKU; all is in main."""
    return {b.sku: (b.free, b.held, b.sold) async for b in ledger.balances() if isinstance(b, Balance)}


async def test_what_was_sold_is_claimed_and_booked_once(ledger: Ledger) -> None:
    """All of an order; asked again there is nothing open, and booked again nothing more is free."""
    order_id = await paid(ledger)
    asked = RestockAsked(order_id, "cancelled")
    (claim,) = await ledger.claim_restocks([asked], NOW)
    assert claim == RestockClaim(order_id, "cancelled", "main", (("CUP", 2), ("TEA", 3)), NOW)
    assert await ledger.claim_restocks([asked], LATER) == [claim]
    assert await ledger.open_restocks(LATER, 10) == [claim]
    assert await ledger.open_restocks(NOW, 10) == []
    for _ in range(2):
        await ledger.book_restocks([(claim, End.RESTOCKED)], LATER, EPOCH)
    assert await balances(ledger) == {"TEA": (10, 0, 0), "CUP": (10, 0, 0)}
    assert await ledger.claim_restocks([asked], LATER) == await ledger.open_restocks(LATER, 10) == []
    await ledger.claim_restocks([], NOW)
    await ledger.book_restocks([], NOW, EPOCH)


async def test_parts_are_put_back_under_references_of_their_own(ledger: Ledger) -> None:
    """Two units, then what is left of that line, then what is left at all; never more than was sold."""
    order_id = await paid(ledger)
    first, rest = RestockAsked(order_id, "r1", {"TEA": 2}), RestockAsked(order_id, "r2", {"TEA": None})
    claims = await ledger.claim_restocks([first, rest, RestockAsked(order_id, "r3")], NOW)
    assert [(one.ref, one.quantities) for one in claims] == [
        ("r1", (("TEA", 2),)),
        ("r2", (("TEA", 1),)),
        ("r3", (("CUP", 2),)),
    ]
    await ledger.book_restocks([(one, End.RESTOCKED) for one in claims], NOW, EPOCH)
    assert await balances(ledger) == {"TEA": (10, 0, 0), "CUP": (10, 0, 0)}
    assert await ledger.claim_restocks([RestockAsked(order_id, "r4")], NOW) == []


async def test_more_than_was_sold_is_refused(ledger: Ledger) -> None:
    """With nothing written, not even what else was asked for; nor is anything of an order that was not sold."""
    order_id, held = await paid(ledger), accepted(9, lines=LINES)
    await ledger.persist([held], EPOCH)
    fine = RestockAsked(order_id, "fine", {"CUP": 1})
    for units in (4, 0, -1):
        with pytest.raises(Refused, match="has 3 of TEA sold"):
            await ledger.claim_restocks([fine, RestockAsked(order_id, "r", {"TEA": units})], NOW)
    with pytest.raises(Refused, match="has 0 of NONE sold"):
        await ledger.claim_restocks([RestockAsked(order_id, "r", {"NONE": 1})], NOW)
    nothing = [RestockAsked(held.order_id, "cancelled"), RestockAsked(UUID(int=1), "cancelled")]
    assert await ledger.claim_restocks(nothing, NOW) == await ledger.open_restocks(LATER, 10) == []


async def test_two_who_ask_at_once_do_not_share_units(ledger: Ledger) -> None:
    """A cancellation and a return race for the same three: together they get three."""
    order_id = await paid(ledger)
    await asyncio.gather(
        *(ledger.claim_restocks([RestockAsked(order_id, f"r{n}", {"TEA": None})], NOW) for n in range(4)),
        ledger.claim_restocks([RestockAsked(order_id, "cancelled")], NOW),
    )
    claims = await ledger.open_restocks(LATER, 10)
    units = [qty for claim in claims for sku, qty in claim.quantities if sku == "TEA"]
    assert sum(units) == 3


async def test_what_an_old_stock_put_back_cannot_be_booked(ledger: Ledger) -> None:
    """The claim stays open, and is carried out by the stock that was rebuilt without it."""
    order_id = await paid(ledger)
    (claim,) = await ledger.claim_restocks([RestockAsked(order_id, "cancelled")], NOW)
    newer = await ledger.issue_epoch("test")
    with pytest.raises(Fenced):
        await ledger.book_restocks([(claim, End.RESTOCKED)], NOW, EPOCH)
    assert await ledger.open_restocks(LATER, 10) == [claim]
    await ledger.book_restocks([(claim, End.RESTOCKED)], NOW, newer)
    assert await balances(ledger) == {"TEA": (10, 0, 0), "CUP": (10, 0, 0)}


async def test_positions_are_where_orders_stand(ledger: Ledger) -> None:
    """From the primary: held and nothing reached, or what their steps have made; absent ones are left out."""
    order_id, held = await paid(ledger), accepted(9)
    await ledger.persist([held], EPOCH)
    found = await ledger.positions_of([order_id, held.order_id, UUID(int=1)])
    assert {one: position.state for one, position in found.items()} == {
        order_id: State.CONFIRMED,
        held.order_id: State.HELD,
    }
    assert await ledger.positions_of([]) == {}
    await caught_up(ledger, held.order_id)
