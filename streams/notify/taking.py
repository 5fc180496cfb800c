"""Records of `notifications.v1` and `tickets.v1` made due for their targets: one statement a chunk, then acknowledged.

What is read again is due once: the ledger knows each message by its id and target. What is no message of ours is a dead
letter.
"""

from collections.abc import Sequence

import msgspec

from streams import dead_letters
from streams.chunks import Chunk, Record
from streams.core.decode import MessageDecoder, Undecodable
from streams.core.sinks import Plan
from streams.core.wording import Rendered, Wordings, of_notification, of_ticket
from streams.dead_letters import Dead
from streams.instants import to_datetime
from streams.messages import Notification, Ticket
from streams.parts import Parts
from streams.retry import until_available
from streams.stores.deliveries import MAX_AT_ONCE as MAX_DUE
from streams.stores.deliveries import Deliveries, ToDeliver
from streams.stores.log import Entry
from streams.topics import MESSAGE_ID_HEADER, NOTIFICATIONS_DLQ, REPLAY_HEADER, TICKETS

_notification = MessageDecoder(Notification)
_ticket = MessageDecoder(Ticket)
MAX_ID = 1_000
"""Bytes of a message's id; ours have fewer, and a row of an index must hold it."""
_TOO_LONG = Undecodable("id_too_long", f"its id has more than {MAX_ID} bytes, or a NUL", fix="give it a shorter one")


class Taking:
    """The reading side. One for each process."""

    def __init__(self, parts: Parts, deliveries: Deliveries, plan: Plan) -> None:
        self._parts, self._deliveries, self._plan = parts, deliveries, plan
        self._max_delay_s = parts.settings.retry_max_delay_s
        self._cap = dead_letters.DeadLetterCap(parts.settings.dead_letter_max_share)

    async def take(self, chunk: Chunk) -> int:
        """Make a chunk's messages due, and acknowledge it; returns how many deliveries. Raises `TooManyDeadLetters`."""
        due: list[ToDeliver] = []
        dead: list[Dead] = []
        for record in chunk.records:
            found = self._read(chunk, record)
            if isinstance(found, Undecodable):
                dead.append(dead_letters.bury(chunk, record, found))
            else:
                due += found
        self._cap.count(len(chunk.records), len(dead))
        now = to_datetime(self._parts.clock.now_ms())
        for at in range(0, len(due), MAX_DUE):
            some = due[at : at + MAX_DUE]
            await until_available(
                "deliveries",
                lambda some=some: self._deliveries.add(some, now),  # type: ignore[misc]
                max_delay_s=self._max_delay_s,
            )
        await bury(self._parts, dead)
        chunk.acknowledge()
        return len(due)

    def _read(self, chunk: Chunk, record: Record) -> list[ToDeliver] | Undecodable:
        headers = dict(record.headers)
        if chunk.topic == TICKETS.name:
            ticket = _ticket.decode(record.value)
            if isinstance(ticket, Undecodable):
                return ticket
            delivery_id = ticket_delivery_id(ticket, headers.get(MESSAGE_ID_HEADER))
            names = self._plan.targets_of(f"ticket.{ticket.event.value}", "", level=ticket.level)
        else:
            notice = _notification.decode(record.value)
            if isinstance(notice, Undecodable):
                return notice
            delivery_id = notice.notification_id
            names = self._plan.targets_of(notice.type.value, notice.channel, overtaken=notice.overtaken)
        if len(delivery_id.encode()) > MAX_ID or "\0" in delivery_id:
            return _TOO_LONG
        is_replay = REPLAY_HEADER in headers
        place = chunk.topic, chunk.partition, record.offset, record.key, record.value or b""
        return [ToDeliver(name, delivery_id, *place, is_replay) for name in names]


def ticket_delivery_id(ticket: Ticket, header: bytes | None) -> str:
    """Which event of which ticket it is: the id that it was sent under."""
    if header:
        return header.decode(errors="backslashreplace")
    return f"{ticket.ticket_id}@{ticket.event.value}@{(ticket.at or ticket.opened_at).isoformat()}"


def render(due: ToDeliver, plan: Plan, wordings: Wordings) -> Rendered:
    """A message in words. Raises `msgspec.DecodeError` for what a release before took, and this one does not."""
    if due.topic == TICKETS.name:
        ticket = msgspec.json.decode(due.value, type=Ticket)
        return of_ticket(due.delivery_id, ticket, due.value, wordings, plan.language, plan.zone)
    notice = msgspec.json.decode(due.value, type=Notification)
    return of_notification(notice, due.value, wordings, plan.language_of(notice.channel), plan.zone)


async def bury(parts: Parts, dead: Sequence[Dead], targets: Sequence[str | None] = ()) -> None:
    """Append dead letters, with the target that each could not be delivered to, if any."""
    if not dead:
        return
    now_ms, log, max_delay_s = parts.clock.now_ms(), parts.log, parts.settings.retry_max_delay_s
    name = NOTIFICATIONS_DLQ.name
    count = await until_available("partitions", lambda: log.partitions(name), max_delay_s=max_delay_s)
    by_partition: dict[int, list[Entry]] = {}
    for one, target in zip(dead, targets or [None] * len(dead), strict=True):
        entry = dead_letters.entry(one, failed_at_ms=now_ms, target=target)
        by_partition.setdefault(one.partition % count, []).append(entry)
    for partition, entries in by_partition.items():
        await until_available(
            "dead letters",
            lambda p=partition, e=entries: log.append(name, p, e),  # type: ignore[misc]
            max_delay_s=max_delay_s,
        )
