"""The contract of `take_steps`: each step once, in order, facts kept whatever the state."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from ledger_values import EPOCH, NOW, accepted, rejected, sold, step

from streams.core.books import Action, Balance, Movement, State, StepResult
from streams.core.stock import MAIN
from streams.stores.ledger import MAX_BATCH, Ledger

pytest_plugins = ["ledger_fixtures"]

TAKEN, REPEATED = StepResult.TAKEN, StepResult.REPEATED
NOT_EXPECTED, UNKNOWN = StepResult.NOT_EXPECTED, StepResult.UNKNOWN_ORDER


async def test_a_step_changes_state_and_moves_units(ledger: Ledger) -> None:
    """A payment turns held units into sold ones, and the order says when it changed."""
    made = accepted(1)
    await ledger.persist([made], EPOCH)
    token, results = await ledger.take_steps([step(made.order_id, "e1", movements=sold(made))], EPOCH)
    assert results == [TAKEN]
    order = await ledger.find_order(made.order_id, token=token)
    assert order is not None
    assert (order.state, order.changed_at) == (State.CONFIRMED, NOW + timedelta(seconds=60))
    assert [b async for b in ledger.balances()] == [Balance("TEA", MAIN, -2, 0, 2)]
    assert await ledger.steps(made.order_id, token=token) == [
        (NOW + timedelta(seconds=60), "payment.succeeded", "pay", "taken")
    ]


async def test_a_repeated_step_changes_nothing(ledger: Ledger) -> None:
    """By order, source and event id, in one call or in two; another source's same id is another step."""
    made = accepted(1)
    await ledger.persist([made], EPOCH)
    paid = step(made.order_id, "e1", movements=sold(made))
    assert (await ledger.take_steps([paid, paid], EPOCH))[1] == [TAKEN, REPEATED]
    cancelled = step(made.order_id, "e1", source="shop", state=State.REFUND_DUE, expected=(State.CONFIRMED,))
    token, results = await ledger.take_steps([paid, cancelled, paid], EPOCH)
    assert results == [REPEATED, TAKEN, REPEATED]
    assert [result for *_, result in await ledger.steps(made.order_id, token=token)] == ["taken", "taken"]
    assert (await ledger.orders([made.order_id]))[made.order_id].state is State.REFUND_DUE
    assert [b async for b in ledger.balances()] == [Balance("TEA", MAIN, -2, 0, 2)]


async def test_a_step_that_was_not_expected_is_kept_and_stays_so(ledger: Ledger) -> None:
    """The state is left alone, the report is kept, its movements are facts; a repeat is not taken for done."""
    made = accepted(1)
    await ledger.persist([made], EPOCH)
    moved = (Movement(str(made.order_id), Action.RELEASE, "TEA", MAIN, 2, -2, 0, NOW),)
    late = step(made.order_id, "e2", state=State.CANCELLED, movements=moved, after_s=90)
    token, results = await ledger.take_steps([step(made.order_id, "e1"), late], EPOCH)
    assert results == [TAKEN, NOT_EXPECTED]
    assert (await ledger.take_steps([late], EPOCH))[1] == [NOT_EXPECTED]
    assert (await ledger.orders([made.order_id]))[made.order_id].state is State.CONFIRMED
    assert [result for *_, result in await ledger.steps(made.order_id, token=token)] == ["taken", "not_expected"]
    assert [b async for b in ledger.balances()] == [Balance("TEA", MAIN, 0, 0, 0)]


async def test_a_movement_counts_once_whoever_reports_it(ledger: Ledger) -> None:
    """Two causes that carry the same movement (same action, SKU and pool) book it once."""
    made = accepted(1)
    await ledger.persist([made], EPOCH)
    steps = [step(made.order_id, f"e{number}", movements=sold(made)) for number in range(3)]
    await ledger.take_steps(steps[:2], EPOCH)
    await ledger.take_steps(steps[2:], EPOCH)
    assert [b async for b in ledger.balances()] == [Balance("TEA", MAIN, -2, 0, 2)]


async def test_an_unknown_order_leaves_no_trace(ledger: Ledger) -> None:
    """Neither for an id never seen nor for that of a rejection; known orders of the same call go on."""
    known, refused, never = accepted(1), rejected(2), accepted(3)
    await ledger.persist([known, refused], EPOCH)
    steps = [step(made.order_id, "e1") for made in (refused, known, never)]
    token, results = await ledger.take_steps(steps, EPOCH)
    assert results == [UNKNOWN, TAKEN, UNKNOWN]
    assert await ledger.steps(refused.order_id, token=token) == []
    assert (await ledger.take_steps(steps[2:], EPOCH))[1] == [UNKNOWN]
    await ledger.persist([never], EPOCH)
    assert (await ledger.take_steps(steps[2:], EPOCH))[1] == [TAKEN]


