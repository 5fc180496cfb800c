"""The contract of sold units that go back on the shelf: once by id, to their pool, or to main once that is closed."""

import pytest
from stock_kit import EPOCH, books, campaign, codes, oid, order, pool, reserve

from streams.core.stock import Code, End, Restock
from streams.errors import Fenced
from streams.stores.stock import Stock

pytest_plugins = ["stock_fixtures"]

S, TO_MAIN = End.RESTOCKED, End.RESTOCKED_TO_MAIN


def back(number: int, *lines: tuple[str, int], where: str = "main") -> Restock:
    """Units that go back under an id made of a number."""
    return Restock(oid(number), where, lines)


async def sell(stock: Stock, number: int, *lines: tuple[str, int], promotion: str | None = None) -> None:
    """One order that is paid."""
    assert await codes(stock, order(number, *lines, promotion=promotion)) == [Code.ACCEPTED]
    assert await stock.confirm(EPOCH, [oid(number)]) == [End.CONFIRMED]


async def test_units_are_free_again_once(stock: Stock) -> None:
    """Sold becomes free; the same id again changes nothing, in another call or the same; others add up."""
    await sell(stock, 1, ("A", 4), ("B", 2))
    assert await pool(stock, "A") == (6, 0, 4)
    one, other = back(101, ("A", 1)), back(102, ("A", 2), ("B", 2))
    assert await stock.restock(EPOCH, [one]) == [S]
    assert await stock.restock(EPOCH, [one, other, other]) == [S, S, S]
    assert await stock.restock(EPOCH, []) == []
    assert await books(stock) == {("A", "main"): (9, 0, 1), ("B", "main"): (5, 0, 0)}
    assert await codes(stock, order(2, ("A", 9))) == [Code.ACCEPTED]
    assert await codes(stock, order(3, ("A", 1))) == [Code.OUT_OF_STOCK]


async def test_units_of_a_promotion_go_back_to_it_while_it_is_open(stock: Stock) -> None:
    """Then to main; what was told stays true when it is asked again after the promotion has closed."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 5)))
    await sell(stock, 1, ("A", 4), promotion="p")
    assert await stock.restock(EPOCH, [back(101, ("A", 1), where="promo:p")]) == [S]
    assert await pool(stock, "A", "promo:p") == (2, 0, 3)
    await stock.close_promotion(EPOCH, "p")
    assert await stock.restock(EPOCH, [back(101, ("A", 1), where="promo:p")]) == [S]
    assert await stock.restock(EPOCH, [back(102, ("A", 3), where="promo:p")]) == [TO_MAIN]
    assert await books(stock) == {("A", "main"): (10, 0, 0), ("B", "main"): (5, 0, 0), ("A", "promo:p"): (0, 0, 0)}


async def test_what_was_bought_still_counts(stock: Stock) -> None:
    """Whoever sends units back has had them: the limit of a promotion is no revolving door."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 5), limit=2))
    await sell(stock, 1, ("A", 2), promotion="p")
    assert await stock.restock(EPOCH, [back(101, ("A", 2), where="promo:p")]) == [S]
    assert await codes(stock, order(2, ("A", 1), promotion="p")) == [Code.BUYER_LIMIT]


async def test_a_restock_is_fenced_and_bounded(stock: Stock) -> None:
    """Under another epoch nothing moves; ids and units that cannot be are the caller's mistake."""
    await sell(stock, 1, ("A", 2))
    with pytest.raises(Fenced):
        await stock.restock(EPOCH + 1, [back(101, ("A", 2))])
    for wrong in (back(101), back(101, ("A", 0)), Restock(b"short", "main", (("A", 1),))):
        with pytest.raises(ValueError, match=r"must be|at least one"):
            await stock.restock(EPOCH, [wrong])
    with pytest.raises(ValueError, match="no pool"):
        await stock.restock(EPOCH, [back(101, ("A", 1), where="attic")])
    assert await pool(stock, "A") == (8, 0, 2)
    assert [one.replay for one in await reserve(stock, order(9, ("A", 1)))] == [False]
