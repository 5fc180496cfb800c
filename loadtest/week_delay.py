"""How long it takes from when a system has said something of an order until everybody is told of it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from loadtest.week import Heard

Key = tuple[int, str, int]
"""An order's number, a parcel, and the second in which something happened."""


class _Changed(msgspec.Struct, gc=False):
    order_id: UUID
    occurred_at: datetime | None = None
    shipment: str | None = None


def ready_at(sent: Sequence[tuple[Heard, int]]) -> dict[Key, int]:
    """When all was sent that it takes to take a message: itself, and for a scan what told whose parcel it is; in ms."""
    named: dict[str, int] = {}
    first: dict[Key, int] = {}
    for one, at_ms in sent:
        key = (one.order, one.parcel, int(one.at.timestamp()))
        first.setdefault(key, at_ms)
        if one.source == "wms" and one.parcel:
            named.setdefault(one.parcel, at_ms)
    return {key: max(at_ms, named.get(key[1], at_ms)) for key, at_ms in first.items()}


def delays(
    changes: Iterable[tuple[int, bytes]], sent: Sequence[tuple[Heard, int]], numbers: Mapping[UUID, int]
) -> dict[str, float]:
    """Mean, percentiles and most in seconds, over all changes of these orders that a message of `sent` has made."""
    ready, decode = ready_at(sent), msgspec.json.Decoder(_Changed).decode
    found: list[float] = []
    for told_ms, value in changes:
        changed = decode(value)
        number = numbers.get(changed.order_id)
        if number is None or changed.occurred_at is None:
            continue
        began_ms = ready.get((number, changed.shipment or "", int(changed.occurred_at.timestamp())))
        if began_ms is not None:
            found.append((told_ms - began_ms) / 1000)
    if not found:
        return {}
    found.sort()
    percentiles = {name: found[min(len(found) - 1, int(len(found) * share))] for name, share in _SHARES.items()}
    mean = sum(found) / len(found)
    return {"changes": len(found), "mean": round(mean, 3), **{n: round(s, 3) for n, s in percentiles.items()}}


_SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
