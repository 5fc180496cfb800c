"""Everything that crosses the wire, typed and bounded.

One `msgspec` decode parses and validates a message in one pass; unknown fields are tolerated, so that producers may
run ahead of us. The version is in the topic's name, not in the message. Money is integer minor units (cents, fen);
every timestamp carries its offset from UTC.

The bounds are chosen so that no sum can leave 53 bits, the integers that Lua and JavaScript keep exact:
MAX_LINES x MAX_QTY x MAX_UNIT_PRICE = 1e15 < 2**53.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

MAX_LINES = 100
MAX_QTY = 10_000
MAX_UNIT_PRICE = 1_000_000_000
MAX_NAME = 64
"""Characters of a SKU's or a promotion's name."""
MAX_MESSAGE_BYTES = 65_536
"""A submission larger than this is refused unread: the largest valid one (100 lines, full address) has under 20 kB."""

assert MAX_LINES * MAX_QTY * MAX_UNIT_PRICE < 2**53

# Patterns are published with the schema, and checked by streams/core/texts.py rather than by msgspec, whose regular
# expressions are three quarters of the cost of decoding an order.
#
# `|` parts SKU from pool in the stock's keys and `:` parts the pool's kind from its campaign, so neither may occur.
# `$(?!\n)` means the very end in Python and in ECMAScript alike; a bare `$` would let a final newline through here.
_END = r"$(?!\n)"
NAME = r"[A-Za-z0-9][A-Za-z0-9._~@+-]*"
VISIBLE = r"[!-~]+"
CURRENCY = r"[A-Z]{3}"
# No control characters: Postgres cannot store NUL, and nothing else of theirs belongs in an address.
TEXT = r"[^\x00-\x1f\x7f]*"


def _text(pattern: str, *, least: int | None = None, most: int | None = None, description: str | None = None) -> Meta:
    schema = {"pattern": f"^{pattern}{_END}"}
    return Meta(min_length=least, max_length=most, description=description, extra_json_schema=schema)


Sku = Annotated[str, _text(NAME, least=1, most=MAX_NAME, description="Stock keeping unit.")]
Channel = Annotated[str, _text(NAME, least=1, most=32, description="Where the order was placed.")]
PromotionId = Annotated[str, _text(NAME, least=1, most=MAX_NAME, description="A promotion's own name.")]
SubmissionId = Annotated[
    str,
    _text(
        VISIBLE,
        least=1,
        most=64,
        description="Idempotency key within its channel: repeat it to repeat the submission, never reuse it.",
    ),
]
BuyerId = Annotated[str, _text(VISIBLE, least=1, most=64, description="The channel's id of the buyer.")]
Qty = Annotated[int, Meta(ge=1, le=MAX_QTY, description="Units.")]
UnitPrice = Annotated[int, Meta(ge=0, le=MAX_UNIT_PRICE, description="Minor units of the currency, each.")]
Currency = Annotated[str, _text(CURRENCY, description="ISO 4217 code.")]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset from UTC.")]
ShipmentNo = Annotated[str, _text(VISIBLE, least=1, most=64, description="The carrier's number of a parcel.")]
ShortText = Annotated[str, _text(TEXT, most=64)]
LongText = Annotated[str, _text(TEXT, most=256)]
Amount = Annotated[int, Meta(ge=0, lt=2**53, description="Minor units of the currency.")]


class Line(Struct, frozen=True, gc=False):
    """One line of a submission. The same SKU may stand on several lines; they add up."""

    sku: Sku
    qty: Qty
    unit_price: UnitPrice


class ShipTo(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where the goods go; taken as given, matched to a customer later."""

    name: LongText | None = None
    phone: ShortText | None = None
    country: ShortText | None = None
    region: ShortText | None = None
    city: ShortText | None = None
    postal_code: ShortText | None = None
    address: LongText | None = None


class Submission(Struct, frozen=True, gc=False, omit_defaults=True):
    """An order as a storefront submits it, on `orders.submitted.v1`, keyed `channel:submission_id`."""

    submission_id: SubmissionId
    channel: Channel
    buyer_id: BuyerId
    lines: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=MAX_LINES)]
    currency: Currency
    submitted_at: Instant
    channel_order_no: ShortText | None = None
    promotion_id: PromotionId | None = None
    ship_to: ShipTo | None = None


class Outcome(StrEnum):
    """What became of a submission."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Why a submission was rejected."""

    OUT_OF_STOCK = "out_of_stock"
    UNKNOWN_SKU = "unknown_sku"
    UNKNOWN_PROMOTION = "unknown_promotion"
    PROMOTION_NOT_OPEN = "promotion_not_open"
    PROMOTION_CLOSED = "promotion_closed"
    NOT_IN_PROMOTION = "not_in_promotion"
    BUYER_LIMIT = "buyer_limit"
    CONFLICTING_REPEAT = "conflicting_repeat"


class DecidedLine(Struct, frozen=True, gc=False):
    """Units held for an order: one entry per SKU, whatever lines asked for it."""

    sku: str
    pool: str
    qty: int