async def test_steps_of_an_order_are_taken_in_the_order_given(ledger: Ledger) -> None:
    """Expired, paid late, cancelled: each finds the state that the one before left, though their times are equal."""
    made = accepted(1)
    await ledger.persist([made], EPOCH)
    way = [State.HELD, State.EXPIRED, State.CONFIRMED, State.REFUND_DUE]
    steps = [
        step(made.order_id, f"e{9 - number}", expected=(before,), state=after)
        for number, (before, after) in enumerate(pairwise(way))
    ]
    assert (await ledger.take_steps(steps[::-1], EPOCH))[1] == [NOT_EXPECTED, NOT_EXPECTED, TAKEN]
    again = [made_again._replace(source="second") for made_again in steps[1:]]
    token, results = await ledger.take_steps(again, EPOCH)
    assert results == [TAKEN, TAKEN]
    assert (await ledger.orders([made.order_id]))[made.order_id].state is State.REFUND_DUE
    told = [(source, result) for _, _, source, result in await ledger.steps(made.order_id, token=token)]
    assert told == [("pay", "not_expected")] * 2 + [("pay", "taken")] + [("second", "taken")] * 2


async def test_units_may_come_back_to_another_pool(ledger: Ledger) -> None:
    """A hold of a closed promotion expires into main: held in one pool, free in the other, none lost."""
    made = accepted(1, promotion_id="double11")
    await ledger.persist([made], EPOCH)
    ref = str(made.order_id)
    moved = (
        Movement(ref, Action.EXPIRE, "TEA", made.intent.pool, 0, -2, 0, NOW),
        Movement(ref, Action.EXPIRE, "TEA", MAIN, 2, 0, 0, NOW),
    )
    await ledger.take_steps([step(made.order_id, "expired", state=State.EXPIRED, movements=moved)], EPOCH)
    assert [b async for b in ledger.balances()] == [
        Balance("TEA", MAIN, 2, 0, 0),
        Balance("TEA", "promo:double11", -2, 0, 0),
    ]


async def test_movements_of_an_order_must_add_up(ledger: Ledger) -> None:
    """A step that would lose a unit, or book on another order, is a fault and changes nothing."""
    made = accepted(1)
    await ledger.persist([made], EPOCH)
    lost = Movement(str(made.order_id), Action.RELEASE, "TEA", MAIN, 1, -2, 0, NOW)
    with pytest.raises(AssertionError, match="make or lose units"):
        await ledger.take_steps([step(made.order_id, "e1", movements=(lost,))], EPOCH)
    with pytest.raises(AssertionError, match="is not of order"):
        await ledger.take_steps([step(made.order_id, "e1", movements=(lost._replace(ref="other", free=2),))], EPOCH)
    assert (await ledger.orders([made.order_id]))[made.order_id].state is State.HELD
    with pytest.raises(ValueError, match="at most 5000"):
        await ledger.take_steps([step(made.order_id, str(number)) for number in range(MAX_BATCH + 1)], EPOCH)


async def test_workers_with_the_same_steps_take_each_once(ledger: Ledger) -> None:
    """Concurrent callers with overlapping orders in different order neither deadlock nor take a step twice."""
    made = [accepted(number) for number in range(200)]
    await ledger.persist(made, EPOCH)
    steps = [step(booked.order_id, "e1", movements=sold(booked)) for booked in made]
    turns = [steps, steps[::-1], steps[77:] + steps[:77]]
    outcomes = await asyncio.gather(*(ledger.take_steps(turn, EPOCH) for turn in turns))
    results = [result for _, some in outcomes for result in some]
    assert (results.count(TAKEN), results.count(REPEATED)) == (200, 400)
    assert [b async for b in ledger.balances()] == [Balance("TEA", MAIN, -400, 0, 400)]


async def test_of_two_rival_steps_one_is_taken(ledger: Ledger) -> None:
    """Paid and cancelled at once: whoever comes second finds the order elsewhere."""
    made = [accepted(number) for number in range(50)]
    await ledger.persist(made, EPOCH)
    paid = [step(booked.order_id, "p") for booked in made]
    cancelled = [step(booked.order_id, "c", state=State.CANCELLED) for booked in made[::-1]]
    (_, first), (_, second) = await asyncio.gather(ledger.take_steps(paid, EPOCH), ledger.take_steps(cancelled, EPOCH))
    assert sorted([*first, *second]) == sorted([TAKEN] * 50 + [NOT_EXPECTED] * 50)
    for one, other in zip(first, second[::-1], strict=True):
        assert {one, other} == {TAKEN, NOT_EXPECTED}
