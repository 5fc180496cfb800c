"""The ledger fails over and may have lost what came last: the stock goes on as it is, and nothing is sold twice."""

import copy
from dataclasses import replace
from functools import partial

import msgspec
import pytest
from builders import (
    RETENTION_S,
    SETTINGS,
    World,
    accepted,
    chunk,
    promotion,
    report,
    submission,
    take_in,
    world,
)

from streams.agreement import agreed_epoch
from streams.core.books import PromotionRecord, PromotionState, State
from streams.errors import Fenced
from streams.guard import StockGuard
from streams.lifecycle import Lifecycle
from streams.messages import Decision, Outcome
from streams.parts import Parts
from streams.rebuild import ensure_stock, rebuild_stock
from streams.stocktake import take_stock

LOST = "lost"


def recovering(made: World, *, may_rebuild: bool = True) -> Parts:
    """A process that does what has to be done about a ledger that moved."""
    recover = partial(
        ensure_stock,
        made.ledger,
        made.stock,
        made.clock,
        retention_s=RETENTION_S,
        reason=LOST,
        may_rebuild=may_rebuild,
    )
    return replace(made.parts(settings=SETTINGS), recover=recover)


def content(decision: Decision) -> object:
    """A decision without its position in the log, which is that of the write."""
    return msgspec.structs.replace(decision, read_token=None)


class Standby:
    """What a replica has at this moment; `promote` puts it in the ledger's place."""

    def __init__(self, made: World) -> None:
        self._made, self._has = made, copy.deepcopy(made.ledger.__dict__)

    def promote(self) -> None:
        """Everything later is lost."""
        ledger = self._made.ledger
        timeline = ledger.timeline
        ledger.__dict__.update(copy.deepcopy(self._has))
        ledger.timeline = timeline + 1


async def differences(made: World) -> set[str]:
    """The kinds of differences that a stocktake tells."""
    return {one.kind for one in (await take_stock(made.parts(), looks=1, look_first_s=0.001)).differences}


@pytest.mark.parametrize("may_rebuild", [True, False])
async def test_a_stock_that_lost_nothing_goes_on_as_it_is(may_rebuild: bool) -> None:
    """Under a new epoch, with all that it holds and remembers; also where rebuilding is left to people."""
    made = await world({"TEA": 10})
    first = await accepted(made, submission("before"))
    made.ledger.timeline += 1
    assert await agreed_epoch(made.ledger, made.stock) is None
    with pytest.raises(Fenced, match="issued on timeline 1, Postgres is at 2"):
        await made.ledger.save_promotion(PromotionRecord(promotion(), PromotionState.OPEN), epoch=1)
    parts = recovering(made, may_rebuild=may_rebuild)
    assert await take_in(parts, [chunk(submission("after"), submission("before"), first=1)]) is None
    assert made.ledger.epochs == ["first", "postgres failed over"]
    assert await agreed_epoch(made.ledger, made.stock) == 2
    assert [d.order_id for d in made.decisions() if d.submission_id == "before"] == [first[0]] * 2
    assert await made.books() == {("TEA", "main"): (6, 4, 0)}


async def test_what_the_ledger_lost_is_not_sold_again_and_comes_back_when_it_is_read_again() -> None:
    """Announced, and lost with the old primary: still held, told by a stocktake, and the same when read once more."""
    made = await world({"TEA": 6})
    parts = recovering(made)
    standby = Standby(made)
    gone = [chunk(submission("s-1"), submission("s-2"))]
    assert await take_in(parts, gone) is None
    told = {d.submission_id: d for d in made.decisions()}
    standby.promote()
    assert await take_in(parts, [chunk(submission("s-3"), submission("s-4"), first=2)]) is None
    assert {d.submission_id: d.outcome for d in made.decisions()} == {
        "s-1": Outcome.ACCEPTED,
        "s-2": Outcome.ACCEPTED,
        "s-3": Outcome.ACCEPTED,
        "s-4": Outcome.REJECTED,
    }
    assert await differences(made) == {"pool", "leaked_hold"}
    assert await take_in(parts, [chunk(submission("s-1"), submission("s-2"))]) is None
    for again in made.decisions()[-2:]:
        assert content(again) == content(told[again.submission_id])
    assert await differences(made) == set()
    assert await made.books() == {("TEA", "main"): (0, 6, 0)}


