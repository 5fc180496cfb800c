"""The fake and PostgreSQL hold the same books after any sequence of writes."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_values import EPOCH, NOW, accepted, booking, key, received, step, submission

from streams.core.books import Action, Booking, Message, Movement, State, Taken
from streams.core.vocabulary import MILESTONES, Milestone, Part
from streams.errors import Refused
from streams.messages import Reason
from streams.stores.ledger import Ledger
from streams.stores.ledger_fake import FakeLedger
from streams.stores.ledger_postgres import PostgresLedger

pytest_plugins = ["ledger_fixtures"]

# Hypothesis runs many examples in one test; emptying by DELETE is quicker than by TRUNCATE when there are few rows.
TABLES = ("decisions", "order_steps", "order_movements", "command_movements", "outbox")
CLEAR = "; ".join(f"DELETE FROM {table}" for table in TABLES)

NUMBERS = st.integers(0, 11)
SKUS = ("TEA", "CUP", "MUG")
BASKETS = st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 3), st.integers(0, 999)), min_size=1, max_size=4)


@st.composite
def bookings(draw: st.DrawFn) -> Booking:
    """Any booking of a few keys: other body, outcome or pool at will, as late duplicates and races bring them."""
    answered = submission(
        draw(NUMBERS), lines=tuple(draw(BASKETS)), promotion_id=draw(st.sampled_from([None, "double11"]))
    )
    return booking(answered, draw(st.sampled_from([None, None, None, *Reason])), offset=draw(st.integers(0, 99)))


BATCHES = st.lists(bookings(), max_size=8, unique_by=key).map(lambda batch: ("persist", batch))
STEPS = st.lists(
    st.tuples(NUMBERS, st.sampled_from("abc"), st.sampled_from(State), st.sets(st.sampled_from(State)), st.booleans()),
    max_size=6,
).map(lambda steps: ("steps", steps))
PARTS = st.sampled_from([("", ""), ("P1", ""), ("P1", "TEA"), ("P2", "")])
REACHED = st.lists(
    st.tuples(NUMBERS, st.sampled_from("abcd"), st.sampled_from([None, *MILESTONES]), PARTS), max_size=8
).map(lambda steps: ("reached", steps))
GOODS = st.tuples(st.sampled_from("xyz"), st.sampled_from(SKUS)).map(lambda goods: ("goods", goods))


def moved(order: str, state: State) -> tuple[Movement, ...]:
    """Movements that some step towards `state` might carry."""
    to_sold = state is State.CONFIRMED
    action = Action.CONFIRM if to_sold else Action.RELEASE
    return (Movement(order, action, "TEA", "main", 0 if to_sold else 1, -1, 1 if to_sold else 0, NOW),)


async def apply(ledger: Ledger, write: tuple[str, Any]) -> object:
    """Write, and return what the ledger says to it apart from tokens."""
    what, value = write
    if what == "persist":
        return (await ledger.persist(value, EPOCH)).stored
    if what == "goods":
        ref, sku = value
        try:
            return await ledger.record_movements(received(ref, (sku, 5)))
        except Refused:
            return "refused"  # another SKU under the same reference
    if what == "reached":
        return await reach(ledger, value)
    steps = []
    for number, event_id, state, expected, moving in value:
        order = accepted(number).order_id
        movements = moved(str(order), state) if moving else ()
        steps.append(step(order, event_id, state=state, expected=tuple(expected), movements=movements))
    return (await ledger.take_steps(steps, EPOCH))[1]


async def reach(ledger: Ledger, value: list[tuple[int, str, Milestone | None, Part]]) -> object:
    """Take steps that move no stock, tell of what is new, and return what stands in the outbox of it."""
    steps = [
        step(accepted(number).order_id, event_id, source="wms")._replace(
            state=None, expected=(), milestone=None if milestone is None else milestone.code, part=part
        )
        for number, event_id, milestone, part in value
    ]
    results = (await ledger.take_steps(steps, EPOCH, tell))[1]
    _, unsaid = await ledger.unsaid(NOW + timedelta(days=1), 10)
    await ledger.said([one.batch for one in unsaid])
    return results, unsaid


def tell(written: Sequence[Taken]) -> Sequence[Message]:
    """Where the order was and is, for each step that was written."""
    return [
        Message(
            "t",
            str(one.step.order_id),
            f"{one.step.order_id}:{one.step.event_id}",
            msgspec.json.encode([one.new, one.overtaken, one.after.steps, one.before.state, reached(one)]),
        )
        for one in written
    ]


def reached(one: Taken) -> list[tuple[Part, list[int]]]:
    """What each part has reached after a step, in one order."""
    return [(part, sorted(codes)) for part, codes in sorted(one.after.reached.items())]


async def content(ledger: Ledger, token: str) -> object:
    """All that can be asked."""
    made = [accepted(number) for number in range(12)]
    ids = [one.order_id for one in made]
    return (
        await ledger.lookup([key(one) for one in made]),
        await ledger.orders(ids),
        [await ledger.find_decision(order_id, token=token) for order_id in ids],
        [await ledger.steps(order_id, token=token) for order_id in ids],
        [await ledger.step_records(order_id, token=token) for order_id in ids],
        await ledger.find_by_numbers([("web", f"no-{number}") for number in range(12)]),
        {name: set(found) for name, found in (await ledger.find_by_shipments(["P1", "P2"])).items()},
        [balance async for balance in ledger.balances()],
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=st.lists(st.one_of(BATCHES, BATCHES, STEPS, REACHED, GOODS), max_size=8))
async def test_any_writes_make_the_same_books(
    postgres: PostgresLedger, admin: "asyncpg.Connection[asyncpg.Record]", writes: list[tuple[str, Any]]
) -> None:
    """Every answer and the content at the end are equal; writing again changes nothing, and no unit comes or goes."""
    await admin.execute(CLEAR)
    fake = FakeLedger()
    fake.epochs.append("first")
    for write in writes:
        assert await apply(postgres, write) == await apply(fake, write)
    token = (await postgres.persist([], EPOCH)).token
    books = await content(postgres, token)
    assert books == await content(fake, "0/1")
    for what, value in writes:
        if what not in ("steps", "reached"):  # a step whose order came later would be taken now
            await apply(postgres, (what, value))
    assert await content(postgres, (await postgres.persist([], EPOCH)).token) == books
    received_units = 5 * len({value for what, value in writes if what == "goods"})
    sums = [balance.free + balance.held + balance.sold async for balance in postgres.balances()]
    assert sum(sums) == received_units
