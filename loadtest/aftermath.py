"""What follows a surge in the demo: some orders are paid, some cancelled, the rest is left until its holds expire.

Some of the paid are followed on: picked, packed, shipped, delivered.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from time import monotonic
from typing import NamedTuple
from uuid import UUID

import msgspec

from loadtest.follow import Following
from loadtest.surge import Show
from streams.instants import to_ms
from streams.messages import Report, ReportType
from streams.parts import Parts
from streams.stores.kafka_access import access
from streams.stores.log import Entry
from streams.stores.partitioner import partition_of
from streams.stores.reader_kafka import TopicReader
from streams.topics import CHANGED, REPORTED


class Shares(NamedTuple):
    """Of accepted orders: how many are paid, how many of all are followed then to delivery, how many are cancelled.

    The rest is left until its hold expires.
    """

    paid: float
    followed: float
    cancelled: float


DEMO = Shares(paid=0.50, followed=0.01, cancelled=0.20)
SOURCE = "demo"
ENDS = frozenset({"confirmed", "confirmed_late", "cancelled", "expired", "refund_due"})


class Aftermath(NamedTuple):
    """Ends that holds have come to, by kind, and the orders that were followed: how many arrived."""

    ends: dict[str, int]
    followed: list[str]
    delivered: int


class _Changed(msgspec.Struct, gc=False):
    order_id: str
    change: str


async def aftermath(
    parts: Parts, accepted: list[str], *, timeout_s: float, show: Show, shares: Shares = DEMO
) -> Aftermath:
    """Pay a share of the orders, follow some of those, cancel another share, wait until the rest has expired."""
    reader = await TopicReader.open(access(parts.settings), CHANGED.name, start="end")
    following = Following(followed(accepted, shares))
    try:
        partitions = await parts.log.partitions(REPORTED.name)
        await _send_reports(parts, accepted, partitions, shares)
        ends: dict[str, str] = {}
        deadline = monotonic() + timeout_s
        decoder = msgspec.json.Decoder(_Changed)
        while (len(ends) < len(accepted) or not following.is_done) and monotonic() < deadline:
            for records in (await reader.next()).values():
                for record in records:
                    changed = decoder.decode(record.value or b"")
                    if changed.change in ENDS:
                        ends[changed.order_id] = changed.change
                    following.hear(changed.order_id, changed.change)
            await following.speak(parts, partitions)
            show("paying, cancelling, expiring", len(ends), len(accepted))
            show("picking, shipping, delivering", len(following.delivered), len(following.orders))
        return Aftermath(dict(Counter(ends.values())), following.orders, len(following.delivered))
    finally:
        await reader.close()


def followed(accepted: list[str], shares: Shares = DEMO) -> list[str]:
    """Those of them that are followed: all are among the paid."""
    return [order_id for number, order_id in enumerate(accepted) if _share(number) < shares.followed]


def _share(number: int) -> float:
    """Evenly spread, and the same in every run."""
    return number * 0.618_033_988_749 % 1


async def _send_reports(parts: Parts, accepted: list[str], count: int, shares: Shares) -> None:
    """Report payments and cancellations, spread over the orders, as their systems would."""
    encode, now = msgspec.json.Encoder().encode, datetime.now(UTC)
    entries: dict[int, list[Entry]] = {partition: [] for partition in range(count)}
    for number, order_id in enumerate(accepted):
        share = _share(number)
        if share >= shares.paid + shares.cancelled:
            continue
        kind = ReportType.PAYMENT_SUCCEEDED if share < shares.paid else ReportType.ORDER_CANCELLED
        message = Report(f"{kind.value}-{order_id}", SOURCE, kind, UUID(order_id), now)
        key = order_id.encode()
        entries[partition_of(key, count)].append(Entry(key, encode(message), to_ms(now)))
    await asyncio.gather(*(parts.log.append(REPORTED.name, p, some) for p, some in entries.items() if some))
