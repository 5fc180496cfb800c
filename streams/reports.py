"""Records of `orders.reported.v1` to reports: decoded, or put into our words by their source's mapping, orders found.

A record with the header `floodway-source` is what that source said, byte for byte. What cannot be taken yet (a code in
no mapping, an order or parcel that nobody has told us of) goes to quarantine; what can never be is a dead letter.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from streams import dead_letters
from streams.chunks import Chunk, Record
from streams.core.books import Quarantined, TicketToOpen
from streams.core.decode import MessageDecoder, Undecodable, instant_out_of_range
from streams.core.normalise import Normaliser, Ref, Said, UnknownCode
from streams.core.tickets import to_open
from streams.dead_letters import Dead
from streams.instants import to_ms
from streams.messages import Report, Ticket
from streams.parts import Parts
from streams.retry import until_available
from streams.timing import timed_at_once
from streams.topics import SOURCE_HEADER

Reported = tuple[Record, Report]

UNKNOWN_CODE, UNKNOWN_ORDER = "unknown_code", "unknown_order"
NO_ORDER = Undecodable(
    UNKNOWN_ORDER, "no accepted order of this id", "$.order_id", "send the order id as it was announced"
)

_decoder = MessageDecoder(Report)


class Waited(NamedTuple):
    """A record that comes back from quarantine."""

    waiting: Quarantined

    @property
    def offset(self) -> int:
        """Where it stood."""
        return self.waiting.offset

    @property
    def timestamp(self) -> int:
        """When it was first seen."""
        return to_ms(self.waiting.seen_at)

    @property
    def key(self) -> bytes | None:
        """Not kept."""
        return None

    @property
    def value(self) -> bytes | None:
        """As it came."""
        return self.waiting.value

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """As they came."""
        return self.waiting.headers


class Waiting(NamedTuple):
    """A record of a source that cannot be taken yet, and what it waits for."""

    record: Record
    source: str
    why: UnknownCode | Ref


class Read(NamedTuple):
    """What a chunk holds: reports in the order of their records, what is dead, what has to wait."""

    reports: list[Reported]
    said: list[tuple[Record, Said]]
    dead: list[Dead]
    waiting: list[Waiting]


@timed_at_once("read")
def read(chunk: Chunk, normalisers: Mapping[str, Normaliser]) -> Read:
    """Decode or normalise each record. Pure."""
    found = Read([], [], [], [])
    for record in chunk.records:
        source = _source(record)
        said: Report | Said | UnknownCode | Undecodable
        if source is None:
            said = _decoded(record.value)
        elif source in normalisers:
            said = normalisers[source].read(record.value, record.headers)
        else:
            fix = f"name one of {', '.join(sorted(normalisers))}, or add its mapping to FLOODWAY_SOURCES_DIR"
            said = Undecodable("unknown_source", f"no mapping for source {source[:80]!r}", None, fix)
        if isinstance(said, Report):
            found.reports.append((record, said))
        elif isinstance(said, Said):
            found.said.append((record, said))
        elif isinstance(said, UnknownCode):
            found.waiting.append(Waiting(record, said.source, said))
        else:
            found.dead.append(dead_letters.bury(chunk, record, said))
    return found


def _source(record: Record) -> str | None:
    for name, value in record.headers:
        if name == SOURCE_HEADER and value is not None:
            return value.decode(errors="replace")
    return None


def _decoded(value: bytes | None) -> Report | Undecodable:
    found = _decoder.decode(value)
    if isinstance(found, Undecodable):
        return found
    return instant_out_of_range(found.occurred_at.timestamp(), "$.occurred_at") or found


async def find_orders(
    said: Sequence[tuple[Record, Said]], parts: Parts
) -> tuple[list[Reported], list[tuple[Record, Said]]]:
    """Reports on the orders that sources speak of, and what speaks of none that is known. Two round trips at most.

    A parcel may carry several orders; then each of them hears of it.
    """
    ledger, max_delay_s = parts.ledger, parts.settings.retry_max_delay_s
    numbers = list({(one.ref.channel, one.ref.value) for _, one in said if one.ref.kind == "order_no"})
    shipments = list({one.ref.value for _, one in said if one.ref.kind == "shipment"})
    by_number = by_shipment = {}
    if numbers:
        by_number = await until_available("numbers", lambda: ledger.find_by_numbers(numbers), max_delay_s=max_delay_s)
    if shipments:
        by_shipment = await until_available(
            "shipments", lambda: ledger.find_by_shipments(shipments), max_delay_s=max_delay_s
        )
    reports: list[Reported] = []
    unknown: list[tuple[Record, Said]] = []
    for record, one in said:
        order_ids: Sequence[UUID] = ()
        if one.ref.kind == "order_id":
            order_ids = (UUID(one.ref.value),)
        elif one.ref.kind == "order_no":
            order_ids = (by_number[key],) if (key := (one.ref.channel, one.ref.value)) in by_number else ()
        else:
            order_ids = by_shipment.get(one.ref.value, ())
        reports += [(record, one.of(order_id)) for order_id in order_ids]
        if not order_ids:
            unknown.append((record, one))
    return reports, unknown


def quarantined(waiting: Waiting, partition: int, seen_at: datetime) -> Quarantined:
    """A waiting record as the ledger keeps it."""
    record, source, why = waiting
    ref = (why.ref if isinstance(why, UnknownCode) else why) or Ref("", "", "")
    subject = why.code if isinstance(why, UnknownCode) else " ".join(filter(None, why))
    return Quarantined(
        partition=partition,
        offset=record.offset,
        seen_at=seen_at,
        reason=UNKNOWN_CODE if isinstance(why, UnknownCode) else UNKNOWN_ORDER,
        source=source,
        subject=subject,
        channel=ref.channel or None,
        channel_order_no=ref.value if ref.kind == "order_no" else None,
        shipment=ref.value if ref.kind == "shipment" else None,
        order_id=UUID(ref.value) if ref.kind == "order_id" else None,
        value=record.value or b"",
        headers=tuple(record.headers),
    )


def tickets(waiting: Sequence[Waiting], opened_at: datetime) -> list[TicketToOpen]:
    """One ticket for each source and unknown code, however many records have it."""
    codes = {why[:2] for _, _, why in waiting if isinstance(why, UnknownCode)}
    made = []
    for source, code in sorted(codes):
        ticket = Ticket(
            ticket_id=f"{UNKNOWN_CODE}:{source}:{code}",
            kind=UNKNOWN_CODE,
            subject=f"{source}: {code}",
            detail=f"{source} sends the code {code!r}, which its mapping does not have. Its records wait.",
            fix=f"Add the code to {source}.toml in FLOODWAY_SOURCES_DIR, restart the workers, and release the records.",
            opened_at=opened_at,
        )
        made.append(to_open(ticket))
    return made