class Decision(Struct, frozen=True, gc=False, omit_defaults=True):
    """The one decision on a submission, on `orders.decided.v1`, keyed by `order_id`.

    A repeat of the submission is answered by the first decision again with `replay` true. A submission that reuses a
    key with another body is answered by a rejection (`conflicting_repeat`) that carries the first order's id.
    `read_token` is a position in the ledger: a reader who passes it sees at least this decision.
    """

    order_id: UUID
    submission_id: str
    channel: str
    outcome: Outcome
    decided_at: datetime
    submitted_at: datetime
    trace_id: str
    currency: str
    total: int
    reason: Reason | None = None
    replay: bool = False
    lines: tuple[DecidedLine, ...] = ()
    held_until: datetime | None = None
    promotion_id: str | None = None
    read_token: str | None = None


class ReportType(StrEnum):
    """What may be reported of an order from outside; docs/vocabulary.md tells where each leads."""

    PAYMENT_SUCCEEDED = "payment.succeeded"
    ORDER_CANCELLED = "order.cancelled"
    PAYMENT_PENDING = "payment.pending"
    PAYMENT_AUTHORISED = "payment.authorised"
    PAYMENT_FAILED = "payment.failed"
    REFUND_STARTED = "refund.started"
    REFUND_PARTIAL = "refund.partial"
    REFUND_SUCCEEDED = "refund.succeeded"
    WAREHOUSE_ACCEPTED = "warehouse.accepted"
    WAREHOUSE_REFUSED = "warehouse.refused"
    PICKING_STARTED = "picking.started"
    PARCEL_PACKED = "parcel.packed"
    PARCEL_SHIPPED = "parcel.shipped"
    PARCEL_MOVED = "parcel.moved"
    PARCEL_READY_FOR_PICKUP = "parcel.ready_for_pickup"
    PARCEL_OUT_FOR_DELIVERY = "parcel.out_for_delivery"
    PARCEL_DELIVERY_FAILED = "parcel.delivery_failed"
    PARCEL_LOST = "parcel.lost"
    PARCEL_SENT_BACK = "parcel.sent_back"
    PARCEL_DELIVERED = "parcel.delivered"
    ORDER_COMPLETED = "order.completed"
    RETURN_REQUESTED = "return.requested"
    RETURN_REJECTED = "return.rejected"
    RETURN_WITHDRAWN = "return.withdrawn"
    RETURN_APPROVED = "return.approved"
    RETURN_SENT = "return.sent"
    RETURN_RECEIVED = "return.received"
    RETURN_INSPECTED = "return.inspected"
    RETURN_CLOSED = "return.closed"
    ORDER_REMARKED = "order.remarked"


class Report(Struct, frozen=True, gc=False, omit_defaults=True):
    """Something that happened to an order elsewhere, on `orders.reported.v1`, keyed by `order_id`.

    `source` and `event_id` together are its idempotency key. `shipment` is the carrier's number of the parcel that it
    is about, `sku` the line; without them it is about the whole order. `raw_code` and `zone` are the source's own code
    and the zone of its clock, where it was put into these words for it.
    """

    event_id: SubmissionId
    source: Channel
    type: ReportType
    order_id: UUID
    occurred_at: Instant
    amount: Amount | None = None
    note: LongText | None = None
    shipment: ShipmentNo | None = None
    sku: Sku | None = None
    raw_code: ShortText | None = None
    zone: ShortText | None = None


class Change(StrEnum):
    """What happened to an order after its decision: to its stock, a milestone that it has reached, or our remark."""

    CONFIRMED = "confirmed"
    CONFIRMED_LATE = "confirmed_late"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUND_DUE = "refund_due"
    PAYMENT_PENDING = "payment_pending"
    AUTHORISED = "authorised"
    PAYMENT_FAILED = "payment_failed"
    REFUNDING = "refunding"
    PARTLY_REFUNDED = "partly_refunded"
    REFUNDED = "refunded"
    RELEASED = "released"
    WAREHOUSE_REFUSED = "warehouse_refused"
    PICKING = "picking"
    PACKED = "packed"
    SHIPPED = "shipped"
    IN_TRANSIT = "in_transit"
    READY_FOR_PICKUP = "ready_for_pickup"
    OUT_FOR_DELIVERY = "out_for_delivery"
    DELIVERY_FAILED = "delivery_failed"
    LOST = "lost"
    SENT_BACK = "sent_back"
    DELIVERED = "delivered"
    COMPLETED = "completed"
    RETURN_REQUESTED = "return_requested"
    RETURN_REJECTED = "return_rejected"
    RETURN_WITHDRAWN = "return_withdrawn"
    RETURN_APPROVED = "return_approved"
    RETURN_SENT = "return_sent"
    RETURN_RECEIVED = "return_received"
    RETURN_INSPECTED = "return_inspected"
    RETURN_CLOSED = "return_closed"
    REMARKED = "remarked"


