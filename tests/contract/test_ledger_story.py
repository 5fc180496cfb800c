"""The contract of what an order's story needs: milestones, outbox, channel numbers, parcels, quarantine, tickets."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
from ledger_values import EPOCH, NOW, accepted, booking, step, submission
from msgspec import structs

from streams.core.books import (
    Message,
    Position,
    Quarantined,
    State,
    Step,
    StepRecord,
    StepResult,
    Taken,
    TicketToOpen,
    Unsaid,
)
from streams.core.vocabulary import BY_NAME, Part
from streams.messages import Ticket, TicketEvent
from streams.stores.ledger import Ledger

pytest_plugins = ["ledger_fixtures"]

TAKEN, NOT_EXPECTED, REPEATED = StepResult.TAKEN, StepResult.NOT_EXPECTED, StepResult.REPEATED
LATER = NOW + timedelta(hours=1)


def reached(order: UUID, event_id: str, milestone: str, part: Part = ("", "")) -> Step:
    """A step that moves no stock: a part of an order has reached a milestone."""
    made = step(order, event_id, source="wms")
    return made._replace(
        kind=milestone,
        expected=(),
        state=None,
        milestone=BY_NAME[milestone].code,
        part=part,
        raw_code="已发货",
        zone="Asia/Shanghai",
    )


class Listener:
    """Tells one message for each step that is new, and keeps what it was asked with."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []

    def __call__(self, written: Sequence[Taken]) -> Sequence[Message]:
        """See `Tell`."""
        self.taken += written
        return [
            Message(
                "orders.changed.v1", str(t.step.order_id), f"{t.step.event_id}:{t.new.name}", b'{"a":"\xc3\xa4\\n"}'
            )
            for t in written
            if t.new is not None
        ]


async def test_what_was_reached_only_grows(ledger: Ledger) -> None:
    """In one call or in several, late ones are kept and say that they were overtaken; the position counts the steps."""
    made = accepted(1)
    await ledger.persist([made], EPOCH)
    order, heard = made.order_id, Listener()
    first = [reached(order, "1", "shipped", ("P1", "")), reached(order, "2", "delivered", ("P1", "TEA"))]
    assert (await ledger.take_steps(first, EPOCH, heard))[1] == [TAKEN, TAKEN]
    second = [
        reached(order, "3", "delivered", ("P1", "")),
        reached(order, "4", "packed", ("P1", "")),
        reached(order, "5", "packed", ("P1", "")),
        reached(order, "3", "delivered", ("P1", "")),
        step(order, "6")._replace(milestone=BY_NAME["paid"].code),
    ]
    token, results = await ledger.take_steps(second, EPOCH, heard)
    assert results == [TAKEN, NOT_EXPECTED, NOT_EXPECTED, REPEATED, TAKEN]
    assert [(t.new.name if t.new else None, t.overtaken) for t in heard.taken] == [
        ("shipped", False),
        ("delivered", False),
        ("delivered", False),
        ("packed", True),
        (None, False),
        ("paid", False),
    ]
    codes = {name: BY_NAME[name].code for name in ("shipped", "delivered", "packed", "paid")}
    assert heard.taken[-1].after == Position(
        State.CONFIRMED,
        {
            ("P1", ""): frozenset({codes["shipped"], codes["delivered"], codes["packed"]}),
            ("P1", "TEA"): frozenset({codes["delivered"]}),
            ("", ""): frozenset({codes["paid"]}),
        },
        6,
    )
    assert [kind for _, kind, _, _ in await ledger.steps(order, token=token)][:2] == ["shipped", "delivered"]
    assert [result for *_, result in await ledger.steps(order, token=token)][2:4] == ["taken", "not_expected"]
    records = await ledger.step_records(order, token=token)
    assert [(r.kind, r.part, r.result, r.state) for r in records[3:]] == [
        ("packed", ("P1", ""), NOT_EXPECTED, None),
        ("packed", ("P1", ""), NOT_EXPECTED, None),
        ("payment.succeeded", ("", ""), TAKEN, State.CONFIRMED),
    ]
    assert records[0] == StepRecord(
        *(first[0].at, first[0].occurred_at, "shipped", "wms", "1", TAKEN, None, codes["shipped"], ("P1", "")),
        *("已发货", "Asia/Shanghai", None),
    )


