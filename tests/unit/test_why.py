"""Why an order is where it is: every report with what it did, stages with their durations, and who is next."""

from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from builders import NOW, FakeChunk, FakeRecord, accepted, chunk, submission, take_in, world
from lifecycle_kit import CANCELLED, PAID, take
from msgspec import structs

from streams.errors import Refused, UnknownThing
from streams.finding import Ambiguous, which_order
from streams.lifecycle import Lifecycle
from streams.messages import Report, ReportType
from streams.topics import REPORTED, SOURCE_HEADER
from streams.why import why

TRACE = "1" * 32


def said(order: UUID, event: str, kind: ReportType, minutes: int, shipment: str | None = None) -> Report:
    """A report of Tmall's, so many minutes after the order."""
    at = NOW + timedelta(minutes=minutes)
    return Report(event, "tmall", kind, order, at, shipment=shipment, raw_code="X", zone="Asia/Shanghai")


async def test_a_story_that_came_in_disorder_is_told_in_full() -> None:
    """Late, repeated and refused reports are all there with their effect; stages in the order of happening."""
    made = await world()
    order = structs.replace(submission("s-1"), channel_order_no="3400")
    (order_id,) = await accepted(made, order)
    reports = [
        said(order_id, "3", ReportType.PARCEL_SHIPPED, 90, "P1"),
        said(order_id, "2", ReportType.PARCEL_PACKED, 60, "P1"),
        said(order_id, "1", PAID, 10),
        said(order_id, "4", PAID, 11),
        said(order_id, "5", ReportType.ORDER_REMARKED, 95),
        said(order_id, "6", ReportType.PARCEL_PACKED, 61, "P1"),
    ]
    await take(made, *reports)
    found = await why(made.ledger, order_id, now=NOW + timedelta(minutes=100))
    assert (found.status, found.status_zh, found.owner) == ("shipped", "已发货", "the carrier")
    assert found.reason == "tmall reported parcel.shipped: reached shipped"
    assert found.axes == {
        "payment": "paid",
        "stock": "sold",
        "fulfilment": "shipped",
        "furthest": "shipped",
        "return": "kept",
    }
    effects = {(r.what, r.occurred_at): r.effect for r in found.reports}
    by_minute = {int((at - NOW).total_seconds() // 60): effect for (_, at), effect in effects.items()}
    assert by_minute == {
        90: "reached shipped",
        60: "came late, the order was further already",
        10: "the stock is confirmed",
        11: "known already, changed nothing",
        95: "kept as a remark",
        61: "known already, changed nothing",
    }
    stages = [(stage.name, round(stage.took_s / 60), stage.ended_at is not None) for stage in found.stages]
    assert stages == [
        ("intake", 0, True),
        ("payment", 10, True),
        ("picking", 50, True),
        ("handover", 30, True),
        ("transit", 10, False),
    ]
    assert found.late == ()
    assert {(r.raw_code, r.zone) for r in found.reports} == {("X", "Asia/Shanghai")}
    assert msgspec.json.encode(found)


async def test_an_order_is_found_by_all_its_names() -> None:
    """By our id, its trace id, the submission's and the channel's number; what is none of these says so."""
    made = await world()
    order = structs.replace(submission("s-1"), channel_order_no="3400")
    (order_id,) = await accepted(made, order)
    for name in (str(order_id), order_id.hex, "web:s-1", "web:3400"):
        assert (await why(made.ledger, which_order(name), now=NOW)).order_id == order_id
    for name in ("web:3401", str(UUID(int=1)), UUID(int=1).hex):
        with pytest.raises(UnknownThing):
            await why(made.ledger, which_order(name), now=NOW)
    for name in ("nonsense", "web:\0", ""):
        with pytest.raises(Refused):
            which_order(name)


async def test_an_order_is_found_by_the_trace_it_came_under() -> None:
    """One from outside, too; a trace of several orders names them all, and an order's own name goes before a trace."""
    made = await world()
    traces = [TRACE.replace("1", "2"), TRACE, TRACE]
    records = [
        FakeRecord(
            offset,
            msgspec.json.encode(submission(f"s-{offset}")),
            headers=(("traceparent", f"00-{trace}-{'1' * 16}-01".encode()),),
        )
        for offset, trace in enumerate(traces)
    ]
    assert await take_in(made.parts(), [FakeChunk(records)]) is None
    one = await why(made.ledger, which_order(traces[0].upper()), now=NOW)
    assert (one.submission_id, one.trace_id) == ("s-0", traces[0])
    with pytest.raises(Ambiguous) as refused:
        await why(made.ledger, which_order(TRACE), now=NOW)
    others = [(await why(made.ledger, ("web", name), now=NOW)).order_id for name in ("s-1", "s-2")]
    assert all(str(order_id) in str(refused.value) for order_id in others)


async def test_what_waits_in_quarantine_is_told_of_its_order() -> None:
    """A code that no mapping has, of the order's number: since when, who said it, and what is missing."""
    made = await world()
    order = structs.replace(submission("s-1"), channel="jd", channel_order_no="287654321098")
    (order_id,) = await accepted(made, order)
    said_of = b'{"orderId": 287654321098, "orderState": "%b", "modified": "2026-09-21 22:15:00"}'
    values = [said_of % b"NEVER_HEARD", said_of.replace(b"098", b"099") % b"NEVER_HEARD"]
    records = [FakeRecord(n, value, headers=((SOURCE_HEADER, b"jd"),)) for n, value in enumerate(values)]
    await Lifecycle(made.parts()).take(FakeChunk(records, topic=REPORTED.name))
    (waits,) = (await why(made.ledger, order_id, now=NOW)).waiting
    assert (waits.source, waits.why, waits.what) == ("jd", "unknown_code", "NEVER_HEARD")


async def test_an_order_at_its_end_waits_for_nobody() -> None:
    """Cancelled and never paid: no owner; a refusal says its reason; an order without reports says that, too."""
    made = await world()
    cancelled, new = await accepted(made, submission("s-1"), submission("s-2"))
    await take(made, said(cancelled, "1", CANCELLED, 5))
    assert (await why(made.ledger, cancelled, now=NOW)).owner is None
    assert (await why(made.ledger, new, now=NOW)).reason == "accepted, and nothing has led further since"
    assert await take_in(made.parts(), [chunk(submission("s-3", lines=(("NO", 1, 1),)), first=5)]) is None
    refused = await why(made.ledger, ("web", "s-3"), now=NOW)
    assert refused.decision.reason == "unknown_sku"
    assert (refused.status, refused.reason) == ("rejected", "rejected: unknown_sku")
