"""The topics: names, keys, settings. They are created from here, by name; nothing relies on auto-creation."""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from streams import messages

DAY_MS = 86_400_000
MAX_BATCH_BYTES = 1_048_576
DEAD_LETTER_BYTES = 65_536
"""Room for the header of a dead letter, on top of the largest record that Kafka has taken: else it could not be buried,
and its partition would stand still."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `message` is the type of its values; `key` says in words what its records are keyed by."""

    name: str
    key: str
    message: type[Any]
    summary: str
    settings: MappingProxyType[str, str] = field(default_factory=lambda: _settings(7 * DAY_MS))


def _settings(retention_ms: int, max_batch_bytes: int = MAX_BATCH_BYTES) -> MappingProxyType[str, str]:
    return MappingProxyType(
        {
            "cleanup.policy": "delete",
            "retention.ms": str(retention_ms),
            "max.message.bytes": str(max_batch_bytes),
            "message.timestamp.type": "CreateTime",
        }
    )


SUBMITTED = Topic(
    "orders.submitted.v1",
    "channel:submission_id",
    messages.Submission,
    "Orders as storefronts submit them.",
)
SUBMITTED_DLQ = Topic(
    "orders.submitted.v1.dlq",
    "as the original",
    messages.Submission,
    "Submissions that could not be taken: original bytes, with the reason in the header `floodway-dead-letter`.",
    _settings(30 * DAY_MS, MAX_BATCH_BYTES + DEAD_LETTER_BYTES),
)
DECIDED = Topic("orders.decided.v1", "order_id", messages.Decision, "The decision on each submission.")
REPORTED = Topic("orders.reported.v1", "order_id", messages.Report, "What payment and channels report of orders.")
REPORTED_DLQ = Topic(
    "orders.reported.v1.dlq",
    "as the original",
    messages.Report,
    "Reports that could not be taken: original bytes, with the reason in the header `floodway-dead-letter`.",
    _settings(30 * DAY_MS, MAX_BATCH_BYTES + DEAD_LETTER_BYTES),
)
CHANGED = Topic("orders.changed.v1", "order_id", messages.OrderChanged, "Steps of orders after their decision.")
REVIEW = Topic(
    "orders.review.v1",
    "channel:submission_id",
    messages.Submission,
    "Submissions that waited too long because a store was away: original bytes, with the cause in the header "
    "`floodway-review`. They are decided from here, before any that came later to their partition.",
    _settings(30 * DAY_MS),
)
PICKLISTS = Topic(
    "warehouse.picklists.v1", "order_id", messages.PickList, "What warehouses are to pick, and no longer to pick."
)
NOTIFICATIONS = Topic("notifications.v1", "channel:submission_id", messages.Notification, "What buyers are to be told.")
NOTIFICATIONS_DLQ = Topic(
    "notifications.v1.dlq",
    "as the original",
    messages.Notification,
    "Notifications and tickets that could not be delivered: original bytes, with reason and target in the header "
    "`floodway-dead-letter`.",
    _settings(30 * DAY_MS, MAX_BATCH_BYTES + DEAD_LETTER_BYTES),
)
TICKETS = Topic("tickets.v1", "ticket_id", messages.Ticket, "What people must see to.")

ALL = (
    *(SUBMITTED, SUBMITTED_DLQ, DECIDED, REPORTED, REPORTED_DLQ, CHANGED, REVIEW),
    *(PICKLISTS, NOTIFICATIONS, NOTIFICATIONS_DLQ, TICKETS),
)

MESSAGE_ID_HEADER = "floodway-message-id"
"""Header of what is told of orders: the same id for the same message, however often it is sent, to dedupe by."""

DEAD_LETTER_HEADER = "floodway-dead-letter"
"""Header of a dead letter: a `DeadLetter` as JSON."""
SOURCE_HEADER = "floodway-source"
"""Header of a record on `orders.reported.v1` whose value is not a report but what this source said, byte for byte."""
REPLAY_HEADER = "floodway-replay-of"
"""Header of a record that was sent again: where its dead letter stands."""
REPLAYED_HEADER = "floodway-replayed"
"""Header of a record without a value in a dead-letter topic: which of its letters was sent again, and when."""
REVIEW_HEADER = "floodway-review"
"""Header of a submission under review: a `Review` as JSON."""
