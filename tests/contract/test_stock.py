"""Reserving, on the fake and on a real server."""

import pytest
from stock_kit import EPOCH, NOW_MS, TTL_MS, books, campaign, codes, oid, order, pool, reserve, retention

from streams.core.stock import Code, Verdict
from streams.stores.stock import MAX_BATCH, MAX_ORDER_UNITS, Stock

pytest_plugins = ["stock_fixtures"]

UNTIL_MS = NOW_MS + TTL_MS


async def test_accepts_and_holds(stock: Stock) -> None:
    """An accepted order holds its units and carries its id and times."""
    assert await reserve(stock, order(1, ("A", 3))) == [Verdict(Code.ACCEPTED, False, False, oid(1), NOW_MS, UNTIL_MS)]
    assert await pool(stock, "A") == (7, 3, 0)
    (hold,) = [hold async for hold in stock.holds()]
    assert hold == (oid(1), "main", UNTIL_MS, (("A", 3),))


async def test_refusal_holds_nothing(stock: Stock) -> None:
    """A refused order holds nothing and has no deadline."""
    assert await reserve(stock, order(1, ("A", 11))) == [Verdict(Code.OUT_OF_STOCK, False, False, oid(1), NOW_MS, 0)]
    assert await pool(stock, "A") == (10, 0, 0)


async def test_last_unit_exactly(stock: Stock) -> None:
    """The last unit goes to exactly one order, within a batch and across batches."""
    assert await codes(stock, order(1, ("B", 4)), order(2, ("B", 1)), order(3, ("B", 1))) == [0, 0, 1]
    assert await codes(stock, order(4, ("B", 1))) == [Code.OUT_OF_STOCK]
    assert await pool(stock, "B") == (0, 5, 0)


async def test_all_lines_or_none(stock: Stock) -> None:
    """One line that cannot be had keeps the order from having any; what it left goes to the next."""
    batch = [order(1, ("A", 10), ("B", 6)), order(2, ("A", 10), ("B", 5)), order(3, ("A", 1))]
    assert await codes(stock, *batch) == [Code.OUT_OF_STOCK, Code.ACCEPTED, Code.OUT_OF_STOCK]
    assert await books(stock) == {("A", "main"): (0, 10, 0), ("B", "main"): (0, 5, 0)}


async def test_same_sku_adds_up(stock: Stock) -> None:
    """The same SKU on several lines is added up, when it is taken and when it is given back."""
    assert await codes(stock, order(1, ("B", 3), ("A", 1), ("B", 3)), order(2, ("B", 3), ("B", 2))) == [1, 0]
    assert await pool(stock, "B") == (0, 5, 0)
    assert [hold.quantities async for hold in stock.holds()] == [(("B", 5),)]
    await stock.release(EPOCH, [oid(2)])
    assert await pool(stock, "B") == (5, 0, 0)


@pytest.mark.parametrize(("lines", "code"), [((("A", 1),), Code.ACCEPTED), ((("A", 99),), Code.OUT_OF_STOCK)])
async def test_repeat_is_answered_from_memory(stock: Stock, lines: tuple[tuple[str, int], ...], code: Code) -> None:
    """A repeated key gets the first decision with its times, accepted or refused, and takes nothing more."""
    (first,) = await reserve(stock, order(1, *lines))
    before = await books(stock)
    (again,) = await reserve(stock, order(1, *lines), now_ms=NOW_MS + 5_000)
    assert first.code is code
    assert again == first._replace(replay=True)
    assert await books(stock) == before


async def test_refusals_are_remembered_when_stock_comes(stock: Stock) -> None:
    """A repeat of a refused submission stays refused though there is stock now: one decision per submission."""
    await reserve(stock, order(1, ("A", 11)))
    await stock.receive(EPOCH, "second delivery", [("A", 5)])
    assert await codes(stock, order(1, ("A", 11)), order(2, ("A", 11))) == [Code.OUT_OF_STOCK, Code.ACCEPTED]


async def test_repeat_within_a_batch(stock: Stock) -> None:
    """A repeat in the same batch is a replay of what was decided a moment ago, be it accepted or refused."""
    taken, refused = order(1, ("A", 6)), order(2, ("A", 6))
    verdicts = await reserve(stock, taken, refused, taken, refused, taken)
    assert [verdict.code for verdict in verdicts] == [0, 1, 0, 1, 0]
    assert [verdict.replay for verdict in verdicts] == [False, False, True, True, True]
    assert {verdict.held_until_ms for verdict in verdicts} == {UNTIL_MS, 0}
    assert await pool(stock, "A") == (4, 6, 0)


async def test_conflict(stock: Stock) -> None:
    """A known key with another fingerprint is a conflict that carries the first order's decision."""
    (first,) = await reserve(stock, order(1, ("A", 1)))
    other = order(2, ("A", 2), key=order(1).key, fingerprint=b"another!")
    (clash,) = await reserve(stock, other)
    assert clash == first._replace(replay=True, conflict=True)
    assert await pool(stock, "A") == (9, 1, 0)


