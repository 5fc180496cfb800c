"""Warehouse and carrier of the demo: each says its next word, in its codes, when it hears that an order got so far.

What they say goes by way of their mappings (`streams/sources`), as what real ones say does: the warehouse knows an
order by our id, the carrier knows a parcel by its number alone.
"""

import json
from collections import defaultdict
from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from streams.core.decode import Undecodable
from streams.core.remarks import remark
from streams.instants import to_ms
from streams.parts import Parts
from streams.stores.log import Entry
from streams.stores.partitioner import partition_of
from streams.topics import REPORTED, SOURCE_HEADER

BEIJING = ZoneInfo("Asia/Shanghai")
WORD = (
    "You are looking at a real order of the demo: every line on this page came through Kafka, in a source's own codes."
)
_NEXT: dict[str, tuple[str, str]] = {
    "confirmed": ("wms", "ACCEPT"),
    "confirmed_late": ("wms", "ACCEPT"),
    "released": ("wms", "PICK"),
    "picking": ("wms", "PACKAGE"),
    "packed": ("sf", "50"),
    "shipped": ("sf", "30"),
    "in_transit": ("sf", "44"),
    "out_for_delivery": ("sf", "80"),
}
"""By what an order was announced to have reached: who speaks next, and with which code."""
LAST = "delivered"

Said = tuple[bytes, bytes, tuple[tuple[str, bytes | None], ...]]
"""Key, value and headers of a record."""


class Following:
    """Follows some orders to their buyers. The first of them gets a remark on its way."""

    def __init__(self, order_ids: list[str]) -> None:
        self.orders = order_ids
        self._parcels = {order_id: f"SF{15_000_000_000 + n}" for n, order_id in enumerate(order_ids)}
        self.delivered: set[str] = set()
        self._to_say: list[Said] = []

    @property
    def is_done(self) -> bool:
        """Whether all have been delivered."""
        return len(self.delivered) == len(self.orders)

    def hear(self, order_id: str, change: str) -> None:
        """An order was announced to have reached this; whoever is next has something to say."""
        parcel = self._parcels.get(order_id)
        if parcel is None:
            return
        if change == LAST:
            self.delivered.add(order_id)
        elif change in _NEXT:
            self._to_say.append(_word(*_NEXT[change], order_id, parcel))
        if change == "in_transit" and order_id == self.orders[0]:
            self._to_say.append(_remark(order_id))

    async def speak(self, parts: Parts, partitions: int) -> None:
        """Say what is to be said, to Kafka."""
        entries: dict[int, list[Entry]] = defaultdict(list)
        now_ms = to_ms(datetime.now(UTC))
        for key, value, headers in self._to_say:
            entries[partition_of(key, partitions)].append(Entry(key, value, now_ms, headers))
        self._to_say.clear()
        for partition, some in entries.items():
            await parts.log.append(REPORTED.name, partition, some)


def _word(source: str, code: str, order_id: str, parcel: str) -> Said:
    at = datetime.now(BEIJING).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
    if source == "wms":
        body = {"orderId": order_id, "processStatus": code, "operateTime": at, "warehouseCode": "HZ1"}
        body |= {"expressCode": parcel} if code == "PACKAGE" else {}
        return order_id.encode(), json.dumps(body).encode(), ((SOURCE_HEADER, b"wms"),)
    body = {"mailno": parcel, "opCode": code, "acceptTime": at}
    return parcel.encode(), json.dumps(body).encode(), ((SOURCE_HEADER, b"sf"),)


def _remark(order_id: str) -> Said:
    value = remark(UUID(order_id), "demo", WORD, datetime.now(UTC), f"demo-{order_id}")
    assert not isinstance(value, Undecodable), value
    return order_id.encode(), value, ()
