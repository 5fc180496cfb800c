"""Records of sources on their way to an order: found by what the source knows, waiting for what nobody knows yet."""

import json
from uuid import UUID

import pytest
from builders import SETTINGS, Crash, FakeChunk, FakeRecord, Trouble, World, accepted, outages, submission, world
from lifecycle_kit import letters, said, sent, state, told
from msgspec import json as msgspec_json
from msgspec import structs

from streams.core.books import State
from streams.core.normalise import Normaliser
from streams.errors import TooManyDeadLetters
from streams.lifecycle import Lifecycle
from streams.messages import Change, OrderChanged, Ticket
from streams.sources import normalisers
from streams.topics import CHANGED, NOTIFICATIONS, REPORTED, SOURCE_HEADER, TICKETS

SOURCES = normalisers()


def tmall(number: str, status: str, at: str = "2026-11-11 00:00:00") -> FakeRecord:
    """What Tmall says of one of its orders."""
    return record("tmall", {"tid": number, "status": status, "modified": at})


def parcel(number: str, code: str) -> FakeRecord:
    """What the carrier says of a parcel."""
    return record("sf", {"mailno": number, "opCode": code, "acceptTime": "2026-11-12 10:00:00"})


def packed(order: UUID, number: str) -> FakeRecord:
    """The warehouse hands a parcel over."""
    body = {"orderId": str(order), "processStatus": "DELIVERED", "operateTime": "2026-11-11 20:00:00"}
    return record("wms", body | {"expressCode": number})


def record(source: str, body: object) -> FakeRecord:
    """A record as a bridge would put it on the topic: the source's bytes, and its name in the header."""
    return FakeRecord(0, json.dumps(body, ensure_ascii=False).encode(), headers=((SOURCE_HEADER, source.encode()),))


async def read(made: World, *records: FakeRecord, first: int = 0, trouble: Trouble | None = None) -> None:
    """Apply one chunk of them."""
    at = [FakeRecord(first + n, one.value, headers=one.headers) for n, one in enumerate(records)]
    await Lifecycle(made.parts(trouble), SOURCES).take(FakeChunk(at, topic=REPORTED.name, trouble=trouble))


async def shop(*numbers: str) -> tuple[World, list[UUID]]:
    """A world in which Tmall's orders of these numbers are decided."""
    made = await world()
    submissions = [
        structs.replace(submission(f"s-{n}", lines=(("TEA", 1, 1),), channel="tmall"), channel_order_no=n)
        for n in numbers
    ]
    return made, await accepted(made, *submissions)


async def test_a_channel_speaks_of_its_own_number() -> None:
    """已付款 of Tmall's order confirms ours; raw code, zone and UTC stand in the ledger."""
    made, (order,) = await shop("3400")
    await read(made, tmall("3400", "已付款"))
    assert state(made, order) is State.CONFIRMED
    ((step, _),) = made.ledger.taken.values()
    assert (step.raw_code, step.zone) == ("已付款", "Asia/Shanghai")
    assert step.occurred_at.isoformat() == "2026-11-10T16:00:00+00:00"
    assert not made.ledger.waiting


async def test_a_carrier_speaks_of_parcels_before_anybody_else_does() -> None:
    """Signed for before the warehouse has said what is in it: it waits, and is told once the parcel is known."""
    made, (a, b) = await shop("1", "2")
    await read(made, parcel("SF1", "80"), parcel("SF9", "80"))
    assert len(made.ledger.waiting) == 2
    assert await Lifecycle(made.parts(), SOURCES).take_waiting() == 0
    await read(made, packed(a, "SF1"), packed(b, "SF1"), first=2)
    assert await Lifecycle(made.parts(), SOURCES).take_waiting() == 1
    assert [record.subject for record in made.ledger.waiting.values()] == ["shipment SF9"]
    for order in (a, b):
        assert said(made, order) == [Change.SHIPPED, Change.DELIVERED]
    changes = [msgspec_json.decode(e.value or b"", type=OrderChanged) for _, e in sent(made, CHANGED.name)]
    assert {(change.shipment, change.status) for change in changes if change.change is Change.DELIVERED} == {
        ("SF1", "delivered")
    }


