"""The words for where an order is: four axes, the milestones on each, and what each event of a report leads to. Pure.

What an order has reached is a set of milestones, and the set only grows; an axis stands at the one of highest rank. So
reports that come in another order, or twice, or in other chunks, end in the same set; nothing runs backwards, and a
final milestone has nothing beyond it.

docs/vocabulary.md is made from the tables here. Codes are stored for ever: add new ones, never change one.
"""

from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from streams.messages import ReportType


class Axis(StrEnum):
    """What a milestone is about. An order has one of each, and a fulfilment for each shipment and line."""

    PAYMENT = "payment"
    STOCK = "stock"
    FULFILMENT = "fulfilment"
    RETURN = "return"


class Milestone(NamedTuple):
    """One milestone. Of several that are reached the one of highest rank is where the axis stands.

    One that is `on_way` is passed by whoever gets further, reported or not; the others (a failed payment, a lost
    parcel) happen or do not, and `past` tells up to which rank the way was gone before. `final`: nothing lies beyond.
    The last three are the names of others: schema.org, GS1 (CBV business step or disposition), EDI (X12 set and code).
    """

    code: int
    axis: Axis
    name: str
    rank: int
    zh: str
    en: str
    on_way: bool = True
    past: int = 0
    final: bool = False
    schema_org: str = ""
    gs1: str = ""
    edi: str = ""


Part = tuple[str, str]
"""Number of a shipment and a SKU; empty ones stand for all of them."""

WHOLE: Part = ("", "")

P, S, F, R = Axis.PAYMENT, Axis.STOCK, Axis.FULFILMENT, Axis.RETURN

MILESTONES: tuple[Milestone, ...] = (
    Milestone(1000, P, "unpaid", 0, "待付款", "Awaiting payment", schema_org="PaymentDue"),
    Milestone(1010, P, "payment_failed", 5, "支付失败", "Payment failed", on_way=False, schema_org="PaymentDeclined"),
    Milestone(1020, P, "payment_pending", 10, "支付中", "Payment pending", on_way=False),
    Milestone(1030, P, "authorised", 20, "已授权", "Authorised", on_way=False),
    Milestone(1040, P, "paid", 40, "已付款", "Paid", schema_org="PaymentComplete", edi="820"),
    Milestone(1050, P, "refund_due", 50, "待退款", "Refund due", on_way=False, past=40),
    Milestone(1060, P, "refunding", 60, "退款中", "Refund under way", on_way=False, past=40),
    Milestone(1070, P, "partly_refunded", 70, "部分退款", "Partly refunded", on_way=False, past=40, edi="812"),
    Milestone(1090, P, "refunded", 90, "已退款", "Refunded", final=True, edi="812"),
    Milestone(2000, S, "held", 0, "库存已锁定", "Stock held", schema_org="OrderPaymentDue", gs1="reserving"),
    Milestone(2020, S, "expired", 20, "超时未付", "Hold expired", on_way=False, schema_org="PaymentPastDue"),
    Milestone(2040, S, "sold", 40, "库存已扣减", "Stock sold", on_way=False, gs1="retail_selling"),
    Milestone(2090, S, "cancelled", 90, "已取消", "Cancelled", on_way=False, final=True, schema_org="OrderCancelled",
              edi="855 RD, 860"),
    Milestone(3000, F, "waiting", 0, "待处理", "Waiting for the warehouse", schema_org="OrderProcessing"),
    Milestone(3010, F, "released", 10, "仓库已接单", "Accepted by the warehouse", schema_org="OrderProcessing",
              edi="855 AC/AD/AK, 940"),
    Milestone(3015, F, "warehouse_refused", 15, "仓库拒单", "Refused by the warehouse", on_way=False,
              schema_org="OrderProblem", edi="855 RJ"),
    Milestone(3020, F, "picking", 20, "拣货中", "Being picked", schema_org="OrderProcessing", gs1="picking"),
    Milestone(3030, F, "packed", 30, "已打包", "Packed", schema_org="OrderProcessing", gs1="packing"),
    Milestone(3050, F, "shipped", 50, "已发货", "Shipped", schema_org="OrderInTransit", gs1="shipping",
              edi="856, 945, DESADV"),
    Milestone(3060, F, "in_transit", 60, "运输中", "In transit", schema_org="OrderInTransit", gs1="in_transit",
              edi="214 X6, IFTSTA"),
    Milestone(3065, F, "ready_for_pickup", 65, "待自提", "Ready for pickup", on_way=False, past=60,
              schema_org="OrderPickupAvailable", edi="214 AV"),
    Milestone(3070, F, "out_for_delivery", 70, "派送中", "Out for delivery", schema_org="OrderInTransit",
              gs1="transporting", edi="214 X8"),
    Milestone(3074, F, "delivery_failed", 74, "派送失败", "Delivery failed", on_way=False, past=60,
              schema_org="OrderProblem", edi="214 A7"),
    Milestone(3076, F, "lost", 76, "丢失", "Lost", on_way=False, past=50, schema_org="OrderProblem", edi="214 A9"),
    Milestone(3078, F, "sent_back", 78, "退回中", "Sent back to the sender", on_way=False, past=50,
              schema_org="OrderProblem", gs1="returned", edi="214 CA"),
    Milestone(3090, F, "delivered", 90, "已签收", "Delivered", schema_org="OrderDelivered", gs1="receiving",
              edi="214 D1, RECADV"),
    Milestone(3100, F, "completed", 100, "交易完成", "Completed", final=True, schema_org="OrderDelivered"),
    Milestone(4000, R, "kept", 0, "无退货", "No return"),
    Milestone(4010, R, "return_requested", 10, "申请退货", "Return requested", edi="180"),
    Milestone(4015, R, "return_rejected", 15, "退货被拒", "Return rejected", on_way=False, past=10),
    Milestone(4020, R, "return_withdrawn", 20, "退货已撤销", "Return withdrawn", on_way=False, past=10),
    Milestone(4030, R, "return_approved", 30, "同意退货", "Return approved", edi="180"),
    Milestone(4040, R, "return_sent", 40, "退货寄出", "Return sent", gs1="shipping"),
    Milestone(4050, R, "return_received", 50, "退货入库", "Return received", schema_org="OrderReturned",
              gs1="returned"),
    Milestone(4060, R, "return_inspected", 60, "退货已质检", "Return inspected", gs1="inspecting"),
    Milestone(4090, R, "return_closed", 90, "退货完成", "Return closed", final=True, schema_org="OrderReturned"),
)  # fmt: skip

