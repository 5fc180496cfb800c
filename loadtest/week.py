"""A scripted week: orders over six channels, and what channels, payment systems, warehouse and carriers say of them.

Every source speaks as it does: its own codes, Chinese labels, naive local times, numbers of its own. `clean` is what
they say in the order in which it happens; `as_it_comes` is the same as it comes in: delayed, shuffled, repeated, with
codes in between that nobody knows. Both have to end in the same orders.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from streams.messages import Line, Submission

BEIJING = ZoneInfo("Asia/Shanghai")
BEGIN = datetime(2026, 11, 9, tzinfo=BEIJING)
DAYS = 7
CHANNELS = ("tmall", "jd", "pdd", "douyin", "shopify", "web")
REPEATED, LATE = 0.15, 0.2
"""Shares of messages that come again, and that come hours late."""
UNKNOWN = 0.004
"""Share of Tmall's messages that are followed by one with a code that nobody knows: one order in 500 has such."""
SKUS = 20


class Heard(NamedTuple):
    """One message of a source, and when it was said; of which order, by its number in the week, and which parcel."""

    at: datetime
    source: str
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...] = ()
    order: int = -1
    parcel: str = ""


class Placed(NamedTuple):
    """One order of the week: its submission, and how its life goes."""

    submission: Submission
    life: str
    parcels: tuple[str, ...]
    number: int


LIVES: tuple[str, ...] = (
    *("delivered",) * 12,
    *("on its way",) * 3,
    *("cancelled unpaid",) * 2,
    *("cancelled paid",) * 2,
    "unpaid",
    "returned",
)


def place(orders: int, seed: int, series: int = 34) -> list[Placed]:
    """The orders of a week, most of them at night sales: from midnight to two in Beijing.

    `series` stands in all numbers and names: of two series with one seed each order has a twin that lives as it does.
    """
    rng = Random(seed)  # noqa: S311 - a schedule, not a secret
    placed = []
    for number in range(orders):
        channel = CHANNELS[number % len(CHANNELS)]
        hour = rng.choice([0, 0, 1, 1, rng.randint(2, 23)])
        at = BEGIN + timedelta(days=rng.randrange(DAYS), hours=hour, seconds=rng.randrange(3600))
        lines = tuple(
            Line(f"W{series}-{rng.randrange(SKUS)}", rng.randint(1, 3), 990) for _ in range(rng.randint(1, 2))
        )
        carrier = "SF" if number % 2 else "ZT"
        parcels = tuple(f"{carrier}{series}x{number:07}{n}" for n in range(rng.choice([1, 1, 1, 2])))
        made = Submission(
            f"w{series}-{number}",
            channel,
            f"b-{number % 997}",
            lines,
            "CNY",
            at.astimezone(UTC),
            channel_order_no=f"{series}{number:08}",
        )
        placed.append(Placed(made, rng.choice(LIVES), parcels, number))
    return placed


def clean(placed: Sequence[Placed], order_ids: Mapping[str, UUID], seed: int) -> list[Heard]:
    """All that is said of them, in the order in which it happens. `order_ids` is by submission id."""
    rng = Random(seed + 1)  # noqa: S311
    heard = [one for order in placed for one in _life(order, order_ids[order.submission.submission_id], rng)]
    return sorted(heard, key=lambda one: one.at)


def as_it_comes(heard: Sequence[Heard], seed: int, unknown_share: float = UNKNOWN) -> tuple[list[Heard], int]:
    """The same delayed, shuffled and repeated, with unknown codes in between; and how many of those."""
    rng = Random(seed + 2)  # noqa: S311
    arrivals: list[tuple[float, int, Heard]] = []
    unknown = 0
    for number, one in enumerate(heard):
        for _ in range(1 + (rng.random() < REPEATED)):
            delay_s = rng.expovariate(1 / 60) + (rng.uniform(3_600, 48 * 3_600) if rng.random() < LATE else 0)
            arrivals.append((one.at.timestamp() + delay_s, number, one))
        if one.source == "tmall" and rng.random() < unknown_share:
            body = json.loads(one.value) | {"status": f"TRADE_NEW_{rng.randrange(3)}"}
            arrivals.append((one.at.timestamp(), number, one._replace(value=_json(body))))
            unknown += 1
    return [one for _, _, one in sorted(arrivals, key=lambda arrival: arrival[:2])], unknown