class OrderChanged(Struct, frozen=True, gc=False, omit_defaults=True):
    """A step in an order's life after its decision, on `orders.changed.v1`, keyed by `order_id`.

    `lines` tells, for changes that move stock, from or into which pool the units went. `status` is what people are
    shown of the order, `version` grows with each of its steps: what comes with a lower one than was seen is older.
    `shipment` and `sku` tell which part it is about, without them it is about the whole order. `overtaken` tells that
    the order was further by the time it was reported: it is for the record, and nobody has to act on it.
    """

    order_id: UUID
    submission_id: str
    channel: str
    change: Change
    changed_at: datetime
    cause: str
    trace_id: str
    lines: tuple[DecidedLine, ...] = ()
    read_token: str | None = None
    status: str | None = None
    version: int | None = None
    occurred_at: datetime | None = None
    shipment: str | None = None
    sku: str | None = None
    overtaken: bool = False


class PickAction(StrEnum):
    """What a warehouse is to do with a pick list."""

    PICK = "pick"
    WITHDRAW = "withdraw"


class PickList(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a warehouse is to pick for an order, on `warehouse.picklists.v1`, keyed by `order_id`.

    An order has at most one list; it is withdrawn when a paid order is cancelled. `withdraw` asks for the goods to stay
    or come back, whether or not somebody has begun.
    """

    order_id: UUID
    channel: str
    action: PickAction
    lines: tuple[DecidedLine, ...]
    at: datetime
    trace_id: str
    channel_order_no: str | None = None


class NotificationType(StrEnum):
    """What buyers are told."""

    ORDER_UNDER_REVIEW = "order.under_review"
    ORDER_PAID = "order.paid"
    ORDER_EXPIRED = "order.expired"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_REFUND_DUE = "order.refund_due"
    ORDER_REFUNDED = "order.refunded"
    ORDER_SHIPPED = "order.shipped"
    ORDER_READY_FOR_PICKUP = "order.ready_for_pickup"
    ORDER_OUT_FOR_DELIVERY = "order.out_for_delivery"
    ORDER_DELIVERY_FAILED = "order.delivery_failed"
    ORDER_LOST = "order.lost"
    ORDER_SENT_BACK = "order.sent_back"
    ORDER_DELIVERED = "order.delivered"
    ORDER_RETURN_APPROVED = "order.return_approved"
    ORDER_RETURN_REJECTED = "order.return_rejected"
    ORDER_RETURN_RECEIVED = "order.return_received"


class Notification(Struct, frozen=True, gc=False, omit_defaults=True):
    """Something to be told to a buyer, on `notifications.v1`, keyed `channel:submission_id`.

    What is told twice has the same `notification_id`. `message` is the English text; who sends it may have others by
    `type`. `status` is where the order was by then; `overtaken` tells that it was further already, and a buyer who
    knows that the parcel is there need not hear that it was sent.
    """

    notification_id: str
    type: NotificationType
    channel: str
    submission_id: str
    buyer_id: str
    order_id: UUID
    message: str
    at: datetime
    trace_id: str
    channel_order_no: str | None = None
    status: str | None = None
    occurred_at: datetime | None = None
    shipment: str | None = None
    overtaken: bool = False


class TicketEvent(StrEnum):
    """What became of a ticket."""

    OPENED = "opened"
    REOPENED = "reopened"
    ESCALATED = "escalated"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


class Ticket(Struct, frozen=True, gc=False, omit_defaults=True):
    """Something a person must see to, on `tickets.v1`, keyed by `ticket_id`: one a cause, however often it strikes.

    `event` is what became of it, `at` when. `count` is how many orders, records or the like it is about. `level` grows
    with each escalation; `by` is who acknowledged or closed it, without one it closed because its cause was gone.
    """

    ticket_id: str
    kind: str
    subject: str
    detail: str
    fix: str
    opened_at: datetime
    event: TicketEvent = TicketEvent.OPENED
    at: datetime | None = None
    cause: str = ""
    count: int = 1
    level: int = 0
    by: str | None = None


class DeadLetter(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why a message could not be taken, as JSON in the header `floodway-dead-letter`.

    Key, value and headers of the dead letter are those of the original, byte for byte, so that a replay is a copy.
    `field` is a JSON path into the message, `fix` what its producer should change. `target` is to whom it could not
    be delivered.

    A record that unpacks to more than the topic takes is cut: `value_bytes` and `value_sha256` tell what the whole
    value was, and it stands at `topic`, `partition` and `offset` for as long as that topic keeps it.
    """

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    failed_at: datetime
    field: str | UnsetType = UNSET
    fix: str | UnsetType = UNSET
    target: str | UnsetType = UNSET
    value_bytes: int | UnsetType = UNSET
    value_sha256: str | UnsetType = UNSET


class Review(Struct, frozen=True, gc=False):
    """Why a submission waits on `orders.review.v1`, as JSON in the header `floodway-review`.

    `partition` and `offset` are where it was submitted, on `orders.submitted.v1`: it is decided as if read there.
    """

    partition: int
    offset: int
    diverted_at: datetime
    cause: str