BY_CODE = MappingProxyType({milestone.code: milestone for milestone in MILESTONES})
BY_NAME = MappingProxyType({milestone.name: milestone for milestone in MILESTONES})

_E = ReportType
EVENTS: MappingProxyType[ReportType, Milestone | None] = MappingProxyType(
    {
        _E.PAYMENT_PENDING: BY_NAME["payment_pending"],
        _E.PAYMENT_AUTHORISED: BY_NAME["authorised"],
        _E.PAYMENT_FAILED: BY_NAME["payment_failed"],
        _E.PAYMENT_SUCCEEDED: BY_NAME["paid"],
        _E.REFUND_STARTED: BY_NAME["refunding"],
        _E.REFUND_PARTIAL: BY_NAME["partly_refunded"],
        _E.REFUND_SUCCEEDED: BY_NAME["refunded"],
        _E.ORDER_CANCELLED: BY_NAME["cancelled"],
        _E.WAREHOUSE_ACCEPTED: BY_NAME["released"],
        _E.WAREHOUSE_REFUSED: BY_NAME["warehouse_refused"],
        _E.PICKING_STARTED: BY_NAME["picking"],
        _E.PARCEL_PACKED: BY_NAME["packed"],
        _E.PARCEL_SHIPPED: BY_NAME["shipped"],
        _E.PARCEL_MOVED: BY_NAME["in_transit"],
        _E.PARCEL_READY_FOR_PICKUP: BY_NAME["ready_for_pickup"],
        _E.PARCEL_OUT_FOR_DELIVERY: BY_NAME["out_for_delivery"],
        _E.PARCEL_DELIVERY_FAILED: BY_NAME["delivery_failed"],
        _E.PARCEL_LOST: BY_NAME["lost"],
        _E.PARCEL_SENT_BACK: BY_NAME["sent_back"],
        _E.PARCEL_DELIVERED: BY_NAME["delivered"],
        _E.ORDER_COMPLETED: BY_NAME["completed"],
        _E.RETURN_REQUESTED: BY_NAME["return_requested"],
        _E.RETURN_REJECTED: BY_NAME["return_rejected"],
        _E.RETURN_WITHDRAWN: BY_NAME["return_withdrawn"],
        _E.RETURN_APPROVED: BY_NAME["return_approved"],
        _E.RETURN_SENT: BY_NAME["return_sent"],
        _E.RETURN_RECEIVED: BY_NAME["return_received"],
        _E.RETURN_INSPECTED: BY_NAME["return_inspected"],
        _E.RETURN_CLOSED: BY_NAME["return_closed"],
        _E.ORDER_REMARKED: None,
    }
)
"""The milestone that an event leads to; None: it is kept and moves nothing."""

assert len(EVENTS) == len(ReportType), "every event leads somewhere, or says that it does not"
assert len(BY_CODE) == len(BY_NAME) == len(MILESTONES), "codes and names are unique"


_START = MappingProxyType({axis: next(m for m in MILESTONES if m.axis is axis and m.rank == 0) for axis in Axis})


@lru_cache(maxsize=16_384)
def stands(axis: Axis, codes: frozenset[int]) -> Milestone:
    """Where an axis stands when these codes are reached: at the one of highest rank."""
    mine = (BY_CODE[code] for code in codes if BY_CODE[code].axis is axis)
    return max(mine, key=lambda m: m.rank, default=_START[axis])


def overtaken(milestone: Milestone, codes: frozenset[int]) -> bool:
    """Whether its axis is further already: somebody has to be told of it, but there is nothing more to be done."""
    return stands(milestone.axis, codes).rank > milestone.rank


def next_on(axis: Axis) -> list[tuple[Milestone, Milestone]]:
    """The steps from one milestone to the next that an axis allows, without those that skip some."""
    way = [m for m in MILESTONES if m.axis is axis and m.on_way]
    steps = list(pairwise(way))
    for aside in (m for m in MILESTONES if m.axis is axis and not m.on_way):
        before = [m for m in way if m.rank <= aside.past]
        beyond = [m for m in way if m.rank > aside.rank]
        steps += [(before[-1], aside), *((aside, m) for m in beyond[:1])]
    return steps
