"""Promotions from opening to sweep, with a crash between any two steps."""

from collections.abc import Awaitable, Callable
from typing import Literal

import pytest
from builders import Crash, Trouble, World, accepted, at_call, promotion, submission, take_in, world
from builders import chunk as chunk_of

from streams.core.books import PromotionRecord, PromotionState
from streams.core.stock import Promotion
from streams.errors import Fenced, Refused, UnknownThing
from streams.messages import Reason
from streams.parts import Parts
from streams.promotions import advance_promotions, close_promotion, open_promotion
from streams.receiving import receive

When = Literal["before", "after"]
SHELF = {"TEA": 10, "CUP": 4}
P1 = promotion(quota=(("TEA", 6), ("CUP", 4)))
OPENED = {("TEA", "main"): (4, 0, 0), ("TEA", "promo:p1"): (6, 0, 0), ("CUP", "promo:p1"): (4, 0, 0)}
WHOLE = {("TEA", "main"): (10, 0, 0), ("CUP", "main"): (4, 0, 0)}


async def states(made: World) -> dict[str, PromotionState]:
    """Each promotion's state in the ledger."""
    return {r.promotion.promotion_id: r.state for r in await made.ledger.promotions()}


async def survive(made: World, trouble: Trouble, command: Callable[[Parts], Awaitable[object]]) -> bool:
    """Give a command that may die; returns whether it did."""
    try:
        await command(made.parts(trouble))
    except Crash:
        return True
    return False


async def test_a_promotion_opens_sells_and_closes() -> None:
    """The quota leaves main, orders draw from it, what is left comes back, what was held comes back when it ends."""
    made = await world(SHELF)
    await open_promotion(made.parts(), P1)
    assert await made.books() == OPENED
    await accepted(made, submission(promotion_id="p1"))
    assert await close_promotion(made.parts(), "p1") == [("TEA", 4), ("CUP", 4)]
    assert await made.books() == {
        ("TEA", "main"): (8, 0, 0),
        ("TEA", "promo:p1"): (0, 2, 0),
        ("CUP", "main"): (4, 0, 0),
    }
    assert await states(made) == {"p1": PromotionState.CLOSED}


async def test_repeats_are_harmless() -> None:
    """Opening twice and closing twice move once; the second closing tells what the first has swept."""
    made = await world(SHELF)
    for _ in range(2):
        await open_promotion(made.parts(), P1)
    assert await made.books() == OPENED
    assert [await close_promotion(made.parts(), "p1") for _ in range(2)] == [[("TEA", 6), ("CUP", 4)]] * 2
    assert await made.books() == WHOLE


async def test_too_little_in_main_opens_nothing() -> None:
    """All or nothing; the error names what is short, the ledger keeps that it failed, and a later try may succeed."""
    made = await world({"TEA": 10, "CUP": 1})
    with pytest.raises(Refused, match=r"CUP \(short of 3\).*Nothing was moved"):
        await open_promotion(made.parts(), P1)
    assert await made.books() == {("TEA", "main"): (10, 0, 0), ("CUP", "main"): (1, 0, 0)}
    assert await states(made) == {"p1": PromotionState.FAILED}
    await receive(made.parts(), "more", [("CUP", 3)])
    await open_promotion(made.parts(), P1)
    assert await made.books() == OPENED
    assert await states(made) == {"p1": PromotionState.OPEN}


async def test_a_failed_promotion_may_be_opened_on_other_terms() -> None:
    """Nothing came of it, so its name is free."""
    made = await world({"TEA": 10})
    with pytest.raises(Refused):
        await open_promotion(made.parts(), P1)
    await open_promotion(made.parts(), promotion(quota=(("TEA", 3),)))
    assert await made.books() == {("TEA", "main"): (7, 0, 0), ("TEA", "promo:p1"): (3, 0, 0)}


