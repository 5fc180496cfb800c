"""Submissions that come again after Redis has forgotten them: the ledger's unique key catches each."""

from collections.abc import Sequence
from uuid import UUID

import pytest
import watch
from pipeline import books, until
from redis.asyncio import Redis
from shop import key_of, order, promote, report, stock_up, submit

from streams.core.stock import Pool
from streams.messages import Change, Decision, Outcome, Reason, ReportType, Submission
from streams.parts import Parts
from streams.stores.stock_keys import PREFIX

pytest_plugins = ["stack_fixtures"]
pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("running")]

PLENTY, SCARCE, PROMOTED, ABSENT = "late-plenty", "late-scarce", "late-promoted", "late-absent"


async def forget(parts: Parts) -> None:
    """Make Redis forget every submission it has decided."""
    redis = Redis.from_url(parts.settings.redis_url)
    try:
        assert await redis.delete(f"{PREFIX}seen:0", f"{PREFIX}seen:1")
    finally:
        await redis.aclose()


async def ask(parts: Parts, submissions: Sequence[Submission]) -> dict[str, Decision]:
    """Submit and wait for the answers, one to each; by submission id."""
    async with watch.decisions(parts) as answers:
        await submit(parts, submissions)
        await answers.until(lambda: answers.count >= len(submissions), within_s=20)
    assert set(answers.heard) == {key_of(s) for s in submissions}
    assert answers.count == len(submissions)
    return {heard[0].submission_id: heard[0] for heard in answers.heard.values()}


async def settle(parts: Parts, kind: ReportType, change: Change, order_ids: Sequence[UUID]) -> None:
    """Report something of these orders, and wait until it has happened to each."""
    async with watch.changes(parts) as seen:
        await report(parts, kind, order_ids)
        await seen.until(lambda: len(seen.heard) == len(order_ids), within_s=20)
    assert {c.change for heard in seen.heard.values() for c in heard} == {change}


async def settle_again(parts: Parts, kind: ReportType, order_id: UUID) -> None:
    """Report it once more as an event of its own, and wait until that is in the ledger."""
    before = await steps(parts, order_id)
    await report(parts, kind, [order_id], event="-again")

    async def written() -> bool:
        return await steps(parts, order_id) > before

    await until(written, within_s=20, what=f"a second {kind.value}")


async def steps(parts: Parts, order_id: UUID) -> int:
    """How many reports on an order the ledger has."""
    return (await parts.ledger.positions_of([order_id]))[order_id].steps


async def shelves(parts: Parts) -> set[Pool]:
    """All pools of this module's SKUs."""
    return {pool async for pool in parts.stock.pools() if pool.sku.startswith("late-")}


async def a_days_orders(parts: Parts, run: str) -> tuple[list[Submission], dict[str, Decision]]:
    """Accepted orders, all paid but some that are held and cancelled, and refused ones; with their decisions."""
    await stock_up(parts, run, [(PLENTY, 1_000), (SCARCE, 40), (f"{ABSENT}-{run}", 0)])
    promoted = f"{PROMOTED}-{run}"
    await promote(parts, promoted, 20, buyer_limit=1)
    paid = [order(f"{run}-plenty-{n}", (PLENTY, 2), buyer=f"{run}-{n}") for n in range(60)]
    paid += [order(f"{run}-scarce-{n}", (SCARCE, 1), buyer=f"{run}-{n}") for n in range(40)]
    paid += [order(f"{run}-promoted-{n}", (promoted, 1), buyer=f"{run}-{n}", promotion=promoted) for n in range(20)]
    held = [order(f"{run}-held-{n}", (PLENTY, 1)) for n in range(20)]
    dropped = [order(f"{run}-dropped-{n}", (PLENTY, 1)) for n in range(20)]
    refused = [order(f"{run}-refused-{n}", (f"{ABSENT}-{run}", 1)) for n in range(20)]
    first = await ask(parts, [*paid, *held, *dropped, *refused])
    assert {first[s.submission_id].outcome for s in [*paid, *held, *dropped]} == {Outcome.ACCEPTED}
    assert {first[s.submission_id].reason for s in refused} == {Reason.OUT_OF_STOCK}
    ids = {name: decision.order_id for name, decision in first.items()}
    await settle(parts, ReportType.PAYMENT_SUCCEEDED, Change.CONFIRMED, [ids[s.submission_id] for s in paid])
    await settle(parts, ReportType.ORDER_CANCELLED, Change.CANCELLED, [ids[s.submission_id] for s in dropped])
    return [*paid, *held, *dropped, *refused], first


async def test_forgotten_submissions_are_answered_by_their_first_decision(parts: Parts) -> None:
    """The same again: the first decision as a replay, and no unit moves, though stock has come or gone since."""
    submissions, first = await a_days_orders(parts, "same")
    await stock_up(parts, "same-later", [(f"{ABSENT}-same", 100)])
    before = await shelves(parts)
    await forget(parts)
    second = await ask(parts, submissions)
    for name, decision in second.items():
        told = first[name]
        assert decision.replay
        assert (decision.order_id, decision.outcome, decision.reason) == (told.order_id, told.outcome, told.reason)
        assert (decision.decided_at, decision.held_until, decision.lines) == (
            told.decided_at,
            told.held_until,
            told.lines,
        )
    assert await shelves(parts) == before
    found = await books(parts)
    assert found.balanced, found


async def test_forgotten_keys_with_another_body_are_conflicts(parts: Parts) -> None:
    """Another body under a forgotten key: a conflict with the first order's id, and no unit moves."""
    submissions, first = await a_days_orders(parts, "other")
    before = await shelves(parts)
    await forget(parts)
    others = [order(s.submission_id, (PLENTY, 3), buyer="somebody-else") for s in submissions]
    second = await ask(parts, others)
    for name, decision in second.items():
        assert decision.reason is Reason.CONFLICTING_REPEAT, decision
        assert decision.outcome is Outcome.REJECTED
        assert decision.order_id == first[name].order_id
    assert await shelves(parts) == before
    found = await books(parts)
    assert found.balanced, found


async def test_a_paid_order_that_came_again_is_still_paid(parts: Parts) -> None:
    """After its late duplicate a second payment changes nothing. A cancellation owes the buyer the money and, as the
    goods are on the shelf, makes its unit free: once, also when both come again.
    """
    await stock_up(parts, "twice", [(PLENTY, 10)])
    unsold = await shelves(parts)
    one = order("twice", (PLENTY, 1))
    order_id = (await ask(parts, [one]))["twice"].order_id
    await settle(parts, ReportType.PAYMENT_SUCCEEDED, Change.CONFIRMED, [order_id])
    sold = await shelves(parts)
    await forget(parts)
    assert (await ask(parts, [one]))["twice"].replay
    await settle_again(parts, ReportType.PAYMENT_SUCCEEDED, order_id)
    assert await shelves(parts) == sold != unsold
    await settle(parts, ReportType.ORDER_CANCELLED, Change.REFUND_DUE, [order_id])

    async def back() -> bool:
        return await shelves(parts) == unsold

    await until(back, within_s=20, what="its unit on the shelf")
    await forget(parts)
    assert (await ask(parts, [one]))["twice"].replay
    await settle_again(parts, ReportType.ORDER_CANCELLED, order_id)
    found = await books(parts)
    assert found.balanced, found
    assert await back()
