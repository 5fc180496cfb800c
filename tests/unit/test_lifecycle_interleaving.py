"""Payments, cancellations, expiry, redelivery and crashes in any order: the books agree, and all is told once."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec
from builders import (
    Crash,
    FakeChunk,
    FakeRecord,
    Trouble,
    World,
    accepted,
    at_call,
    promotion,
    report,
    submission,
    world,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from lifecycle_kit import CANCELLED, PAID, RETENTION_S, TTL_S, letters, said, send_left, state

from streams.core.books import State
from streams.lifecycle import Lifecycle
from streams.messages import Change, ReportType
from streams.promotions import advance_promotions, close_promotion, open_promotion
from streams.topics import REPORTED


class Reported(NamedTuple):
    """Somebody reports of an order; the same event may be sent more than once."""

    order: int
    event: int
    kind: ReportType


class Deliver(NamedTuple):
    """So many records are read and applied by a process that may die at a call, after so many are read once more."""

    size: int
    again: int
    dies_at: int
    when: Literal["before", "after"]


class Keep(NamedTuple):
    """Time passes, and the keeper looks; it may die at a call."""

    after_s: float
    dies_at: int
    when: Literal["before", "after"]


class Close(NamedTuple):
    """The promotion is closed ahead of its time."""


Event = Reported | Deliver | Keep | Close
WHEN: st.SearchStrategy[Literal["before", "after"]] = st.sampled_from(["before", "after"])
EVENTS = st.lists(
    st.one_of(
        st.builds(Reported, st.integers(0, 3), st.integers(0, 2), st.sampled_from([PAID, CANCELLED])),
        st.builds(Reported, st.integers(0, 3), st.integers(0, 2), st.sampled_from([PAID, CANCELLED])),
        st.builds(Deliver, st.integers(1, 6), st.integers(0, 3), st.integers(1, 20), WHEN),
        st.builds(Keep, st.sampled_from([0.0, TTL_S, TTL_S, RETENTION_S + 1]), st.integers(1, 9), WHEN),
        st.builds(Close),
    ),
    min_size=3,
    max_size=24,
)
SHELF = {"TEA": 7, "CUP": 6}
TERMINAL = {
    State.CONFIRMED: {Change.CONFIRMED, Change.CONFIRMED_LATE},
    State.CANCELLED: {Change.CANCELLED},
    State.EXPIRED: {Change.EXPIRED},
    State.REFUND_DUE: {Change.REFUND_DUE},
}


@settings(max_examples=200)
@given(EVENTS)
def test_any_interleaving_ends_with_books_that_agree(events: list[Event]) -> None:
    """Payments, cancellations, expiry, redelivery and crashes in any order: one terminal state an order.

    Stock and ledger agree to the unit, what was last said of an order is where it stands, nothing that was cancelled
    or refunded is sold after that, and no hold is left.
    """
    asyncio.run(_live(events))


async def _live(events: list[Event]) -> None:
    made = await world(SHELF)
    await open_promotion(made.parts(), promotion(quota=(("TEA", 3), ("CUP", 3)), limit=4, hours=2))
    orders = await accepted(
        made,
        submission("s-0", lines=(("TEA", 2, 1),)),
        submission("s-1", lines=(("TEA", 1, 1), ("CUP", 2, 1), ("TEA", 1, 1))),
        submission("s-2", lines=(("TEA", 1, 1), ("CUP", 1, 1)), promotion_id="p1"),
        submission("s-3", lines=(("TEA", 2, 1),), promotion_id="p1", buyer_id="bob"),
    )
    log, read = [FakeRecord(0, b"x")], 0
    end = [Close(), Deliver(100, 0, 999, "before"), Keep(TTL_S, 999, "before"), Keep(0.0, 999, "before")]
    for event in [*events, *end]:
        match event:
            case Reported(order, number, kind):
                found = report(orders[order], f"e-{number}", kind, source=kind.value)
                log.append(FakeRecord(len(log), msgspec.json.encode(found)))
            case Deliver(size, again, dies_at, when):
                first = max(0, read - again)
                read = await _deliver(made, log[first : first + size], at_call(dies_at, when), read)
            case Keep(after_s, dies_at, when):
                if after_s > TTL_S:
                    # Nobody stays dead for as long as the stock remembers ends: what is half done is finished before.
                    read = await _deliver(made, log[read:], Trouble(), read)
                    await Lifecycle(made.parts()).expire_due()
                made.clock.advance(after_s)
                with contextlib.suppress(Crash):
                    parts = made.parts(at_call(dies_at, when))
                    await advance_promotions(parts)
                    await Lifecycle(parts).expire_due()
            case Close():
                await close_promotion(made.parts(), "p1")
    await send_left(made)
    await Lifecycle(made.parts()).put_back_left()
    assert not made.ledger.outbox
    await _check(made, orders)


async def _deliver(made: World, records: Sequence[FakeRecord], trouble: Trouble, read: int) -> int:
    """Apply some records; returns how far the group has come."""
    if not records:
        return read
    one = FakeChunk(records, topic=REPORTED.name)
    with contextlib.suppress(Crash):
        await Lifecycle(made.parts(trouble)).take(one)
    return max(read, records[-1].offset + 1) if one.done.is_set() else read


async def _check(made: World, orders: Sequence[UUID]) -> None:
    books = await made.books()
    for sku, units in SHELF.items():
        assert sum(sum(accounts) for (of, _), accounts in books.items() if of == sku) == units
    assert not any(held for _, held, _ in books.values())
    assert await made.stock.unsettled() == 0
    sold: Counter[str] = Counter()
    for order_id in orders:
        told = said(made, order_id)
        assert told[-1] in TERMINAL[state(made, order_id)]
        settled = next((n for n, change in enumerate(told) if change in UNSOLD), len(told))
        assert set(told[settled:]) <= UNSOLD
        if SOLD & set(told) and state(made, order_id) is State.CONFIRMED:  # else it is back on the shelf
            sold.update(dict(made.ledger.accepted[order_id].quantities))
    assert sold == +Counter({sku: sum(a[2] for (of, _), a in books.items() if of == sku) for sku in SHELF})
    assert {reason for _, reason in letters(made)} <= {"not_json"}


SOLD = {Change.CONFIRMED, Change.CONFIRMED_LATE}
UNSOLD = {Change.CANCELLED, Change.REFUND_DUE}
