"""Good messages to start from: drawn by a seed, of all the shapes that the schemas allow."""

from random import Random
from typing import Any
from uuid import UUID

from streams.messages import ReportType

Body = dict[str, Any]
"""A message as JSON has it."""

_SKUS = ("TEA", "SKU-1", "a", "x" * 64, "No.7~b@c+d", "0")
_TEXTS = ("Zoë Ångström", "杭州", "", "№ 12/345", "Main St. 5", "\u2028", "🛒" * 8, 'quo"te\\')
_TIMES = (
    "2026-11-11T00:00:00+08:00",
    "2026-11-11T00:00:00Z",
    "2026-11-11T00:00:00.123456-14:00",
    "2000-01-01T00:00:00Z",
    "2099-12-31T23:59:59.999999Z",
    "2028-02-29T12:00:00.5+05:45",
)
_TYPES = tuple(ReportType)
_SHIP_TO = ("name", "phone", "country", "region", "city", "postal_code", "address")


def submission(choose: Random) -> Body:
    """A submission that there is nothing wrong with."""
    body: Body = {
        "submission_id": f"S-{choose.getrandbits(64):x}",
        "channel": choose.choice(("web", "tmall", "own-shop", "a" * 32)),
        "buyer_id": choose.choice(("b-1", "!", "~" * 64, "buyer:7|x")),
        "lines": [_line(choose) for _ in range(choose.choice((1, 1, 1, 2, 3, 7)))],
        "currency": choose.choice(("CNY", "EUR", "USD")),
        "submitted_at": choose.choice(_TIMES),
    }
    if choose.random() < 0.3:
        body["channel_order_no"] = choose.choice(_TEXTS)
    if choose.random() < 0.3:
        body["promotion_id"] = choose.choice(("11-11", "p", None))
    if choose.random() < 0.3:
        body["ship_to"] = {name: choose.choice((*_TEXTS, None)) for name in choose.sample(_SHIP_TO, 3)}
    return body


def report(choose: Random) -> Body:
    """A report that there is nothing wrong with, on an order that nobody knows."""
    body: Body = {
        "event_id": f"E-{choose.getrandbits(64):x}",
        "source": choose.choice(("pay", "wms.2", "z" * 32)),
        "type": choose.choice(_TYPES),
        "order_id": str(UUID(int=choose.getrandbits(128))),
        "occurred_at": choose.choice(_TIMES),
    }
    if choose.random() < 0.5:
        body["amount"] = choose.choice((0, 1, 2**53 - 1))
    if choose.random() < 0.3:
        body["note"] = choose.choice((*_TEXTS, None))
    if choose.random() < 0.3:
        more = {"shipment": "SF-1", "sku": "TEA", "raw_code": choose.choice(_TEXTS), "zone": "Asia/Shanghai"}
        body |= {name: more[name] for name in choose.sample(sorted(more), 2)}
    return body


def _line(choose: Random) -> Body:
    price = choose.choice((0, 1, 1999, 1_000_000_000))
    return {"sku": choose.choice(_SKUS), "qty": choose.choice((1, 2, 10_000)), "unit_price": price}
