"""The contract of what an export is compared by: many orders at once, by number, with what is known of them."""

import asyncio
from datetime import timedelta
from uuid import UUID

from ledger_values import EPOCH, NOW, accepted, booking, rejected, step, submission
from msgspec import structs

from streams.core.books import Quarantined, State
from streams.core.differences import LastStep, Trace
from streams.messages import Reason
from streams.stores.ledger import Ledger

pytest_plugins = ["ledger_fixtures"]


async def caught_up(ledger: Ledger, order_id: UUID, steps: int = 0) -> None:
    """Wait until the replica, which is read without a token here, has this order and so many steps of it."""
    for _ in range(500):
        if await ledger.find_order(order_id) is not None and len(await ledger.step_records(order_id)) >= steps:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError(f"{order_id} is not on the replica")


async def test_orders_stand_where_their_steps_have_brought_them(ledger: Ledger) -> None:
    """By number, and by submission id where there is none; with total, time, milestones; others are left out."""
    numbered, plain = accepted(1), booking(structs.replace(submission(2), channel_order_no=None))
    await ledger.persist([numbered, plain, rejected(3)], EPOCH)
    await ledger.take_steps([step(numbered.order_id, "paid")], EPOCH)
    await caught_up(ledger, numbered.order_id, 1)
    ids = [one.key[1] for one in (numbered, plain, rejected(3))]
    found = await ledger.standings("web", ["no-1", "no-9", *ids])
    assert found.keys() == {"no-1", ids[0], ids[1]}
    assert found["no-1"] == found[ids[0]]._replace(number="no-1")
    stood = found["no-1"]
    assert (stood.order_id, stood.total, stood.submitted_at) == (numbered.order_id, 900, submission(1).submitted_at)
    assert (stood.position.state, stood.position.steps) == (State.CONFIRMED, 1)
    assert (found[ids[1]].position.state, dict(found[ids[1]].position.reached)) == (State.HELD, {})
    assert await ledger.standings("jd", ["no-1"]) == {}
    assert await ledger.standings("web", []) == {}


async def test_the_last_step_is_that_which_was_taken_last(ledger: Ledger) -> None:
    """What was reported and refused is no step; an order that has made none is left out."""
    one, other = accepted(1), accepted(2)
    await ledger.persist([one, other], EPOCH)
    paid = step(one.order_id, "paid")
    await ledger.take_steps([paid, step(one.order_id, "again")], EPOCH)
    await caught_up(ledger, one.order_id, 2)
    assert await ledger.last_steps([one.order_id, other.order_id]) == {
        one.order_id: LastStep(paid.at, paid.kind, paid.source)
    }
    assert await ledger.last_steps([]) == {}


async def test_a_number_without_an_order_has_left_a_trace(ledger: Ledger) -> None:
    """A rejected submission tells its reason, records in quarantine tell since when they wait."""
    await ledger.persist([rejected(3)], EPOCH)
    waiting = [
        Quarantined(0, n, NOW + timedelta(minutes=n), "unknown_order", "tmall", "web no-7", "web", "no-7", None, None,
                    b"%d" % n, ())
        for n in (2, 1)
    ]  # fmt: skip
    await ledger.quarantine(waiting, [])
    await ledger.persist([accepted(1)], EPOCH)
    await caught_up(ledger, accepted(1).order_id)
    submission_id = rejected(3).key[1]
    assert await ledger.traces("web", ["no-7", "no-8", submission_id]) == {
        "no-7": Trace(None, 2, NOW + timedelta(minutes=1)),
        submission_id: Trace(Reason.OUT_OF_STOCK),
    }
    assert await ledger.traces("jd", ["no-7"]) == {}
    assert await ledger.traces("web", []) == {}


async def test_a_channels_orders_come_page_by_page(ledger: Ledger) -> None:
    """In the order of their ids, from behind the last of the page before; rejected ones and other channels' do not."""
    made = [accepted(n) for n in (1, 3, 5, 11, 13)]
    plain = booking(structs.replace(submission(7), channel_order_no=None))
    other = booking(structs.replace(submission(8), channel="jd", submission_id="x"))
    await ledger.persist([*made, plain, other, rejected(9)], EPOCH)
    await caught_up(ledger, plain.order_id)
    wanted = sorted(
        [
            *((one.order_id, f"no-{n}") for n, one in zip((1, 3, 5, 11, 13), made, strict=True)),
            (plain.order_id, plain.key[1]),
        ]
    )
    first = await ledger.orders_between("web", None, None, 4)
    rest = await ledger.orders_between("web", first[-1][0], None, 4)
    assert [*first, *rest] == wanted
    assert await ledger.orders_between("web", UUID(int=0), wanted[2][0], 100) == wanted[:2]
    assert await ledger.orders_between("web", wanted[-1][0], None, 4) == []