async def test_a_channel_that_is_faster_than_the_decision_waits_for_it() -> None:
    """Paid before our intake has the order: it is applied when the order is there, by itself."""
    made = await world()
    await read(made, tmall("77", "已付款"))
    order = structs.replace(submission("s-77", channel="tmall"), channel_order_no="77")
    (order_id,) = await accepted(made, order)
    lifecycle = Lifecycle(made.parts(), SOURCES)
    await lifecycle.look_after()
    assert state(made, order_id) is State.CONFIRMED
    assert not made.ledger.waiting


async def test_unknown_codes_wait_with_one_ticket_each() -> None:
    """Five records, two codes: two tickets, told once, also when the chunk is read again; no order is touched."""
    made, (order,) = await shop("1")
    records = [tmall("1", code, f"2026-11-11 00:00:0{n}") for n, code in enumerate(["X", "Y", "X", "X"])]
    with pytest.raises(Crash):
        await read(made, *records, trouble=outages(["log.append"], times=1, error=Crash))
    await read(made, *records, tmall("1", "Y", "2026-11-11 01:00:00"))
    made.clock.advance(SETTINGS.outbox_grace_s + 1)
    await Lifecycle(made.parts(), SOURCES).send_left()
    assert len(made.ledger.waiting) == 5
    assert len(told(made, TICKETS.name)) == 2
    tickets = [msgspec_json.decode(e.value or b"", type=Ticket) for _, e in sent(made, TICKETS.name)]
    assert {ticket.ticket_id for ticket in tickets} == {"unknown_code:tmall:X", "unknown_code:tmall:Y"}
    assert "tmall.toml" in tickets[0].fix
    assert state(made, order) is State.HELD


async def test_a_code_that_was_added_is_taken_at_the_next_start() -> None:
    """The mapping has it now: its records are applied in the new process, the ticket is closed, others wait on."""
    made, (order,) = await shop("1")
    await read(made, tmall("1", "NEW"), tmall("1", "OTHER"), tmall("404", "NEW"))
    mapping = SOURCES["tmall"].mapping
    codes = {**mapping.codes, "NEW": mapping.codes["已付款"]}
    newer = {**SOURCES, "tmall": Normaliser(mapping._replace(codes=codes))}
    assert await Lifecycle(made.parts(), newer).take_waiting() == 2
    assert state(made, order) is State.CONFIRMED
    assert [(one.reason, one.subject) for one in made.ledger.waiting.values()] == [
        ("unknown_code", "OTHER"),
        ("unknown_order", "order_no tmall 404"),
    ]
    assert set(made.ledger.open_tickets) == {"unknown_code:tmall:OTHER"}


async def test_what_can_never_be_read_is_a_dead_letter() -> None:
    """No JSON, a naive time where offsets were promised, a source without a mapping: buried byte for byte."""
    made, _ = await shop("1")
    hook = (("X-Shopify-Topic", b"orders/paid"), ("X-Shopify-Webhook-Id", b"w"), (SOURCE_HEADER, b"shopify"))
    naive = FakeRecord(0, b'{"id": 1, "updated_at": "2026-11-11T00:00:00"}', headers=hook)
    await read(made, FakeRecord(0, b"{", headers=((SOURCE_HEADER, b"tmall"),)), naive, record("ebay", {}))
    assert letters(made) == [(0, "not_json"), (1, "naive_time"), (2, "unknown_source")]


async def test_a_mapping_that_knows_nothing_stops_the_worker() -> None:
    """Nearly all codes are unknown, as after a bad deploy: it stops before it fills the quarantine."""
    made, _ = await shop("1")
    chunk = [tmall(str(n), "NEW") for n in range(1_000)]
    with pytest.raises(TooManyDeadLetters):
        await read(made, *chunk)
    assert not made.ledger.waiting


async def test_two_systems_tell_of_one_milestone_and_the_buyer_hears_once() -> None:
    """Channel and warehouse both say that the parcel was sent: one change, one notice, two steps for the record."""
    made, (order,) = await shop("1")
    channel = record(
        "tmall", {"tid": "1", "status": "卖家已发货", "modified": "2026-11-11 21:00:00", "invoice_no": "SF1"}
    )
    await read(made, packed(order, "SF1"), channel)
    assert len(made.ledger.taken) == 2
    assert len(told(made, CHANGED.name)) == len(told(made, NOTIFICATIONS.name)) == 1