async def test_a_payment_that_the_ledger_lost_is_taken_once_more() -> None:
    """The stock has sold the units; the report, read again, writes down what is missing and sells nothing twice."""
    made = await world({"TEA": 3})
    (order,) = await accepted(made, submission("s-1"))
    standby = Standby(made)
    process = Lifecycle(recovering(made))
    await process.take(chunk(report(order, "1")))
    standby.promote()
    assert made.ledger.accepted[order].state is State.HELD
    await process.take(chunk(report(order, "1")))
    assert made.ledger.accepted[order].state is State.CONFIRMED
    assert await differences(made) == set()


async def test_an_epoch_that_was_lost_does_not_stop_the_stock() -> None:
    """Issued, installed, and lost with the old primary: the stock is newer than the ledger, and is taken over."""
    made = await world({"TEA": 3})
    standby = Standby(made)
    await rebuild_stock(made.ledger, made.stock, made.clock, retention_s=RETENTION_S, reason=LOST)
    standby.promote()
    assert (await made.ledger.epoch(), await made.stock.epoch()) == (1, 2)
    assert await take_in(recovering(made), [chunk(submission("s-1"))]) is None
    assert await agreed_epoch(made.ledger, made.stock) is not None
    assert made.ledger.epochs[-1] == "postgres failed over"


async def test_a_takeover_that_broke_off_is_finished() -> None:
    """The epoch was issued and its process died: the next one still takes the stock over, and does not rebuild it."""
    made = await world({"TEA": 3})
    standby = Standby(made)
    assert await take_in(recovering(made), [chunk(submission("s-1"))]) is None
    standby.promote()
    await made.ledger.issue_epoch("postgres failed over")
    assert await take_in(recovering(made), [chunk(submission("s-2"), first=1)]) is None
    assert made.ledger.epochs == ["first", "postgres failed over", "postgres failed over"]
    assert await differences(made) == {"pool", "leaked_hold"}  # s-1: a rebuild would have sold its unit again


async def test_a_stock_that_was_restarted_too_is_rebuilt() -> None:
    """Nobody knows what it lost, so the ledger counts."""
    made = await world({"TEA": 3})
    made.ledger.timeline += 1
    made.stock.restart()
    assert await take_in(recovering(made), [chunk(submission("s-1"))]) is None
    assert made.ledger.epochs == ["first", LOST]


async def test_an_older_stock_that_lived_on_is_not_taken_over() -> None:
    """Its epoch ended by a rebuild, before the failover: it is rebuilt once more."""
    made = await world({"TEA": 3})
    await made.ledger.issue_epoch("rebuilt elsewhere")
    made.ledger.timeline += 1
    assert await take_in(recovering(made), [chunk(submission("s-1"))]) is None
    assert made.ledger.epochs == ["first", "rebuilt elsewhere", LOST]


async def test_who_still_writes_to_the_old_primary_is_refused() -> None:
    """Split: one process sees the old ledger, the other took the stock over. The first decides nothing any more."""
    made = await world({"TEA": 3})
    old = copy.deepcopy(made.ledger)
    made.ledger.timeline += 1
    await ensure_stock(made.ledger, made.stock, made.clock, retention_s=RETENTION_S, reason=LOST)
    with pytest.raises(Fenced, match="carries epoch 2, newer than 1"):
        await made.stock.settle(1, [])
    with pytest.raises(Fenced, match="carries epoch 2, the ledger's newest is 1: the ledger is an older copy"):
        await ensure_stock(old, made.stock, made.clock, retention_s=RETENTION_S, reason=LOST)
    guard = StockGuard(made.ledger, max_delay_s=0.001)
    await guard.call("settle", lambda epoch: made.stock.settle(epoch, []))