@pytest.mark.parametrize("closed", [False, True])
async def test_a_name_is_taken_once(*, closed: bool) -> None:
    """Other terms under a name that is open are refused, any terms under one that has closed."""
    made = await world(SHELF)
    await open_promotion(made.parts(), P1)
    if closed:
        await close_promotion(made.parts(), "p1")
    before = await made.books()
    with pytest.raises(Refused, match="choose another name"):
        await open_promotion(made.parts(), P1 if closed else promotion(quota=(("TEA", 1),)))
    assert await made.books() == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (P1._replace(closes_at_ms=P1.opens_at_ms), "close before it opens"),
        (P1._replace(quota=()), "has no SKUs"),
        (P1._replace(quota=(("TEA", 1), ("TEA", 2))), "names a SKU twice"),
        (P1._replace(quota=(("TEA", 0),)), "below zero"),
        (P1._replace(buyer_limit=-1), "below zero"),
        (P1._replace(quota=tuple((f"S{n}", 1) for n in range(5_001))), "split it"),
    ],
)
async def test_terms_that_make_no_sense_are_refused_unwritten(wrong: Promotion, said: str) -> None:
    """Said before anything is written anywhere."""
    made = await world(SHELF)
    with pytest.raises(Refused, match=said):
        await open_promotion(made.parts(), wrong)
    assert await states(made) == {}


async def test_an_unknown_promotion_cannot_be_closed() -> None:
    """Nor one that failed: neither has anything to sweep."""
    made = await world({"TEA": 1})
    with pytest.raises(UnknownThing):
        await close_promotion(made.parts(), "p1")
    with pytest.raises(Refused):
        await open_promotion(made.parts(), P1)
    with pytest.raises(UnknownThing):
        await close_promotion(made.parts(), "p1")


async def test_without_an_epoch_nothing_moves() -> None:
    """A command on an installation that was never made ready says so."""
    with pytest.raises(Fenced, match="floodway init"):
        await open_promotion(World().parts(), P1)


POINTS = range(1, 8)


