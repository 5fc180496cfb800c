"""What follows a surge in the demo: some orders are paid, some cancelled, the rest is left until its holds expire."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from time import monotonic
from uuid import UUID

import msgspec

from loadtest.surge import Show
from streams.instants import to_ms
from streams.messages import Report, ReportType
from streams.parts import Parts
from streams.stores.kafka_access import access
from streams.stores.log import Entry
from streams.stores.partitioner import partition_of
from streams.stores.reader_kafka import TopicReader
from streams.topics import CHANGED, REPORTED

PAY, CANCEL = 0.50, 0.20
"""Shares of accepted orders that are paid and cancelled; the rest is left until its hold expires."""
SOURCE = "demo"


class _Changed(msgspec.Struct, gc=False):
    order_id: str
    change: str


async def aftermath(parts: Parts, accepted: list[str], *, timeout_s: float, show: Show) -> dict[str, int]:
    """Pay a share of the orders, cancel another, wait until the rest has expired; returns changes by kind."""
    reader = await TopicReader.open(access(parts.settings), CHANGED.name, start="end")
    try:
        await _send_reports(parts, accepted)
        changes: dict[str, str] = {}
        deadline = monotonic() + timeout_s
        decoder = msgspec.json.Decoder(_Changed)
        while len(changes) < len(accepted) and monotonic() < deadline:
            for records in (await reader.next()).values():
                for record in records:
                    changed = decoder.decode(record.value or b"")
                    changes[changed.order_id] = changed.change
            show("paying, cancelling, expiring", len(changes), len(accepted))
        return dict(Counter(changes.values()))
    finally:
        await reader.close()


async def _send_reports(parts: Parts, accepted: list[str]) -> None:
    """Report payments and cancellations, spread over the orders, as their systems would."""
    count = await parts.log.partitions(REPORTED.name)
    encode, now = msgspec.json.Encoder().encode, datetime.now(UTC)
    entries: dict[int, list[Entry]] = {partition: [] for partition in range(count)}
    for number, order_id in enumerate(accepted):
        share = number * 0.618_033_988_749 % 1  # evenly spread, and the same in every run
        if share >= PAY + CANCEL:
            continue
        kind = ReportType.PAYMENT_SUCCEEDED if share < PAY else ReportType.ORDER_CANCELLED
        message = Report(f"{kind.value}-{order_id}", SOURCE, kind, UUID(order_id), now)
        key = order_id.encode()
        entries[partition_of(key, count)].append(Entry(key, encode(message), to_ms(now)))
    await asyncio.gather(*(parts.log.append(REPORTED.name, p, some) for p, some in entries.items() if some))
