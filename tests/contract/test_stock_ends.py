"""How holds end: confirm, release, expire and settle, on the fake and on a real server."""

import pytest
from stock_kit import EPOCH, NOW_MS, TTL_MS, books, codes, oid, order, pool, reserve, retention

from streams.core.stock import End, Expired
from streams.stores.stock import MAX_BATCH, Stock

pytest_plugins = ["stock_fixtures"]

UNTIL_MS = NOW_MS + TTL_MS


async def test_confirm_sells(stock: Stock) -> None:
    """Confirming turns what is held into sold, once, also when the order comes twice in one call."""
    await reserve(stock, order(1, ("A", 3), ("B", 1)), order(2, ("A", 2)))
    assert await stock.confirm(EPOCH, [oid(1), oid(1)]) == [End.CONFIRMED, End.CONFIRMED]
    assert await stock.confirm(EPOCH, [oid(1)]) == [End.CONFIRMED]
    assert await books(stock) == {("A", "main"): (5, 2, 3), ("B", "main"): (4, 0, 1)}


async def test_release_frees(stock: Stock) -> None:
    """Releasing gives back what is held, once, and the next order can have it."""
    await reserve(stock, order(1, ("A", 10)))
    assert await stock.release(EPOCH, [oid(1), oid(1)]) == [End.RELEASED, End.RELEASED]
    assert await stock.release(EPOCH, [oid(1)]) == [End.RELEASED]
    assert await codes(stock, order(2, ("A", 10))) == [0]


async def test_the_first_end_stays(stock: Stock) -> None:
    """Whatever ended a hold first is what every later action is told."""
    await reserve(stock, *[order(number, ("A", 1)) for number in (1, 2, 3)])
    await stock.confirm(EPOCH, [oid(1)])
    await stock.release(EPOCH, [oid(2)])
    await stock.expire_due(EPOCH, now_ms=UNTIL_MS, limit=10)
    ends = [End.CONFIRMED, End.RELEASED, End.EXPIRED]
    assert await stock.confirm(EPOCH, [oid(1), oid(2), oid(3)]) == ends
    assert await stock.release(EPOCH, [oid(1), oid(2), oid(3)]) == ends
    assert await pool(stock, "A") == (9, 0, 1)


async def test_unknown_orders(stock: Stock) -> None:
    """An order that never held anything is unknown, and a refused one is, too; others in the call are not harmed."""
    await reserve(stock, order(1, ("A", 99)), order(2, ("A", 1)))
    assert await stock.confirm(EPOCH, [oid(1), oid(2), oid(3)]) == [End.UNKNOWN, End.CONFIRMED, End.UNKNOWN]
    assert await stock.release(EPOCH, [oid(1), oid(3)]) == [End.UNKNOWN, End.UNKNOWN]
    assert await stock.confirm(EPOCH, []) == []


async def test_expires_when_due(stock: Stock) -> None:
    """A hold ends at its deadline, not before; what comes back tells id, end, pool, quantities and deadline."""
    await reserve(stock, order(1, ("A", 3), ("B", 1)))
    assert await stock.expire_due(EPOCH, now_ms=UNTIL_MS - 1, limit=10) == []
    expected = [Expired(oid(1), End.EXPIRED, "main", (("A", 3), ("B", 1)), UNTIL_MS)]
    assert await stock.expire_due(EPOCH, now_ms=UNTIL_MS, limit=10) == expected
    assert await books(stock) == {("A", "main"): (10, 0, 0), ("B", "main"): (5, 0, 0)}


async def test_expired_comes_again_until_settled(stock: Stock) -> None:
    """A finder that dies before it tells the ledger loses nothing: the next call finds the same, and frees it once."""
    await reserve(stock, order(1, ("A", 3)))
    await reserve(stock, order(2, ("A", 3)), ttl_ms=TTL_MS + 1)
    first = await stock.expire_due(EPOCH, now_ms=UNTIL_MS, limit=10)
    assert [found.order_id for found in first] == [oid(1)]
    assert await stock.expire_due(EPOCH, now_ms=UNTIL_MS, limit=10) == first
    assert await stock.unsettled() == 1
    both = await stock.expire_due(EPOCH, now_ms=UNTIL_MS + 1, limit=10)
    assert [found.order_id for found in both] == [oid(1), oid(2)]
    await stock.settle(EPOCH, [oid(1)])
    await stock.settle(EPOCH, [oid(1), oid(9)])
    assert await stock.expire_due(EPOCH, now_ms=UNTIL_MS + 2, limit=10) == both[1:]
    await stock.settle(EPOCH, [oid(2)])
    assert await stock.unsettled() == 0
    assert await pool(stock, "A") == (10, 0, 0)


