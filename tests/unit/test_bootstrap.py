"""Ledger and stock agree on an epoch, or nobody starts."""

from collections.abc import AsyncIterator

import pytest
from builders import RETENTION_S, World, world

from agents.bootstrap import ensure_epoch
from streams.core.books import Balance
from streams.errors import Fenced
from streams.stores.ledger_fake import FakeLedger
from streams.stores.stock_fake import FakeStock


async def test_a_new_installation_gets_its_first_epoch() -> None:
    """Nothing issued, nothing carried: the first is issued and installed; a repeat finds it so."""
    made = World()
    assert await ensure_epoch(made.ledger, made.stock) == 1
    assert await made.stock.epoch() == 1
    assert await ensure_epoch(made.ledger, made.stock) == 1
    assert made.ledger.epochs == ["first"]


async def test_a_crash_between_issue_and_install_is_finished() -> None:
    """An epoch was issued, the stock is empty and so are the books: it is installed, none is issued anew."""
    made = World()
    await made.ledger.issue_epoch("first")
    assert await ensure_epoch(made.ledger, made.stock) == 1
    assert await made.stock.epoch() == 1
    assert made.ledger.epochs == ["first"]


async def test_an_empty_stock_beside_full_books_is_a_lost_one() -> None:
    """To give it an epoch would be to sell from empty shelves; it stays without."""
    made = await world()
    lost = FakeStock(dedupe_retention_s=RETENTION_S)
    with pytest.raises(Fenced, match=r"Redis is empty.*newest data"):
        await ensure_epoch(made.ledger, lost)
    assert await lost.epoch() is None
    assert made.ledger.epochs == ["first"]


async def test_a_stock_of_another_ledger_is_refused() -> None:
    """A stock with an epoch beside a ledger without: they do not belong together, and none is issued."""
    made = World()
    await made.stock.install_epoch(4)
    with pytest.raises(Fenced, match=r"epoch 4.*do not belong together"):
        await ensure_epoch(made.ledger, made.stock)
    assert made.ledger.epochs == []


async def test_the_look_into_the_books_gives_its_connection_back() -> None:
    """A cursor left open would hold a connection, and closing the ledger would wait for it."""
    made, given_back = await world(), False

    class Watched(FakeLedger):
        async def balances(self) -> AsyncIterator[Balance]:
            nonlocal given_back
            try:
                async for balance in made.ledger.balances():
                    yield balance
            finally:
                given_back = True

    ledger = Watched()
    await ledger.issue_epoch("first")
    with pytest.raises(Fenced) as error:
        await ensure_epoch(ledger, FakeStock())
    assert error.traceback
    assert given_back


@pytest.mark.parametrize("carried", [1, 3])
async def test_a_stock_of_another_time_is_refused(carried: int) -> None:
    """An older epoch or a newer one: the data are not of this ledger's present."""
    made = World()
    await made.ledger.issue_epoch("first")
    await made.ledger.issue_epoch("second")
    await made.stock.install_epoch(carried)
    with pytest.raises(Fenced, match=f"carries epoch {carried}, the ledger issued 2"):
        await ensure_epoch(made.ledger, made.stock)
    assert await made.stock.epoch() == carried