async def test_messages_stand_in_the_outbox_with_their_steps(ledger: Ledger) -> None:
    """One batch a call, byte for byte; steps taken again tell nothing; what was said is gone; the young are left."""
    made = accepted(1)
    await ledger.persist([made], EPOCH)
    steps = [reached(made.order_id, "1", "shipped"), reached(made.order_id, "2", "delivered")]
    await ledger.take_steps(steps, EPOCH, Listener())
    await ledger.take_steps(steps, EPOCH, Listener())
    assert await ledger.unsaid(steps[0].at, 10) == ("", [])
    token, found = await ledger.unsaid(LATER, 10)
    assert token
    key, value = str(made.order_id), b'{"a":"\xc3\xa4\\n"}'
    assert found == [
        Unsaid(
            "1:shipped",
            (
                Message("orders.changed.v1", key, "1:shipped", value),
                Message("orders.changed.v1", key, "2:delivered", value),
            ),
        )
    ]
    await ledger.said(["1:shipped", "nonsense"])
    assert await ledger.unsaid(LATER, 10) == ("", [])


async def test_nothing_is_told_of_what_is_not_written(ledger: Ledger) -> None:
    """A step of an unknown order, and no step at all, leave nothing in the outbox."""
    await ledger.take_steps([reached(UUID(int=1), "1", "shipped")], EPOCH, Listener())
    await ledger.take_steps([], EPOCH, Listener())
    assert await ledger.unsaid(LATER, 10) == ("", [])


async def test_a_number_is_one_orders(ledger: Ledger) -> None:
    """By the channel's number its order is found, and back; a second order with it is accepted, and goes without."""
    first, other = accepted(1), accepted(3)
    twin = booking(structs.replace(submission(5), channel_order_no="no-1"))
    same = [booking(structs.replace(submission(n), channel_order_no="no-7")) for n in (7, 9)]
    await ledger.persist([first, other], EPOCH)
    await ledger.persist([twin, *same, accepted(11)], EPOCH)
    numbers = [("web", f"no-{n}") for n in (1, 3, 7, 11)]
    found = await ledger.find_by_numbers([*numbers, ("web", "no-2"), ("jd", "no-1")])
    assert found == dict(zip(numbers, [o.order_id for o in (first, other, same[0], accepted(11))], strict=True))
    orders = await ledger.orders([made.order_id for made in (first, twin, *same)])
    assert [orders[made.order_id].channel_order_no for made in (first, twin, *same)] == ["no-1", None, "no-7", None]
    assert (await ledger.persist([twin], EPOCH)).stored.keys() == {twin.key}
    assert await ledger.find_by_numbers([]) == {}


async def test_a_number_that_is_taken_is_a_case_for_a_person(ledger: Ledger) -> None:
    """A ticket names both orders and what to do, and is told by the outbox, once: a repeat of the second opens none."""
    first = accepted(1)
    twin = booking(structs.replace(submission(5), channel_order_no="no-1"))
    await ledger.persist([first], EPOCH)
    assert await ledger.tickets() == []
    await ledger.persist([twin], EPOCH)
    await ledger.persist([twin], EPOCH)
    (ticket,) = await ledger.tickets()
    assert (ticket.kind, ticket.subject) == ("number_taken", "web no-1")
    assert str(first.order_id) in ticket.detail
    assert f"floodway report order.cancelled {twin.order_id}" in ticket.fix
    _, (batch,) = await ledger.unsaid(LATER, 10)
    (message,) = batch.messages
    assert (message.topic, message.key) == ("tickets.v1", ticket.ticket_id)
    assert msgspec.json.decode(message.value, type=Ticket) == ticket


async def test_orders_are_found_by_their_parcels(ledger: Ledger) -> None:
    """One parcel may carry two orders, one order come in two parcels; what nobody reported is left out."""
    a, b = accepted(1), accepted(2)
    await ledger.persist([a, b], EPOCH)
    steps = [
        reached(a.order_id, "1", "shipped", ("P1", "")),
        reached(b.order_id, "1", "shipped", ("P1", "")),
        reached(b.order_id, "2", "shipped", ("P2", "TEA")),
        reached(b.order_id, "3", "picking"),
    ]
    await ledger.take_steps(steps, EPOCH)
    found = await ledger.find_by_shipments(["P1", "P2", "P3", ""])
    assert {parcel: set(ids) for parcel, ids in found.items()} == {
        "P1": {a.order_id, b.order_id},
        "P2": {b.order_id},
    }
    assert await ledger.find_by_shipments([]) == {}


