"""A stocktake tells what differs from what is in flight, and changes nothing."""

import asyncio
from typing import Any

import pytest
from rebuild_world import TTL_S, Kind, Shop, begin, known
from redis.asyncio import Redis

from streams.core.decode import Undecodable
from streams.core.intent import intent
from streams.core.stock import Reservation
from streams.errors import Fenced
from streams.messages import ReportType
from streams.rebuild import rebuild_stock
from streams.stocktake import Differs, Stocktake, take_stock
from streams.stores.stock import Stock
from streams.stores.stock_fake import FakeStock
from streams.stores.stock_redis import RedisStock

pytest_plugins = ["stock_fixtures", "ledger_fixtures", "rebuild_fixtures"]


async def a_day(kind: Kind) -> Shop:
    """Orders of every kind, some alive."""
    shop = await begin(kind.make(), await kind.ledger())
    await shop.submit(*[shop.submission(f"s-{n}", ("B", 1)) for n in range(4)])
    await shop.submit(*[shop.submission(f"p-{n}", ("A", 1), promotion="p", buyer=f"b{n}") for n in range(3)])
    await shop.report(ReportType.PAYMENT_SUCCEEDED, shop.order_ids[0], shop.order_ids[4])
    await shop.expire(TTL_S)
    await shop.submit(*[shop.submission(f"t-{n}", ("B", 1)) for n in range(3)])
    return shop


async def break_(kind: Kind, stock: Stock, name: str, field: Any, value: Any) -> None:
    """Put something into the stock, or take it away, behind everybody's back."""
    if isinstance(stock, FakeStock):
        inside = getattr(stock, f"_{name}")
        if value is None:
            del inside[field]
        else:
            inside[tuple(field.split("|"))] = value
        return
    assert isinstance(stock, RedisStock)
    client = Redis.from_url(str(kind.url))
    try:
        if value is None:
            await client.hdel(stock._key(name), field)
        else:
            await client.hset(stock._key(name), field, value)
            if name == "free":  # of pools that hold nothing
                await client.hset(stock._key("on_hand"), field, value)
    finally:
        await client.aclose()


def reservation(shop: Shop, name: str) -> Reservation:
    """One B in main, as the stock is asked for it."""
    found = intent(shop.submission(name, ("B", 1)), None, 0, 0)
    assert not isinstance(found, Undecodable)
    return found.reservation


async def taken(shop: Shop) -> Stocktake:
    """A stocktake that is over soon."""
    return await take_stock(shop.parts, looks=3, look_first_s=0.02)


async def test_stock_and_ledger_that_agree(kind: Kind) -> None:
    """Nothing is found, everything was looked at, nothing is changed."""
    shop = await a_day(kind)
    try:
        before = await known(shop.stock, kind.url)
        found = await taken(shop)
        assert (found.differences, found.moving, found.epoch) == ([], 0, 1)
        assert (found.pools, found.holds) == (5, 3)
        assert await known(shop.stock, kind.url) == before
    finally:
        await shop.stock.close()


async def test_each_difference_is_told(kind: Kind) -> None:
    """A unit too many, a pool that nobody received, a hold lost, a hold leaked: each once, with both sides."""
    shop = await a_day(kind)
    try:
        lost = shop.order_ids[-1]
        await break_(kind, shop.stock, "free", "A|main", 99)
        await break_(kind, shop.stock, "free", "NOBODYS|main", 1)
        await break_(kind, shop.stock, "holds", lost.bytes, None)
        await shop.stock.reserve(
            1, [reservation(shop, "never-written")], now_ms=shop.clock.now_ms(), held_until_ms=shop.clock.now_ms() + 9
        )
        found = await taken(shop)
        assert [d for d in found.differences if d.what.startswith(("A|", "NOBODYS"))] == [
            Differs("pool", "A|main", (99, 0, 0), (7, 0, 0)),
            Differs("pool", "NOBODYS|main", (1, 0, 0), (0, 0, 0)),
        ]
        kinds = [d.kind for d in found.differences]
        assert kinds == ["pool"] * 3 + ["lost_hold", "leaked_hold"]  # the third is the one that was never written
        assert [d.what for d in found.differences if d.kind == "lost_hold"] == [str(lost)]
    finally:
        await shop.stock.close()


async def test_what_is_in_flight_is_no_difference(kind: Kind) -> None:
    """Decided and not written yet when it is first looked at; written a moment later."""
    shop = await a_day(kind)
    try:
        late = shop.submission("in-flight", ("B", 1))
        made = reservation(shop, "in-flight")
        now_ms = shop.clock.now_ms()
        await shop.stock.reserve(1, [made], now_ms=now_ms, held_until_ms=now_ms + int(TTL_S * 1000))
        looking = asyncio.create_task(take_stock(shop.parts, looks=5, look_first_s=0.1))
        await asyncio.sleep(0.15)
        await shop.submit(late)
        found = await looking
        assert (found.differences, found.moving) == ([], 0)
    finally:
        await shop.stock.close()


async def test_a_lost_stock_is_not_compared(kind: Kind) -> None:
    """There is nothing to compare with an empty stock, nor with one that was rebuilt meanwhile."""
    shop = await a_day(kind)
    lost = Shop(kind.make(), shop.ledger)
    try:
        with pytest.raises(Fenced, match="lost or being rebuilt"):
            await taken(lost)
        await break_(kind, shop.stock, "free", "A|main", 99)
        looking = asyncio.create_task(take_stock(shop.parts, looks=4, look_first_s=0.1))
        await asyncio.sleep(0.15)
        await rebuild_stock(shop.ledger, shop.stock, shop.clock, retention_s=60.0, reason="meanwhile")
        with pytest.raises(Fenced, match="rebuilt during the stocktake"):
            await looking
        assert not (await taken(shop)).differences
    finally:
        await shop.stock.close()
        await lost.stock.close()
