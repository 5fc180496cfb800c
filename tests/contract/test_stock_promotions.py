"""Promotions as objects, and sales to orders whose hold has expired, on the fake and on a real server."""

import pytest
from stock_kit import EPOCH, NOW_MS, TTL_MS, books, campaign, codes, oid, order, pool, reserve

from streams.core.stock import Code, End
from streams.errors import Refused, UnknownThing
from streams.stores.stock import MAX_BATCH, Stock

pytest_plugins = ["stock_fixtures"]

UNTIL_MS = NOW_MS + TTL_MS


async def expire(stock: Stock) -> list[End]:
    """End all that is due by then and settle it."""
    found = await stock.expire_due(EPOCH, now_ms=UNTIL_MS, limit=100)
    await stock.settle(EPOCH, [expired.order_id for expired in found])
    return [expired.end for expired in found]


async def test_opening_moves_the_quota(stock: Stock) -> None:
    """The quota leaves main for the promotion's pool, once; a SKU that comes twice in it is added up."""
    promotion = campaign("p", ("A", 3), ("B", 5), ("A", 1), limit=2)
    assert await stock.open_promotion(EPOCH, promotion) == []
    assert await stock.open_promotion(EPOCH, promotion) == []
    assert await books(stock) == {
        ("A", "main"): (6, 0, 0),
        ("A", "promo:p"): (4, 0, 0),
        ("B", "main"): (0, 0, 0),
        ("B", "promo:p"): (5, 0, 0),
    }
    assert await stock.promotion("p") == promotion._replace(quota=(("A", 4), ("B", 5)))
    assert await stock.promotion("q") is None


async def test_opening_is_all_or_nothing(stock: Stock) -> None:
    """What is short is named with the units missing, and nothing moves; it can be opened when there is enough."""
    promotion = campaign("p", ("A", 1), ("B", 7), ("Z", 2))
    assert await stock.open_promotion(EPOCH, promotion) == [("B", 2), ("Z", 2)]
    assert await books(stock) == {("A", "main"): (10, 0, 0), ("B", "main"): (5, 0, 0)}
    assert await stock.promotion("p") is None
    await stock.receive(EPOCH, "delivery", [("B", 2), ("Z", 2)])
    assert await stock.open_promotion(EPOCH, promotion) == []


async def test_opening_under_other_terms(stock: Stock) -> None:
    """An open promotion does not change its terms, a closed one does not open again."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 3)))
    for other in (campaign("p", ("A", 4)), campaign("p", ("A", 3), limit=1)):
        with pytest.raises(Refused, match="other terms"):
            await stock.open_promotion(EPOCH, other)
    await stock.close_promotion(EPOCH, "p")
    with pytest.raises(Refused, match="closed"):
        await stock.open_promotion(EPOCH, campaign("p", ("A", 3)))
    assert await pool(stock, "A") == (10, 0, 0)


@pytest.mark.parametrize("quota", [(), (("A", 0),), tuple((f"S{n}", 1) for n in range(MAX_BATCH + 1))])
async def test_what_no_quota_can_be(stock: Stock, quota: tuple[tuple[str, int], ...]) -> None:
    """A quota of nothing, or of too many SKUs, is the caller's mistake."""
    with pytest.raises(ValueError, match=r"quota|at most"):
        await stock.open_promotion(EPOCH, campaign("p", *quota))


async def test_pools_are_isolated(stock: Stock) -> None:
    """Neither a promotion nor main can drain the other."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 4)))
    batch = [
        order(1, ("A", 5), promotion="p"),
        order(2, ("A", 7)),
        order(3, ("A", 4), promotion="p"),
        order(4, ("A", 6)),
    ]
    assert await codes(stock, *batch) == [1, 1, 0, 0]
    assert await pool(stock, "A", "main") == (0, 6, 0)
    assert await pool(stock, "A", "promo:p") == (0, 4, 0)


async def test_buyer_limit_over_orders(stock: Stock) -> None:
    """The limit counts a buyer's units over lines, orders and batches, held or sold; another buyer has their own."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 8), ("B", 4), limit=3))
    batch = [
        order(1, ("A", 2), ("B", 2), promotion="p"),
        order(2, ("A", 1), ("B", 1), promotion="p"),
        order(3, ("A", 2), promotion="p"),
        order(4, ("A", 2), promotion="p", buyer="bob"),
    ]
    assert await codes(stock, *batch) == [Code.BUYER_LIMIT, Code.ACCEPTED, Code.BUYER_LIMIT, Code.ACCEPTED]
    await stock.confirm(EPOCH, [oid(2)])
    assert await codes(stock, order(5, ("A", 2), promotion="p"), order(6, ("A", 1), promotion="p")) == [7, 0]
    assert await codes(stock, order(7, ("A", 9))) == [Code.OUT_OF_STOCK]