async def test_oldest_first_in_bounded_batches(stock: Stock) -> None:
    """No more than `limit` wait for settling; the oldest are ended first, and those of one batch may be split."""
    for deadline in (3, 1, 2):
        numbers = (10 * deadline, 10 * deadline + 1, 10 * deadline + 2)
        await reserve(stock, *[order(number, ("A", 1)) for number in numbers], ttl_ms=deadline)
    seen = []
    for _ in range(5):
        found = await stock.expire_due(EPOCH, now_ms=UNTIL_MS, limit=2)
        assert len(found) <= 2
        assert await stock.expire_due(EPOCH, now_ms=UNTIL_MS, limit=1) == found
        await stock.settle(EPOCH, [expired.order_id for expired in found])
        seen += [expired.due_ms - NOW_MS for expired in found]
    assert seen == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert await stock.expire_due(EPOCH, now_ms=UNTIL_MS, limit=2) == []


async def test_finds_the_few_among_the_many_that_ended(stock: Stock) -> None:
    """One call gets through more holds that were confirmed long ago than one script may look at."""
    await stock.receive(EPOCH, "delivery", [("A", 12_000)])
    for start in range(0, 12_000, 4_000):
        batch = [order(number, ("A", 1)) for number in range(start, start + 4_000)]
        await reserve(stock, *batch)
        await stock.confirm(EPOCH, [reservation.order_id for reservation in batch])
    await reserve(stock, order(12_000, ("A", 1)), ttl_ms=TTL_MS + 1)
    found = await stock.expire_due(EPOCH, now_ms=UNTIL_MS + 1, limit=5)
    assert [expired.order_id for expired in found] == [oid(12_000)]


async def test_expires_a_whole_batch(stock: Stock) -> None:
    """MAX_BATCH holds end in one call when the limit allows."""
    await stock.receive(EPOCH, "delivery", [("A", MAX_BATCH)])
    await reserve(stock, *[order(number, ("A", 1)) for number in range(MAX_BATCH)])
    found = await stock.expire_due(EPOCH, now_ms=UNTIL_MS, limit=MAX_BATCH)
    assert {expired.order_id for expired in found} == {oid(number) for number in range(MAX_BATCH)}
    await stock.settle(EPOCH, [expired.order_id for expired in found])
    assert await stock.unsettled() == 0
    assert await pool(stock, "A") == (10 + MAX_BATCH, 0, 0)


@retention(10)
async def test_hold_taken_anew_keeps_its_own_deadline(stock: Stock) -> None:
    """An order that was released, forgotten and accepted again is not expired by its first deadline."""
    await reserve(stock, order(1, ("A", 1)), ttl_ms=40_000)
    await stock.release(EPOCH, [oid(1)])
    for seconds in (11, 22, 33):
        await reserve(stock, now_ms=NOW_MS + seconds * 1_000)
    (verdict,) = await reserve(stock, order(1, ("A", 1)), now_ms=NOW_MS + 34_000, ttl_ms=40_000)
    assert not verdict.replay
    assert await stock.expire_due(EPOCH, now_ms=NOW_MS + 40_000, limit=10) == []
    (expired,) = await stock.expire_due(EPOCH, now_ms=NOW_MS + 74_000, limit=10)
    assert expired.due_ms == NOW_MS + 74_000


@retention(10)
async def test_ends_are_remembered_as_long(stock: Stock) -> None:
    """An end is known for one to two retentions; expiry, too, lets memory go."""
    await reserve(stock, order(1, ("A", 1)))
    await stock.confirm(EPOCH, [oid(1)])
    await stock.expire_due(EPOCH, now_ms=NOW_MS + 10_000, limit=1)
    assert await stock.confirm(EPOCH, [oid(1)]) == [End.CONFIRMED]
    await stock.expire_due(EPOCH, now_ms=NOW_MS + 20_000, limit=1)
    assert await stock.confirm(EPOCH, [oid(1)]) == [End.UNKNOWN]
    assert await pool(stock, "A") == (9, 0, 1)


async def test_bounds(stock: Stock) -> None:
    """Calls out of bounds are the caller's mistake."""
    many = [oid(number) for number in range(MAX_BATCH + 1)]
    for call in (stock.confirm, stock.release, stock.settle):
        with pytest.raises(ValueError, match="at most"):
            await call(EPOCH, many)
        with pytest.raises(ValueError, match="bytes"):
            await call(EPOCH, [b"short"])
    for limit in (0, MAX_BATCH + 1):
        with pytest.raises(ValueError, match="limit"):
            await stock.expire_due(EPOCH, now_ms=NOW_MS, limit=limit)
