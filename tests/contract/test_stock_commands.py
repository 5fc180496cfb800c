"""Epochs and fencing, receiving, moving and reading, on the fake and on a real server."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from stock_kit import EPOCH, NOW_MS, books, campaign, oid, order, pool, reserve

from streams.core.stock import MAIN, MoveResult, Pool, Restock
from streams.errors import Fenced, Refused, UnknownThing
from streams.stores.stock import MAX_BATCH, Stock

pytest_plugins = ["stock_fixtures"]

CALLS: dict[str, Callable[[Stock, int], Awaitable[Any]]] = {
    "install_epoch": lambda stock, epoch: stock.install_epoch(epoch),
    "reserve": lambda stock, epoch: stock.reserve(epoch, [order(9, ("A", 1))], now_ms=NOW_MS, held_until_ms=NOW_MS),
    "confirm": lambda stock, epoch: stock.confirm(epoch, [oid(1)]),
    "release": lambda stock, epoch: stock.release(epoch, [oid(1)]),
    "expire_due": lambda stock, epoch: stock.expire_due(epoch, now_ms=2 * NOW_MS, limit=9),
    "settle": lambda stock, epoch: stock.settle(epoch, [oid(2)]),
    "retake": lambda stock, epoch: stock.retake(epoch, oid(2), ["main"], [("A", 1)]),
    "restock": lambda stock, epoch: stock.restock(epoch, [Restock(oid(3), MAIN, (("A", 1),))]),
    "receive": lambda stock, epoch: stock.receive(epoch, "ref", [("A", 1)]),
    "move": lambda stock, epoch: stock.move(epoch, "ref", "A", "main", "promo:p", 1),
    "open_promotion": lambda stock, epoch: stock.open_promotion(epoch, campaign("q", ("A", 1))),
    "close_promotion": lambda stock, epoch: stock.close_promotion(epoch, "p"),
}


ELSEWHERE = {"begin_rebuild", "refill", "adopt_epoch"}
"""They take the epoch that is to come: tests/contract/test_stock_rebuild.py."""


def test_every_call_is_fenced() -> None:
    """No method that takes an epoch is left out below."""
    methods = {name for name, value in vars(Stock).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert set(CALLS) | ELSEWHERE == {
        name for name in methods if "epoch" in inspect.signature(getattr(Stock, name)).parameters
    }


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
@pytest.mark.parametrize("name", CALLS)
async def test_another_epoch_is_refused(stock: Stock, name: str, epoch: int) -> None:
    """Under another epoch, older or newer, a call names both, says what to do, and changes nothing."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 2)))
    await reserve(stock, order(1, ("A", 1)))
    await reserve(stock, order(2, ("A", 1)), ttl_ms=0)
    await stock.expire_due(EPOCH, now_ms=NOW_MS, limit=1)
    before = await books(stock)
    with pytest.raises(Fenced, match=rf"carries epoch {EPOCH}, .* {epoch} .*changed; re"):
        await CALLS[name](stock, epoch)
    assert await books(stock) == before
    assert await stock.unsettled() == 1
    assert await stock.promotion("q") is None
    assert await stock.epoch() == EPOCH


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"install_epoch"}))
async def test_no_epoch_is_refused(bare: Stock, name: str) -> None:
    """A stock that came back empty refuses everything until it is given an epoch."""
    assert await bare.epoch() is None
    with pytest.raises(Fenced, match="no epoch"):
        await CALLS[name](bare, EPOCH)
    assert await books(bare) == {}


async def test_empty_calls_are_fenced_too(stock: Stock) -> None:
    """A call that asks for nothing still tells that the epoch has changed."""
    with pytest.raises(Fenced):
        await stock.reserve(EPOCH + 1, [], now_ms=NOW_MS, held_until_ms=NOW_MS)
    with pytest.raises(Fenced):
        await stock.confirm(EPOCH + 1, [])
    with pytest.raises(Fenced):
        await stock.restock(EPOCH + 1, [])


async def test_install_epoch(bare: Stock) -> None:
    """An empty stock takes an epoch, the same again is fine, another is refused."""
    await bare.install_epoch(EPOCH)
    await bare.install_epoch(EPOCH)
    assert await bare.epoch() == EPOCH


async def test_receive(stock: Stock) -> None:
    """Units are added and taken off once per ref; a new SKU is known from then on; repeated items add up."""
    assert await stock.receive(EPOCH, "r", [("A", 1), ("C", 5), ("C", 2), ("B", -5), ("D", 0)])
    assert not await stock.receive(EPOCH, "r", [("A", 100)])
    assert await books(stock) == {
        ("A", "main"): (11, 0, 0),
        ("B", "main"): (0, 0, 0),
        ("C", "main"): (7, 0, 0),
        ("D", "main"): (0, 0, 0),
    }