@pytest.mark.parametrize("number", POINTS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("by", ["the keeper", "a repeat"])
async def test_an_opening_that_died_is_finished(number: int, when: When, by: str) -> None:
    """Whoever finds it half-way, wherever it died: opened once, stock and ledger agree."""
    made = await world(SHELF)
    died = await survive(made, at_call(number, when), lambda parts: open_promotion(parts, P1))
    asked_for = await states(made) != {}
    assert asked_for or died
    await (advance_promotions(made.parts()) if by == "the keeper" else open_promotion(made.parts(), P1))
    opened = asked_for or by == "a repeat"
    assert await made.books() == (OPENED if opened else WHOLE)
    assert await states(made) == ({"p1": PromotionState.OPEN} if opened else {})
    assert await advance_promotions(made.parts()) == 0


@pytest.mark.parametrize("number", POINTS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("by", ["the keeper", "a repeat"])
async def test_a_closing_that_died_is_finished(number: int, when: When, by: str) -> None:
    """Swept once, wherever it died."""
    made = await world(SHELF)
    await open_promotion(made.parts(), P1)
    died = await survive(made, at_call(number, when), lambda parts: close_promotion(parts, "p1"))
    asked_for = await states(made) != {"p1": PromotionState.OPEN}
    assert asked_for or died
    await (advance_promotions(made.parts()) if by == "the keeper" else close_promotion(made.parts(), "p1"))
    closed = asked_for or by == "a repeat"
    assert await made.books() == (WHOLE if closed else OPENED)
    assert await states(made) == {"p1": PromotionState.CLOSED if closed else PromotionState.OPEN}


@pytest.mark.parametrize("number", POINTS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_opening_that_died_can_be_closed(number: int, when: When) -> None:
    """Closing carries a half-open promotion through to its end, so that nothing stays set aside."""
    made = await world(SHELF)
    await survive(made, at_call(number, when), lambda parts: open_promotion(parts, P1))
    if await states(made):
        await close_promotion(made.parts(), "p1")
        assert await states(made) == {"p1": PromotionState.CLOSED}
    assert await made.books() == WHOLE


async def test_the_points_of_crash_cover_opening_and_closing() -> None:
    """The numbers in POINTS reach past the last call of both commands, so no point is missed."""
    made = await world(SHELF)
    opening, closing = Trouble(), Trouble()
    await open_promotion(made.parts(opening), P1)
    await close_promotion(made.parts(closing), "p1")
    assert len(opening.calls) in POINTS
    assert len(closing.calls) in POINTS
    assert {"stock.open_promotion", "ledger.save_promotion"} <= set(opening.calls)
    assert {"stock.close_promotion", "ledger.save_promotion"} <= set(closing.calls)


async def test_an_opening_that_died_for_want_of_stock_can_neither_stay_nor_block() -> None:
    """Asked for, dead, and main has too little: closing says so and marks it failed, and the keeper is not stopped."""
    made = await world({"TEA": 1})
    assert await survive(made, at_call(3), lambda parts: open_promotion(parts, P1))
    assert await states(made) == {"p1": PromotionState.OPENING}
    with pytest.raises(UnknownThing, match="never opened"):
        await close_promotion(made.parts(), "p1")
    assert await states(made) == {"p1": PromotionState.FAILED}
    assert await advance_promotions(made.parts()) == 0
    assert await made.books() == {("TEA", "main"): (1, 0, 0)}


async def test_an_opening_that_failed_for_one_and_went_through_for_another_is_finished() -> None:
    """Two try: one is told that main has too little; units come; the other opens it and dies; the one writes FAILED."""
    made = await world({"TEA": 5, "CUP": 4})
    await made.ledger.save_promotion(PromotionRecord(P1, PromotionState.OPENING))
    epoch = await made.ledger.epoch()
    assert epoch is not None
    assert await made.stock.open_promotion(epoch, P1) == [("TEA", 1)]
    await receive(made.parts(), "more", [("TEA", 5)])
    assert await made.stock.open_promotion(epoch, P1) == []
    await made.ledger.save_promotion(PromotionRecord(P1, PromotionState.FAILED))
    assert await advance_promotions(made.parts()) == 1
    assert await states(made) == {"p1": PromotionState.OPEN}
    assert await made.books() == OPENED
    assert await advance_promotions(made.parts()) == 0


async def test_the_keeper_marks_a_hopeless_opening_failed() -> None:
    """What was asked for and cannot be is settled by the keeper, not tried for ever."""
    made = await world({"TEA": 1})
    assert await survive(made, at_call(3), lambda parts: open_promotion(parts, P1))
    assert await advance_promotions(made.parts()) == 1
    assert await states(made) == {"p1": PromotionState.FAILED}
    assert await advance_promotions(made.parts()) == 0


async def test_the_keeper_closes_what_has_run_out() -> None:
    """At the end of its window, not before, and only that one."""
    made = await world(SHELF)
    await open_promotion(made.parts(), promotion("p1", (("TEA", 3),), hours=1))
    await open_promotion(made.parts(), promotion("p2", (("TEA", 2),), hours=2))
    made.clock.advance(3_599)
    assert await advance_promotions(made.parts()) == 0
    made.clock.advance(1)
    assert await advance_promotions(made.parts()) == 1
    assert await states(made) == {"p1": PromotionState.CLOSED, "p2": PromotionState.OPEN}
    assert await made.books() == {
        ("TEA", "main"): (8, 0, 0),
        ("TEA", "promo:p2"): (2, 0, 0),
        ("CUP", "main"): (4, 0, 0),
    }


async def test_one_promotion_that_stock_and_ledger_disagree_about_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the stock never heard of cannot be closed: that is told, and the next promotion is closed all the same."""
    made = await world(SHELF)
    lost = promotion("lost", (("TEA", 1),))
    await made.ledger.save_promotion(PromotionRecord(lost, PromotionState.OPEN))
    await open_promotion(made.parts(), promotion("p2", (("TEA", 2),)))
    made.clock.advance(3_600)
    assert await advance_promotions(made.parts()) == 1
    assert (await states(made))["p2"] is PromotionState.CLOSED
    assert "promotion lost stays open" in caplog.text
    assert await made.books() == WHOLE


async def test_no_order_slips_in_between_window_and_sweep() -> None:
    """Past its window a promotion accepts nothing, though the keeper has not come by yet."""
    made = await world(SHELF)
    await open_promotion(made.parts(), P1)
    made.clock.advance(3_600)
    assert await take_in(made.parts(), [chunk_of(submission(promotion_id="p1"))]) is None
    assert [d.reason for d in made.decisions()] == [Reason.PROMOTION_CLOSED]
