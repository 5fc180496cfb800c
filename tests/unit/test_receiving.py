"""Goods in: booked, then on the shelf, repeatable by reference."""

from dataclasses import replace
from typing import Any, Literal

import pytest
from builders import Crash, Trouble, World, at_call, world

from streams import receiving
from streams.errors import Fenced, Refused
from streams.rebuild import rebuild_stock
from streams.receiving import receive
from streams.stores.stock_fake import FakeStock

ITEMS = [("TEA", 3), ("CUP", 2), ("TEA", 1), ("NEW", 0)]
FULL = {("TEA", "main"): (4, 0, 0), ("CUP", "main"): (2, 0, 0)}


async def test_goods_are_booked_and_shelved() -> None:
    """Repeated SKUs add up, one with none there becomes known, and stock and ledger agree."""
    made = await world({})
    assert await receive(made.parts(), "r-1", ITEMS) == (3, 6)
    assert await made.books() == FULL
    assert {(p.sku, p.free) async for p in made.stock.pools(["NEW"])} == {("NEW", 0)}


async def test_a_repeat_adds_nothing() -> None:
    """The reference is its key; another reference adds again."""
    made = await world({})
    assert await receive(made.parts(), "r-1", ITEMS) == (3, 6)
    assert await receive(made.parts(), "r-1", ITEMS) == (0, 0)
    assert await made.books() == FULL
    assert await receive(made.parts(), "r-2", [("CUP", 5)]) == (1, 5)
    assert await made.books() == FULL | {("CUP", "main"): (7, 0, 0)}


async def test_the_ledger_is_written_before_the_shelf() -> None:
    """Nothing can be sold that is not in the books."""
    made, trouble = await world({}), Trouble()
    await receive(made.parts(trouble), "r-1", ITEMS)
    assert trouble.calls == ["ledger.epoch", "ledger.record_movements", "stock.receive", "ledger.epoch"]


async def test_goods_put_on_the_shelf_of_a_past_stock_are_not_taken_for_received() -> None:
    """The stock was rebuilt elsewhere meanwhile, the old one lives on and takes them: told, and a repeat mends it."""
    made = await world({})
    old, ledger = made.stock, made.ledger
    record = ledger.record_movements

    async def rebuilt_before(movements: Any) -> bool:
        made.stock = FakeStock()
        await rebuild_stock(ledger, made.stock, made.clock, retention_s=60, reason="failover")
        return await record(movements)

    ledger.record_movements = rebuilt_before  # type: ignore[method-assign]
    with pytest.raises(Fenced, match="epoch 2, the stock acted under 1"):
        await receive(replace(made.parts(), stock=old), "r-1", ITEMS)
    ledger.record_movements = record  # type: ignore[method-assign]
    await receive(made.parts(), "r-1", ITEMS)
    assert await made.books() == FULL


async def test_nothing_to_receive_is_no_call() -> None:
    """An empty delivery moves nothing."""
    made, trouble = await world({}), Trouble()
    assert await receive(made.parts(trouble), "r-1", []) == (0, 0)
    assert trouble.calls == ["ledger.epoch"]


async def test_less_than_nothing_is_refused() -> None:
    """Before anything is written."""
    made, trouble = await world({}), Trouble()
    with pytest.raises(Refused, match="SKU CUP: -1"):
        await receive(made.parts(trouble), "r-1", [("TEA", 5), ("CUP", -1)])
    assert trouble.calls == []


async def test_without_an_epoch_nothing_is_received() -> None:
    """An installation that was never made ready says so, and books nothing."""
    made = World()
    with pytest.raises(Fenced, match="floodway init"):
        await receive(made.parts(), "r-1", ITEMS)
    assert made.ledger.movements == {}


POINTS = range(1, 12)
MANY = [(f"S{n:04}", 1 + n % 3) for n in range(2 * receiving.SLICE + 5)]


@pytest.mark.parametrize("number", POINTS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_receipt_that_died_is_finished_by_a_repeat(number: int, when: Literal["before", "after"]) -> None:
    """Whatever slice and step it died in: the same call again leaves each SKU received once."""
    made = await world({})
    try:
        await receive(made.parts(at_call(number, when)), "r-1", MANY)
        died = False
    except Crash:
        died = True
    assert died is (number < POINTS[-1])
    await receive(made.parts(), "r-1", reversed(MANY))
    assert await made.books() == {(sku, "main"): (qty, 0, 0) for sku, qty in MANY}
    assert await receive(made.parts(), "r-1", MANY) == (0, 0)


async def test_a_repeat_after_a_crash_counts_what_it_added() -> None:
    """What the first try has shelved is not counted again."""
    made = await world({})
    with pytest.raises(Crash):
        await receive(made.parts(at_call(4)), "r-1", MANY)
    skus, _ = await receive(made.parts(), "r-1", MANY)
    assert skus == receiving.SLICE + 5