async def test_a_refusal_uses_no_allowance(stock: Stock) -> None:
    """An order that finds no stock leaves the buyer's allowance as it was."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 2), ("B", 1), limit=3))
    batch = [order(1, ("A", 3), promotion="p"), order(2, ("A", 2), ("B", 1), promotion="p")]
    assert await codes(stock, *batch) == [Code.OUT_OF_STOCK, Code.ACCEPTED]


async def test_allowance_comes_back(stock: Stock) -> None:
    """Units released or expired no longer count towards the limit."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 4), limit=2))
    await reserve(stock, order(1, ("A", 1), promotion="p"), order(2, ("A", 1), promotion="p"))
    assert await codes(stock, order(3, ("A", 1), promotion="p")) == [Code.BUYER_LIMIT]
    await stock.release(EPOCH, [oid(1), oid(1)])
    assert await codes(stock, order(4, ("A", 2), promotion="p"), order(5, ("A", 1), promotion="p")) == [7, 0]
    assert await expire(stock) == [End.EXPIRED, End.EXPIRED]
    assert await codes(stock, order(6, ("A", 2), promotion="p"), now_ms=UNTIL_MS) == [Code.ACCEPTED]


async def test_no_limit(stock: Stock) -> None:
    """A limit of 0 is none."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 10)))
    assert await codes(stock, order(1, ("A", 6), promotion="p"), order(2, ("A", 4), promotion="p")) == [0, 0]


async def test_closing_sweeps_what_is_free(stock: Stock) -> None:
    """What is free goes back to main and is told, the same when repeated; what is held or sold stays."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 6), ("B", 5), limit=9))
    await reserve(stock, order(1, ("A", 1), ("B", 5), promotion="p"), order(2, ("A", 2), promotion="p"))
    await stock.confirm(EPOCH, [oid(1)])
    assert await stock.close_promotion(EPOCH, "p") == [("A", 3)]
    assert await stock.close_promotion(EPOCH, "p") == [("A", 3)]
    assert await books(stock) == {
        ("A", "main"): (7, 0, 0),
        ("A", "promo:p"): (0, 2, 1),
        ("B", "main"): (0, 0, 0),
        ("B", "promo:p"): (0, 0, 5),
    }
    assert (await stock.promotion("p")) == campaign("p", ("A", 6), ("B", 5), limit=9)
    with pytest.raises(UnknownThing, match="q"):
        await stock.close_promotion(EPOCH, "q")


async def test_closing_when_all_is_taken(stock: Stock) -> None:
    """Nothing free, nothing swept, also when repeated."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 1)))
    await reserve(stock, order(1, ("A", 1), promotion="p"))
    assert await stock.close_promotion(EPOCH, "p") == []
    assert await stock.close_promotion(EPOCH, "p") == []


async def test_late_returns_go_to_main(stock: Stock) -> None:
    """Holds outlive their promotion; what they give back then goes to main, and a repeat tells the same."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 6), limit=6))
    await reserve(stock, *[order(number, ("A", number), promotion="p") for number in (1, 2, 3)])
    await stock.close_promotion(EPOCH, "p")
    assert await stock.release(EPOCH, [oid(1), oid(1)]) == [End.RELEASED_TO_MAIN] * 2
    assert await stock.confirm(EPOCH, [oid(2), oid(1)]) == [End.CONFIRMED, End.RELEASED_TO_MAIN]
    (expired,) = await stock.expire_due(EPOCH, now_ms=UNTIL_MS, limit=9)
    assert expired == (oid(3), End.EXPIRED_TO_MAIN, "promo:p", (("A", 3),), UNTIL_MS)
    assert await books(stock) == {
        ("A", "main"): (8, 0, 0),
        ("A", "promo:p"): (0, 0, 2),
        ("B", "main"): (5, 0, 0),
    }


async def test_retake_from_the_own_pool(stock: Stock) -> None:
    """A late payment is served from the order's own pool when that has all of it, once."""
    await reserve(stock, order(1, ("A", 3), ("B", 1)))
    await expire(stock)
    for _ in range(2):
        assert await stock.retake(EPOCH, oid(1), ["main"], [("A", 3), ("B", 1)]) is End.LATE_FROM_POOL
    assert await stock.confirm(EPOCH, [oid(1)]) == [End.LATE_FROM_POOL]
    assert await books(stock) == {("A", "main"): (7, 0, 3), ("B", "main"): (4, 0, 1)}