@pytest.mark.parametrize("items", [[("C", 1), ("A", -11)], [("Z", -1)], [("A", 2**53 - 10)]])
async def test_receive_refuses(stock: Stock, items: list[tuple[str, int]]) -> None:
    """What would leave less than nothing, or more than can be counted, is refused whole, and may come again."""
    with pytest.raises(Refused, match=f"{items[-1][0]} has "):
        await stock.receive(EPOCH, "r", items)
    assert await books(stock) == {("A", "main"): (10, 0, 0), ("B", "main"): (5, 0, 0)}
    assert await stock.receive(EPOCH, "r", [("A", 1)])


async def test_held_units_cannot_be_taken_off(stock: Stock) -> None:
    """Only what is free can be taken off."""
    await reserve(stock, order(1, ("A", 8)))
    with pytest.raises(Refused, match="2 free"):
        await stock.receive(EPOCH, "r", [("A", -3)])


async def test_move(stock: Stock) -> None:
    """Free units move between a SKU's pools, all or none; a repeated ref gets its first result."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 2)))
    assert await stock.move(EPOCH, "m1", "A", "main", "promo:p", 3) is MoveResult.MOVED
    assert await stock.move(EPOCH, "m1", "A", "main", "promo:p", 3) is MoveResult.MOVED
    assert await stock.move(EPOCH, "m2", "A", "promo:p", "main", 6) is MoveResult.NOT_ENOUGH
    await stock.move(EPOCH, "m3", "A", "main", "promo:p", 1)
    assert await stock.move(EPOCH, "m2", "A", "promo:p", "main", 6) is MoveResult.NOT_ENOUGH
    assert await pool(stock, "A", "promo:p") == (6, 0, 0)
    assert await stock.close_promotion(EPOCH, "p") == [("A", 6)]


async def test_move_where_nothing_is(stock: Stock) -> None:
    """Unknown pools and closed promotions are refused; units may still leave a closed one. Such refs may come again."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 2)))
    for sku, source, target in (("Z", "main", "promo:p"), ("B", "main", "promo:p"), ("A", "promo:q", "main")):
        with pytest.raises(UnknownThing, match=sku):
            await stock.move(EPOCH, "m", sku, source, target, 1)
    assert await stock.move(EPOCH, "m", "A", "main", "promo:p", 1) is MoveResult.MOVED
    await stock.close_promotion(EPOCH, "p")
    with pytest.raises(Refused, match="closed"):
        await stock.move(EPOCH, "m2", "A", "main", "promo:p", 1)
    assert await stock.move(EPOCH, "m2", "A", "promo:p", "main", 1) is MoveResult.NOT_ENOUGH


@pytest.mark.parametrize(("source", "target", "qty"), [("main", "promo:p", 0), ("main", "main", 1), ("main", "", 1)])
async def test_what_no_move_can_be(stock: Stock, source: str, target: str, qty: int) -> None:
    """A move of nothing, to itself or to what is no pool is the caller's mistake."""
    with pytest.raises(ValueError, match=r"qty|both|no pool"):
        await stock.move(EPOCH, "m", "A", source, target, qty)


async def test_refs_of_receive_and_move_are_apart(stock: Stock) -> None:
    """The same ref may name a delivery and a move."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 2)))
    assert await stock.receive(EPOCH, "monday", [("A", 1)])
    assert await stock.move(EPOCH, "monday", "A", "main", "promo:p", 1) is MoveResult.MOVED


async def test_pools_of_some_skus(stock: Stock) -> None:
    """Pools can be read for some SKUs, all pools of each; unknown ones are left out."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 2)))
    found = [pool async for pool in stock.pools(["A", "Z"])]
    assert sorted(found) == [Pool("A", "main", 8, 0, 0), Pool("A", "promo:p", 2, 0, 0)]
    assert [pool async for pool in stock.pools([])] == []


async def test_streams_over_many_pages(stock: Stock) -> None:
    """Pools and holds beyond one page of the server's are all streamed."""
    skus = [f"SKU-{number}" for number in range(3_000)]
    await stock.receive(EPOCH, "delivery", [(sku, 1) for sku in skus])
    await reserve(stock, *[order(number, (sku, 1)) for number, sku in enumerate(skus)])
    assert {pool.sku async for pool in stock.pools()} == {*skus, "A", "B"}
    assert {hold.order_id async for hold in stock.holds()} == {oid(number) for number in range(3_000)}


async def test_receive_is_bounded(stock: Stock) -> None:
    """Too many SKUs in one call are the caller's mistake."""
    with pytest.raises(ValueError, match="at most"):
        await stock.receive(EPOCH, "r", [(f"SKU-{number}", 1) for number in range(MAX_BATCH + 1)])