def waiting(offset: int, reason: str = "unknown_order", **keys: object) -> Quarantined:
    """A record that waits."""
    made = Quarantined(
        0,
        offset,
        NOW,
        reason,
        "tmall",
        "x",
        None,
        None,
        None,
        None,
        b"\x00%d" % offset,
        (("h\x00", b"\x00"), ("n", None)),
    )
    return made._replace(**keys)  # type: ignore[arg-type]


async def test_quarantined_records_wait_byte_for_byte(ledger: Ledger) -> None:
    """Each once by what it says; those whose order or parcel is known by now can be taken, and are then forgotten."""
    made = accepted(1)
    records = [
        waiting(1, channel="web", channel_order_no="no-1"),
        waiting(2, channel="jd", channel_order_no="no-1"),
        waiting(3, shipment="P1"),
        waiting(4, shipment="P2"),
        waiting(5, order_id=made.order_id),
        waiting(6, "unknown_code"),
    ]
    await ledger.quarantine(records, [])
    await ledger.quarantine(records, [])
    assert await ledger.quarantined(None, 10) == records
    assert await ledger.quarantined("unknown_code", 10) == records[5:]
    assert await ledger.quarantined("unknown_code", 10, ["tmall:x", "jd:y"]) == records[5:]
    assert await ledger.quarantined("unknown_code", 10, ["jd:x"]) == []
    assert await ledger.resolvable(10) == []
    await ledger.persist([made], EPOCH)
    await ledger.take_steps([reached(made.order_id, "1", "shipped", ("P1", ""))], EPOCH)
    assert await ledger.resolvable(10) == [records[0], records[2], records[4]]
    assert await ledger.resolvable(1) == records[:1]
    await ledger.release(records[:3])
    assert await ledger.quarantined(None, 2) == records[3:5]
    again = waiting(3, shipment="P9")._replace(partition=7, offset=99, value=records[3].value)
    await ledger.quarantine([again], [])
    assert await ledger.quarantined(None, 1) == [again._replace(partition=0, offset=4)]


async def test_a_ticket_is_opened_once(ledger: Ledger) -> None:
    """Whatever strikes again while it is open tells nobody; once closed, it is opened and told again."""
    ticket = Ticket("unknown_code:tmall:X", "unknown_code", "X", "detail", "fix", NOW)
    other = structs.replace(ticket, ticket_id="unknown_code:jd:Y", opened_at=NOW)
    asked = [TicketToOpen(t, Message("tickets.v1", t.ticket_id, f"{t.ticket_id}@1", b"{}")) for t in (ticket, other)]
    opened = await ledger.quarantine([], asked)
    assert opened == [asked[1].message, asked[0].message]
    assert await ledger.quarantine([], asked) == []
    assert await ledger.tickets() == [other, ticket]
    assert (await ledger.unsaid(LATER, 10))[1] == [Unsaid(opened[0].id, tuple(opened))]
    await ledger.said([opened[0].id])
    (told,) = await ledger.close_tickets([ticket.ticket_id, "unknown_code:jd:NONE"], LATER)
    closed = msgspec.json.decode(told.value, type=Ticket)
    assert (closed.ticket_id, closed.event, closed.at) == (ticket.ticket_id, TicketEvent.CLOSED, LATER)
    assert (await ledger.unsaid(LATER + timedelta(hours=1), 10))[1][-1] == Unsaid(told.id, (told,))
    assert await ledger.close_tickets([ticket.ticket_id], LATER) == []
    assert await ledger.tickets() == [other]
    again = TicketToOpen(structs.replace(ticket, opened_at=LATER), asked[0].message._replace(id="again"))
    assert await ledger.quarantine([], [again, asked[1]]) == [again.message]
    assert await ledger.tickets() == [other, again.ticket]
