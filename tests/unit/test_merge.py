"""The merge: whatever the order, the repeats and the chunks in which reports come, an order's story is the same."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from builders import NOW, World, accepted, chunk, submission, world
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lifecycle_kit import sent

from streams.core.books import State
from streams.core.lifecycle import MOVING_STOCK
from streams.core.standing import standing
from streams.core.vocabulary import EVENTS, Axis
from streams.lifecycle import Lifecycle
from streams.messages import Report, ReportType
from streams.topics import CHANGED, NOTIFICATIONS, PICKLISTS

PAYING = frozenset({ReportType.PAYMENT_SUCCEEDED})
ENDING = MOVING_STOCK - PAYING
OF_STOCK = ("confirmed", "confirmed_late", "cancelled", "refund_due")
"""Changes that tell what the stock did and demands, not what was reported."""


class Event(NamedTuple):
    """One report of a history: which order and part it is about, and when it happened."""

    order: int
    kind: ReportType
    shipment: str
    minutes: int


class Told(NamedTuple):
    """Ids of all that was told, by topic."""

    changes: frozenset[str]
    notices: frozenset[str]
    picks: frozenset[str]

    def facts(self) -> tuple[frozenset[str], frozenset[str]]:
        """Without what depends on when the stock was asked."""
        changes = frozenset(one for one in self.changes if one.split(":")[2] not in OF_STOCK)
        return changes, frozenset(one for one in self.notices if one.split(":")[2] != "refund_due")

    def open_picks(self) -> frozenset[str]:
        """Orders that a warehouse has to pick in the end."""
        made = {one.split(":")[0] for one in self.picks if one.endswith(":pick")}
        return frozenset(made - {one.split(":")[0] for one in self.picks if one.endswith(":withdraw")})


EVENTS_OF = st.builds(
    Event, st.integers(0, 1), st.sampled_from(ReportType), st.sampled_from(["", "P1", "P2"]), st.integers(0, 600)
)
HISTORIES = st.lists(EVENTS_OF, min_size=1, max_size=14)


def reports(history: Sequence[Event], orders: Sequence[UUID]) -> list[Report]:
    """As sources would send them: the place in the history is the event's id."""
    return [
        Report(
            f"e-{number}",
            "src",
            event.kind,
            orders[event.order],
            NOW + timedelta(minutes=event.minutes),
            shipment=event.shipment or None,
        )
        for number, event in enumerate(history)
    ]


async def live(chunks: Sequence[Sequence[int]], history: Sequence[Event]) -> tuple[World, list[UUID], Told]:
    """Two orders live through a history, in chunks of places in it, and what was told; nothing is told twice."""
    made = await world({"TEA": 100})
    orders = await accepted(made, submission("s-0"), submission("s-1", lines=(("TEA", 1, 450),)))
    told = reports(history, orders)
    for places in chunks:
        if places:
            await Lifecycle(made.parts()).take(chunk(*(told[place] for place in places)))
    assert not made.ledger.outbox
    topics = []
    for topic in (CHANGED, NOTIFICATIONS, PICKLISTS):
        ids = [message_id for message_id, _ in sent(made, topic.name)]
        assert len(set(ids)) == len(ids), "told twice"
        topics.append(frozenset(ids))
    return made, orders, Told(*topics)


def stories(made: World, orders: Sequence[UUID]) -> list[object]:
    """Where each order stands: its state, what each part has reached, and what people are shown."""
    positions = [made.ledger.positions[order] for order in orders]
    return [(p.state, dict(p.reached), standing(p.state, p.reached).status) for p in positions]


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Event], list[list[int]]]:
    """A history, and one way to deliver it: shuffled, some of it again, cut into chunks."""
    history = draw(HISTORIES)
    places = list(range(len(history)))
    order = draw(st.permutations(places)) + draw(st.lists(st.sampled_from(places), max_size=6))
    order = draw(st.permutations(order)) if draw(st.booleans()) else order
    cuts = sorted(draw(st.sets(st.integers(0, len(order)), max_size=4)))
    chunks = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    return history, chunks


PAID_THEN_CANCELLED = [Event(0, ReportType.PAYMENT_SUCCEEDED, "", 0), Event(0, ReportType.ORDER_CANCELLED, "", 1)]
DELIVERED = [Event(0, kind, "P1", 0) for kind in (ReportType.PARCEL_SHIPPED, ReportType.PARCEL_DELIVERED)]


@settings(max_examples=150, deadline=None)
@given(deliveries())
@example((PAID_THEN_CANCELLED, [[1], [0]]))
@example((DELIVERED, [[1, 0, 1], [0]]))
def test_any_delivery_of_a_history_tells_the_same_story(delivery: tuple[list[Event], list[list[int]]]) -> None:
    """Every permutation, repetition and split into chunks ends in the same states, and tells the same facts, each once.

    Where an order is not both paid and cancelled, also the stock's own part is the same to the letter; where it is, it
    depends on which came first whether the units were sold in between, but not whether anybody has to pick or repay.
    """
    asyncio.run(_same(*delivery))


async def _same(history: list[Event], chunks: list[list[int]]) -> None:
    in_order = sorted(range(len(history)), key=lambda place: history[place].minutes)
    clean, orders, clean_told = await live([[place] for place in in_order], history)
    mixed, mixed_orders, mixed_told = await live(chunks, history)
    assert orders == mixed_orders
    assert stories(mixed, orders) == stories(clean, orders)
    assert mixed_told.facts() == clean_told.facts()
    assert mixed_told.open_picks() == clean_told.open_picks()
    fought = {at for at in (0, 1) if _kinds(history, at) & PAYING and _kinds(history, at) & ENDING}
    if not fought:
        assert mixed_told == clean_told
        assert await mixed.books() == await clean.books()
    for at, order in enumerate(orders):
        if at in fought:
            assert mixed.ledger.positions[order].state is State.REFUND_DUE
    await mixed.books()


def _kinds(history: Sequence[Event], order: int) -> frozenset[ReportType]:
    return frozenset(event.kind for event in history if event.order == order)


@settings(max_examples=60, deadline=None)
@given(deliveries())
def test_what_is_told_as_new_only_climbs(delivery: tuple[list[Event], list[list[int]]]) -> None:
    """In the order of telling, what is not marked as overtaken never lies below what was told of that part before."""
    asyncio.run(_climbs(*delivery))


async def _climbs(history: list[Event], chunks: list[list[int]]) -> None:
    made, _, _ = await live(chunks, history)
    ranks = {milestone.name: milestone for milestone in EVENTS.values() if milestone is not None}
    top: dict[tuple[str, Axis, str], int] = {}
    for _, entry in sent(made, CHANGED.name):
        change = json.loads(entry.value or b"")
        milestone = ranks.get(change["change"])
        if milestone is None or change["change"] in OF_STOCK:
            continue
        part = (change["order_id"], milestone.axis, change.get("shipment", ""))
        # Paid is told by what the stock makes of it, so what it has overtaken may be marked without a change before it.
        if not change.get("overtaken", False):
            assert milestone.rank > top.get(part, -1)
        top[part] = max(top.get(part, -1), milestone.rank)