async def test_conflict_within_a_batch(stock: Stock) -> None:
    """Two bodies under one key in one batch: the first is decided, the second conflicts with it."""
    clash = order(2, ("A", 2), key=order(1).key, fingerprint=b"another!")
    verdicts = await reserve(stock, order(1, ("A", 1)), clash, order(3, ("A", 9)))
    assert [(verdict.conflict, verdict.order_id) for verdict in verdicts[:2]] == [(False, oid(1)), (True, oid(1))]
    assert verdicts[2].code is Code.ACCEPTED


async def test_live_hold_is_memory(stock: Stock) -> None:
    """An order id that holds units is answered from its hold under any key, and the hold is not overwritten."""
    other = order(1, ("A", 5), key=b"another key 0016")
    (first,) = await reserve(stock, order(1, ("A", 3)))
    verdicts = await reserve(stock, other, other, now_ms=NOW_MS + 1_000)
    assert verdicts == [first._replace(replay=True)] * 2
    assert await pool(stock, "A") == (7, 3, 0)


async def test_live_hold_answers_only_what_would_be_accepted(stock: Stock) -> None:
    """A hold is looked up before units are taken; what would be refused anyway is refused, and the hold lives on."""
    other = order(1, ("A", 8), key=b"another key 0016")
    await reserve(stock, order(1, ("A", 3)))
    assert await codes(stock, other) == [Code.OUT_OF_STOCK]
    assert await pool(stock, "A") == (7, 3, 0)


async def test_same_sku_adds_up_before_a_hold_answers(stock: Stock) -> None:
    """Whether an order could be accepted at all is asked of its lines added up, also where a hold would answer."""
    other = order(1, ("B", 2), ("B", 2), key=b"another key 0016")
    await reserve(stock, order(1, ("B", 2)))
    assert await codes(stock, other) == [Code.OUT_OF_STOCK]


async def test_live_hold_within_a_batch(stock: Stock) -> None:
    """The same holds for a hold taken a moment before in the same batch."""
    other = order(1, ("A", 5), key=b"another key 0016")
    first, *replays = await reserve(stock, order(1, ("A", 3)), other, other)
    assert replays == [first._replace(replay=True)] * 2
    assert await pool(stock, "A") == (7, 3, 0)


async def test_reasons_of_main(stock: Stock) -> None:
    """A SKU nobody received is unknown, and that weighs more than another line being out of stock."""
    batch = [order(1, ("Z", 1)), order(2, ("A", 99), ("Z", 1)), order(3, ("A", 99))]
    assert await codes(stock, *batch) == [Code.UNKNOWN_SKU, Code.UNKNOWN_SKU, Code.OUT_OF_STOCK]


