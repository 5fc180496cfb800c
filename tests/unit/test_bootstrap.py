"""Ledger and stock agree on an epoch, or nobody starts."""

from dataclasses import replace
from uuid import uuid4

import pytest
from builders import RETENTION_S, SETTINGS, World, world

from agents.bootstrap import ensure_epoch
from streams.errors import Fenced
from streams.stores.stock_fake import FakeStock

MANUAL = replace(SETTINGS, stock_auto_rebuild=False)


async def ensure(made: World, *, manual: bool = False) -> int:
    """Make a world's stock ready."""
    return await ensure_epoch(made.ledger, made.stock, MANUAL if manual else SETTINGS, made.clock)


async def test_a_new_installation_gets_its_first_epoch() -> None:
    """Nothing issued, nothing carried: the first is issued and installed, by hand or not; a repeat finds it so."""
    made = World()
    assert await ensure(made, manual=True) == 1
    carried = await made.stock.carried()
    assert carried == (1, await made.ledger.installation(), None, False)
    assert await ensure(made) == 1
    assert made.ledger.epochs == ["first"]


async def test_a_crash_between_issue_and_install_is_finished() -> None:
    """An epoch was issued and never installed: the stock is filled under one that is."""
    made = World()
    await made.ledger.issue_epoch("first")
    assert await ensure(made) == 2
    assert await made.stock.epoch() == 2


@pytest.mark.parametrize("restarted", [False, True], ids=["empty", "restarted"])
async def test_a_lost_stock_is_rebuilt(restarted: bool) -> None:
    """Empty beside full books, or restarted: it gets from the ledger what it had, under a new epoch."""
    made = await world({"TEA": 10, "NONE": 0})
    shelves = [pool async for pool in made.stock.pools()]
    if restarted:
        made.stock.restart()
    else:
        made.stock = FakeStock(dedupe_retention_s=RETENTION_S)
    assert await ensure(made) == 2
    assert [pool async for pool in made.stock.pools()] == shelves
    assert not await made.stock.receive(2, "opening#0", [("TEA", 10)])


@pytest.mark.parametrize("restarted", [False, True], ids=["empty", "restarted"])
async def test_rebuilding_may_be_left_to_people(restarted: bool) -> None:
    """Told not to, nobody rebuilds; the error says how."""
    made = await world()
    if restarted:
        made.stock.restart()
    else:
        made.stock = FakeStock(dedupe_retention_s=RETENTION_S)
    with pytest.raises(Fenced, match=r"restarted or promoted.*rebuild" if restarted else r"no epoch.*rebuild"):
        await ensure(made, manual=True)
    assert made.ledger.epochs == ["first"]


async def test_a_stock_of_another_ledger_is_refused() -> None:
    """A stock of another installation is not touched, whatever its epoch, and no epoch is issued."""
    made = await world()
    await made.stock.begin_rebuild(2, other := uuid4(), take_over=True)
    for filled in (False, True):
        if filled:
            await made.stock.install_epoch(2)
        with pytest.raises(Fenced, match=r"another installation.*FLOODWAY_REDIS_URL"):
            await ensure(made)
    assert (await made.stock.carried()).installation == other
    assert made.ledger.epochs == ["first"]


@pytest.mark.parametrize("issued", [0, 1])
async def test_a_stock_newer_than_the_ledger_is_refused(issued: int) -> None:
    """A ledger that is an older copy, or new, must not empty a stock that others sell from."""
    made = World()
    await made.stock.install_epoch(3)
    for _ in range(issued):
        await made.ledger.issue_epoch("first")
    with pytest.raises(Fenced, match=f"carries epoch 3, the ledger's newest is {issued or 'none'}"):
        await ensure(made)
    assert await made.stock.epoch() == 3
    assert len(made.ledger.epochs) == issued