def _life(order: Placed, order_id: UUID, rng: Random) -> list[Heard]:
    """What is said of one order: paid within minutes, picked within hours, delivered within days."""
    made, life, parcels, _ = order
    at = made.submitted_at
    say = _Say(order, order_id)
    heard: list[Heard] = [say.channel("placed", at)]
    if life == "unpaid":
        return heard
    if life == "cancelled unpaid":
        return [*heard, say.channel("cancelled", at + timedelta(minutes=rng.uniform(1, 20)))]
    at += timedelta(minutes=rng.uniform(1, 20))
    heard.append(say.paid(at))
    if life == "cancelled paid":
        return [*heard, say.channel("cancelled", at + timedelta(minutes=rng.uniform(1, 90)))]
    for code in ("ACCEPT", "PICK"):
        at += timedelta(hours=rng.uniform(0.2, 4))
        heard.append(say.warehouse(code, at))
    arrived = at
    for parcel in parcels:
        there = at
        for code in ("PACKAGE", "DELIVERED"):
            there += timedelta(hours=rng.uniform(0.2, 6))
            heard.append(say.warehouse(code, there, parcel))
        stages = 4 if life != "on its way" else rng.randint(1, 3)
        for stage in range(stages):
            there += timedelta(hours=rng.uniform(1, 20))
            heard.append(say.carrier(stage, there, parcel))
        arrived = max(arrived, there)
    if life in ("delivered", "returned"):
        heard.append(say.channel("finished", arrived + timedelta(days=1)))
    if life == "returned":
        heard.append(say.warehouse("FULFILLED", arrived + timedelta(days=3)))
    return heard


class _Say:
    """What each system says of one order, in its own words."""

    def __init__(self, order: Placed, order_id: UUID) -> None:
        made = order.submission
        self._channel, self._no, self._order_id = made.channel, made.channel_order_no or "", order_id
        self._number = order.number

    def channel(self, what: str, at: datetime) -> Heard:
        return _CHANNELS[self._channel](self._no, self._order_id, what, at)._replace(order=self._number)

    def paid(self, at: datetime) -> Heard:
        return self.channel("paid", at)

    def warehouse(self, code: str, at: datetime, parcel: str = "") -> Heard:
        body = {"orderId": str(self._order_id), "processStatus": code, "operateTime": _local(at), "warehouseCode": "HZ"}
        value = _json(body | ({"expressCode": parcel} if parcel else {}))
        return Heard(at, "wms", value, order=self._number, parcel=parcel)

    def carrier(self, stage: int, at: datetime, parcel: str) -> Heard:
        if parcel.startswith("SF"):
            code = ("50", "30", "44", "80")[stage]
            value = _json({"mailno": parcel, "opCode": code, "acceptTime": _local(at)})
            return Heard(at, "sf", value, order=self._number, parcel=parcel)
        action = ("1", "204", "202", "301")[stage]
        value = _json({"LogisticCode": parcel, "Action": action, "AcceptTime": _local(at)})
        return Heard(at, "kdniao", value, order=self._number, parcel=parcel)


def _tmall(number: str, _: UUID, what: str, at: datetime) -> Heard:
    codes = {
        "placed": "WAIT_BUYER_PAY",
        "paid": "已付款",
        "cancelled": "TRADE_CLOSED_BY_TAOBAO",
        "finished": "交易成功",
    }
    return Heard(at, "tmall", _json({"tid": number, "status": codes[what], "modified": _local(at)}))


def _jd(number: str, _: UUID, what: str, at: datetime) -> Heard:
    codes = {"placed": "NOT_PAY", "paid": "等待出库", "cancelled": "TRADE_CANCELED", "finished": "FINISHED_L"}
    return Heard(at, "jd", _json({"orderId": int(number), "orderState": codes[what], "modified": _local(at)}))


def _pdd(number: str, _: UUID, what: str, at: datetime) -> Heard:
    order, refund = {"placed": (1, 1), "paid": (1, 1), "cancelled": (1, 4), "finished": (3, 1)}[what]
    body = {"order_sn": number, "order_status": order, "refund_status": refund, "updated_at": _local(at)}
    return Heard(at, "pdd", _json(body))


def _douyin(number: str, _: UUID, what: str, at: datetime) -> Heard:
    code = {"placed": 1, "paid": 105, "cancelled": 4, "finished": 5}[what]
    return Heard(at, "douyin", _json({"order_id": number, "order_status": code, "update_time": int(at.timestamp())}))


def _shopify(number: str, _: UUID, what: str, at: datetime) -> Heard:
    topic = {"placed": "orders/create", "paid": "orders/paid", "cancelled": "orders/cancelled"}.get(
        what, "orders/updated"
    )
    headers = (("X-Shopify-Topic", topic.encode()), ("X-Shopify-Webhook-Id", f"{number}-{what}".encode()))
    return Heard(at, "shopify", _json({"id": int(number), "updated_at": at.isoformat()}), headers)


def _web(_: str, order_id: UUID, what: str, at: datetime) -> Heard:
    code = {"placed": "WAIT_BUYER_PAY", "cancelled": "TRADE_CLOSED"}.get(what, "TRADE_SUCCESS")
    form = {"notify_id": f"{order_id.hex}{what}"[:64], "out_trade_no": order_id.hex, "trade_status": code}
    return Heard(at, "alipay", urlencode(form | {"notify_time": _local(at)}).encode())


_CHANNELS: Mapping[str, Callable[[str, UUID, str, datetime], Heard]] = {
    "tmall": _tmall,
    "jd": _jd,
    "pdd": _pdd,
    "douyin": _douyin,
    "shopify": _shopify,
    "web": _web,
}


def _local(at: datetime) -> str:
    """A naive time, as these systems send it: Beijing's, without saying so."""
    return at.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def _json(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()
