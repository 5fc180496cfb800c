"""A scripted week over six channels: as it comes in, shuffled and repeated, it ends as it would have in good order."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from builders import FakeChunk, FakeRecord, World, accepted, world
from lifecycle_kit import GRACE_S, letters, told

from loadtest import week_facts as facts
from loadtest.week import Heard, Placed, as_it_comes, clean, place
from streams.core.books import State
from streams.core.standing import standing
from streams.lifecycle import Lifecycle
from streams.sources import normalisers
from streams.topics import CHANGED, NOTIFICATIONS, PICKLISTS, REPORTED, SOURCE_HEADER, TICKETS

ORDERS, SEED, CHUNK = 1_000, 11, 500
SOURCES = normalisers()


async def shop(placed: Sequence[Placed]) -> tuple[World, dict[str, UUID]]:
    """A new installation that has decided the orders of the week."""
    made = await world({line.sku: 10_000 for one in placed for line in one.submission.lines})
    ids = await accepted(made, *(one.submission for one in placed))
    return made, dict(zip((one.submission.submission_id for one in placed), ids, strict=True))


async def live(made: World, heard: Sequence[Heard]) -> None:
    """Read the week in chunks; then what had to wait, until nothing more can be taken."""
    lifecycle = Lifecycle(made.parts(), SOURCES)
    records = [
        FakeRecord(offset, one.value, headers=(*one.headers, (SOURCE_HEADER, one.source.encode())))
        for offset, one in enumerate(heard)
    ]
    for at in range(0, len(records), CHUNK):
        await lifecycle.take(FakeChunk(records[at : at + CHUNK], topic=REPORTED.name))
    while await lifecycle.take_waiting():
        pass
    made.clock.advance(GRACE_S)
    assert await lifecycle.send_left() == 0


async def test_the_week_as_it_comes_ends_as_the_week_in_order() -> None:
    """Every order stands where it stands in the clean run, the same facts were told; unknown codes wait for people."""
    placed = place(ORDERS, SEED)
    tidy, ids = await shop(placed)
    in_order = clean(placed, ids, SEED)
    await live(tidy, in_order)
    messy, same_ids = await shop(placed)
    comes, unknown = as_it_comes(in_order, SEED, 0.04)
    assert ids == same_ids
    assert len(comes) > len(in_order) + unknown > 9 * ORDERS
    assert unknown > 10
    await live(messy, comes)

    assert {i: dict(p.reached) for i, p in messy.ledger.positions.items()} == {
        i: dict(p.reached) for i, p in tidy.ledger.positions.items()
    }
    statuses = Counter(standing(p.state, p.reached).status for p in messy.ledger.positions.values())
    assert statuses == Counter(standing(p.state, p.reached).status for p in tidy.ledger.positions.values())
    assert len(statuses) >= 7
    assert {i: o.state for i, o in messy.ledger.accepted.items()} == {
        i: o.state for i, o in tidy.ledger.accepted.items()
    }
    assert State.HELD in {order.state for order in messy.ledger.accepted.values()}

    numbers = {ids[one.submission.submission_id]: one.number for one in placed}
    topics = (CHANGED.name, NOTIFICATIONS.name, PICKLISTS.name)
    as_it_came, in_good_order = (
        facts.told([one for topic in topics for one in told(made, topic)], numbers) for made in (messy, tidy)
    )
    assert as_it_came.facts == in_good_order.facts
    assert as_it_came.picks == in_good_order.picks
    assert letters(messy) == letters(tidy) == []
    waiting = await messy.ledger.quarantined(None, 100_000)
    assert (len(waiting), {record.reason for record in waiting}) == (unknown, {"unknown_code"})
    assert len(told(messy, TICKETS.name)) == len(await messy.ledger.tickets()) == 3
    assert await messy.books() == await tidy.books()
