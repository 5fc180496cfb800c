"""`floodway report`: tell the pipeline what happened to an order, as payment, channel, warehouse or carrier would."""

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID, uuid4

import msgspec

from infra.cli.context import out, print_json, settings
from streams.clock import SystemClock
from streams.core.decode import MessageDecoder, Undecodable
from streams.errors import Refused
from streams.messages import Report, ReportType
from streams.stores.kafka_access import access
from streams.stores.log import Entry
from streams.topics import REPORTED

What = Literal[
    "payment.succeeded",
    "order.cancelled",
    "payment.pending",
    "payment.authorised",
    "payment.failed",
    "refund.started",
    "refund.partial",
    "refund.succeeded",
    "warehouse.accepted",
    "warehouse.refused",
    "picking.started",
    "parcel.packed",
    "parcel.shipped",
    "parcel.moved",
    "parcel.ready_for_pickup",
    "parcel.out_for_delivery",
    "parcel.delivery_failed",
    "parcel.lost",
    "parcel.sent_back",
    "parcel.delivered",
    "order.completed",
    "return.requested",
    "return.rejected",
    "return.withdrawn",
    "return.approved",
    "return.sent",
    "return.received",
    "return.inspected",
    "return.closed",
    "order.remarked",
]
"""The values of `ReportType`: of an enum the command line would take the names."""


async def report(
    what: What, order_id: UUID, *, shipment: str | None = None, event_id: str | None = None, json: bool = False
) -> None:
    """Produce one report to `orders.reported.v1`, keyed by the order's id.

    Parameters
    ----------
    what
        What happened, in the words of docs/vocabulary.md.
    order_id
        The order's id, as it was announced.
    shipment
        The number of the parcel that it is about; the whole order by default.
    event_id
        Idempotency key; a new one by default.
    json
        Print one JSON object.

    """
    message = Report(
        event_id or uuid4().hex, "command-line", ReportType(what), order_id, datetime.now(UTC), shipment=shipment
    )
    value = msgspec.json.encode(message)
    found = MessageDecoder(Report).decode(value)
    if isinstance(found, Undecodable):
        raise Refused(f"That is no report: {found.detail} at {found.field}; {found.fix}.")
    await produce(order_id, value)
    if json:
        print_json({"event_id": message.event_id})
    else:
        out.print(f"Reported {what} of {order_id}.")


async def produce(order_id: UUID, value: bytes) -> None:
    """Append a report to `orders.reported.v1`; returns when all in-sync replicas have it."""
    from streams.stores.log_kafka import KafkaLog  # noqa: PLC0415 - aiokafka takes a moment to import
    from streams.stores.partitioner import partition_of  # noqa: PLC0415

    log = await KafkaLog.connect(access(settings()))
    try:
        key = str(order_id).encode()
        partition = partition_of(key, await log.partitions(REPORTED.name))
        await log.append(REPORTED.name, partition, [Entry(key, value, SystemClock().now_ms())])
    finally:
        await log.close()