async def test_retake_from_main(stock: Stock) -> None:
    """When the promotion's pool has not all of it, main serves; when main has not either, it is refused for good."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 4)))
    await reserve(stock, order(1, ("A", 4), promotion="p"))
    await expire(stock)
    await reserve(stock, order(2, ("A", 1), promotion="p"), now_ms=UNTIL_MS)
    assert await stock.retake(EPOCH, oid(1), ["promo:p", "main"], [("A", 4)]) is End.LATE_FROM_MAIN
    assert await pool(stock, "A", "main") == (2, 0, 4)
    assert await pool(stock, "A", "promo:p") == (3, 1, 0)


async def test_retake_refused_stays_refused(stock: Stock) -> None:
    """Neither pool has all of it: refused, and so it stays when stock comes."""
    await reserve(stock, order(1, ("A", 6)))
    await expire(stock)
    await reserve(stock, order(2, ("A", 5)), now_ms=UNTIL_MS)
    assert await stock.retake(EPOCH, oid(1), ["main"], [("A", 6)]) is End.LATE_REFUSED
    await stock.receive(EPOCH, "delivery", [("A", 9)])
    assert await stock.retake(EPOCH, oid(1), ["main"], [("A", 6)]) is End.LATE_REFUSED
    assert await stock.confirm(EPOCH, [oid(1)]) == [End.LATE_REFUSED]
    assert await pool(stock, "A") == (14, 5, 0)


async def test_retake_of_a_closed_promotion(stock: Stock) -> None:
    """A closed promotion sells nothing late, nor one that nobody opened; main may."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 4)))
    await reserve(stock, order(1, ("A", 2), promotion="p"), order(2, ("A", 2), promotion="p"))
    await reserve(stock, order(3, ("A", 1)))
    await stock.close_promotion(EPOCH, "p")
    assert sorted(await expire(stock)) == [End.EXPIRED_TO_MAIN, End.EXPIRED_TO_MAIN, End.EXPIRED]
    assert await stock.retake(EPOCH, oid(1), ["promo:p", "main"], [("A", 2)]) is End.LATE_FROM_MAIN
    assert await stock.retake(EPOCH, oid(2), ["promo:p"], [("A", 2)]) is End.LATE_REFUSED
    assert await stock.retake(EPOCH, oid(3), ["promo:nowhere", "main"], [("A", 1)]) is End.LATE_FROM_MAIN
    assert await pool(stock, "A", "main") == (7, 0, 3)


async def test_retake_counts_towards_the_limit(stock: Stock) -> None:
    """A late sale from the promotion uses the buyer's allowance again, and past it main serves."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 5), limit=2))
    await reserve(stock, order(1, ("A", 1), promotion="p"), order(2, ("A", 1), promotion="p"))
    await expire(stock)
    assert await stock.retake(EPOCH, oid(1), ["promo:p", "main"], [("A", 1)]) is End.LATE_FROM_POOL
    late = [order(3, ("A", 2), promotion="p"), order(4, ("A", 1), promotion="p")]
    assert await codes(stock, *late, now_ms=UNTIL_MS) == [Code.BUYER_LIMIT, Code.ACCEPTED]
    assert await stock.retake(EPOCH, oid(2), ["promo:p", "main"], [("A", 1)]) is End.LATE_FROM_MAIN


async def test_only_the_expired_can_be_retaken(stock: Stock) -> None:
    """Another end is returned as it is; a live hold and a stranger are unknown; nothing is sold."""
    await reserve(stock, *[order(number, ("A", 1)) for number in (1, 2, 3)])
    await stock.confirm(EPOCH, [oid(1)])
    await stock.release(EPOCH, [oid(2)])
    ends = [await stock.retake(EPOCH, oid(number), ["main"], [("A", 1)]) for number in (1, 2, 3, 4)]
    assert ends == [End.CONFIRMED, End.RELEASED, End.UNKNOWN, End.UNKNOWN]
    assert await pool(stock, "A") == (8, 1, 1)


@pytest.mark.parametrize(
    ("pools", "quantities"),
    [
        ([], [("A", 1)]),
        (["main", "promo:p"], [("A", 1)]),
        (["promo:p", "main", "main"], [("A", 1)]),
        (["main"], []),
        (["main"], [("A", 0)]),
        (["elsewhere"], [("A", 1)]),
    ],
)
async def test_what_no_retake_can_be(stock: Stock, pools: list[str], quantities: list[tuple[str, int]]) -> None:
    """Pools in another form, or units of nothing, are the caller's mistake."""
    await reserve(stock, order(1, ("A", 1)))
    await expire(stock)
    with pytest.raises(ValueError, match=r"pool|Units|nothing"):
        await stock.retake(EPOCH, oid(1), pools, quantities)