async def test_reasons_of_a_promotion(stock: Stock) -> None:
    """Of several reasons the first of this order is told: promotion, its window, its SKUs, limit, stock."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 2), limit=3))
    end_ms = NOW_MS + 3_600_000
    unknown = order(1, ("Z", 9), promotion="q")
    assert await codes(stock, unknown) == [Code.UNKNOWN_PROMOTION]
    assert await codes(stock, order(2, ("Z", 9), promotion="p"), now_ms=NOW_MS - 1) == [Code.PROMOTION_NOT_OPEN]
    assert await codes(stock, order(3, ("Z", 9), promotion="p"), now_ms=end_ms) == [Code.PROMOTION_CLOSED]
    batch = [order(4, ("B", 9), promotion="p"), order(5, ("A", 4), promotion="p"), order(6, ("A", 3), promotion="p")]
    assert await codes(stock, *batch) == [Code.NOT_IN_PROMOTION, Code.BUYER_LIMIT, Code.OUT_OF_STOCK]
    assert await codes(stock, order(7, ("A", 2), promotion="p"), now_ms=end_ms - 1) == [Code.ACCEPTED]
    await stock.close_promotion(EPOCH, "p")
    # A promotion closed by hand before it opens will not open: that it is closed is the more useful answer.
    assert await codes(stock, order(8, ("A", 1), promotion="p"), now_ms=NOW_MS - 1) == [Code.PROMOTION_CLOSED]


async def test_empty_batch(stock: Stock) -> None:
    """No submissions, no verdicts."""
    assert await reserve(stock) == []


async def test_largest_batch(stock: Stock) -> None:
    """MAX_BATCH orders of a SKU each, more than Lua passes to one call, are decided in one batch, in order."""
    skus = [f"SKU-{number}" for number in range(MAX_BATCH)]
    await stock.receive(EPOCH, "delivery", [(sku, 1) for sku in skus])
    batch = [order(number, (sku, 1), ("A", 1)) for number, sku in enumerate(skus)]
    verdicts = await reserve(stock, *batch)
    assert [verdict.code for verdict in verdicts] == [Code.ACCEPTED] * 10 + [Code.OUT_OF_STOCK] * (MAX_BATCH - 10)
    assert [verdict.order_id for verdict in verdicts] == [reservation.order_id for reservation in batch]
    again = await reserve(stock, *batch)
    assert again == [verdict._replace(replay=True) for verdict in verdicts]
    assert await codes(stock, *[order(MAX_BATCH + n, (sku, 1)) for n, sku in enumerate(skus)]) == [1] * 10 + [0] * 4990
    ids = [hold.order_id async for hold in stock.holds()]
    assert sorted(ids) == sorted([oid(n) for n in range(10)] + [oid(MAX_BATCH + n) for n in range(10, MAX_BATCH)])
    found = [pool async for pool in stock.pools(skus)]
    assert {(pool.free, pool.held) for pool in found} == {(0, 1)}
    assert len(found) == MAX_BATCH


async def test_many_lines_in_one_order(stock: Stock) -> None:
    """An order of many lines is held and given back whole."""
    skus = [f"SKU-{number}" for number in range(5_000)]
    await stock.receive(EPOCH, "delivery", [(sku, 2) for sku in skus])
    assert await codes(stock, order(1, *[(sku, 2) for sku in skus]), order(2, ("SKU-4999", 1))) == [0, 1]
    await stock.release(EPOCH, [oid(1)])
    assert {(pool.free, pool.held) async for pool in stock.pools(skus)} == {(2, 0)}


async def test_big_quantities_stay_exact(stock: Stock) -> None:
    """Up to 2**53 - 1 units are counted to the unit."""
    everything = 2**53 - 1
    await stock.receive(EPOCH, "delivery", [("M", everything)])
    assert await codes(stock, order(1, ("M", MAX_ORDER_UNITS)), order(2, ("M", 1))) == [0, 0]
    assert await pool(stock, "M") == (everything - MAX_ORDER_UNITS - 1, MAX_ORDER_UNITS + 1, 0)
    await stock.confirm(EPOCH, [oid(1)])
    await stock.release(EPOCH, [oid(2)])
    assert await pool(stock, "M") == (everything - MAX_ORDER_UNITS, 0, MAX_ORDER_UNITS)


@pytest.mark.parametrize(
    "batch",
    [
        [order(number, ("A", 1)) for number in range(MAX_BATCH + 1)],
        [order(1)],
        [order(1, ("A", 1)), order(2, ("A", 0))],
        [order(1, ("A", -1))],
        [order(1, ("A", MAX_ORDER_UNITS + 1))],
        [order(1, ("A", MAX_ORDER_UNITS), ("B", 1), ("A", 1))],
        [order(1, ("A", 3), ("A", -1))],
        [order(1, ("A", 1), key=b"short")],
        [order(1, ("A", 1), fingerprint=b"longer than eight")],
        [order(1, ("A", 1))._replace(order_id=b"")],
    ],
    ids=[
        "too many",
        "no lines",
        "zero",
        "negative",
        "too much",
        "adds up to too much",
        "negative among others",
        "key",
        "fingerprint",
        "id",
    ],
)
async def test_what_no_batch_can_be(stock: Stock, batch: list[object]) -> None:
    """A batch out of bounds is the caller's mistake and changes nothing."""
    with pytest.raises(ValueError, match=r"\d|nothing"):
        await reserve(stock, *batch)  # type: ignore[arg-type]  # a list of reservations, parametrised
    assert await books(stock) == {("A", "main"): (10, 0, 0), ("B", "main"): (5, 0, 0)}


@retention(10)
async def test_memory_lives_one_to_two_retentions(stock: Stock) -> None:
    """A decision is remembered for a retention at least, however written it is in its generation, then forgotten."""
    late_ms = NOW_MS + 9_999
    assert await codes(stock, order(1, ("A", 99))) == [1]
    assert await codes(stock, order(2, ("A", 99)), now_ms=late_ms) == [1]
    await stock.receive(EPOCH, "delivery", [("A", 1_000)])
    assert await codes(stock, order(2, ("A", 99)), now_ms=late_ms + 10_000) == [1]
    assert await codes(stock, order(1, ("A", 99)), now_ms=late_ms + 10_001) == [1]
    assert await codes(stock, order(1, ("A", 99)), order(2, ("A", 99)), now_ms=late_ms + 20_002) == [0, 0]


@retention(10)
async def test_forgotten_key_with_live_hold(stock: Stock) -> None:
    """When a key is forgotten but its hold lives, the hold answers and the units are not taken again."""
    (first,) = await reserve(stock, order(1, ("A", 3)))
    for seconds in (11, 22, 33):
        await reserve(stock, now_ms=NOW_MS + seconds * 1_000)
    assert await reserve(stock, order(1, ("A", 3)), now_ms=NOW_MS + 34_000) == [first._replace(replay=True)]
    assert await pool(stock, "A") == (7, 3, 0)


@retention(10)
async def test_clock_that_jumps(stock: Stock) -> None:
    """One call drops one generation at most, and a clock put back does not keep memory for ever."""
    await reserve(stock, order(1, ("A", 99)))
    (far,) = await reserve(stock, order(1, ("A", 99)), now_ms=NOW_MS + 10**10)
    assert far.replay
    await reserve(stock, order(2, ("A", 99)), now_ms=NOW_MS)
    for seconds in (11, 22):
        await reserve(stock, now_ms=NOW_MS + seconds * 1_000)
    (verdict,) = await reserve(stock, order(2, ("A", 99)), now_ms=NOW_MS + 33_000)
    assert not verdict.replay
