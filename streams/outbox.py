"""Sends what the ledger's outbox has, and takes it out.

Messages are written in the transaction of the steps that cause them. Whoever wrote them sends them at once; what a
process leaves behind when it dies, or when its commit went through without an answer, another finds some seconds later.
Each is sent at least once, in a process that lives exactly once, and always under the same id in the header
`floodway-message-id`: whoever remembers ids acts once.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from streams.core.books import Message, Unsaid
from streams.instants import to_datetime
from streams.parts import Parts
from streams.retry import until_available
from streams.stores.log import Entry
from streams.stores.partitioner import murmur2
from streams.timing import timed
from streams.topics import CHANGED, MESSAGE_ID_HEADER, PICKLISTS

LEFT_AT_ONCE = 20
"""Batches of others that are sent in one go."""

BY_ORDER = frozenset({CHANGED.name, PICKLISTS.name})
"""Topics keyed by the order's id, which tells the partition itself; in all, a key's messages stay in one partition."""

logger = logging.getLogger(__name__)


class Outbox:
    """The sending side. One for each process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._max_delay_s = parts.settings.retry_max_delay_s
        self._grace = timedelta(seconds=parts.settings.outbox_grace_s)
        self._sending: set[str] = set()

    @timed("tell")
    async def send(self, messages: Sequence[Message], token: str = "") -> None:
        """Send the messages of one transaction, which are in the outbox by now. Waits as long as a store is away."""
        if not messages:
            return
        batch = messages[0].id
        self._sending.add(batch)
        try:
            await self._append(messages, token)
            await self._said([batch])
        finally:
            self._sending.discard(batch)

    async def send_left(self) -> int:
        """Send what others left; returns how many batches that were."""
        before = to_datetime(self._parts.clock.now_ms()) - self._grace
        token, found = await until_available(
            "outbox", lambda: self._parts.ledger.unsaid(before, LEFT_AT_ONCE), max_delay_s=self._max_delay_s
        )
        left = [one for one in found if one.batch not in self._sending]
        if left:
            logger.warning("%d batches of messages were left in the outbox; they are sent now", len(left))
            await self._send_left(left, token)
        return len(left)

    async def _send_left(self, left: Sequence[Unsaid], token: str) -> None:
        batches = [one.batch for one in left]
        self._sending.update(batches)
        try:
            for one in left:
                await self._append(one.messages, token)
            await self._said(batches)
        finally:
            self._sending.difference_update(batches)

    async def _append(self, messages: Sequence[Message], token: str) -> None:
        now_ms = self._parts.clock.now_ms()
        by_place: dict[tuple[str, int], list[Entry]] = defaultdict(list)
        counts = {topic: await self._partitions(topic) for topic in dict.fromkeys(m.topic for m in messages)}
        numbers: dict[str, int] = {}
        for topic, key, message_id, value in messages:
            headers = ((MESSAGE_ID_HEADER, message_id.encode()),)
            sent = _with_token(value, token) if topic == CHANGED.name and token else value
            entry = Entry(key.encode(), sent, now_ms, headers)
            number = numbers.get(key)
            if number is None:
                number = numbers[key] = UUID(key).int if topic in BY_ORDER else murmur2(key.encode()) & 0x7FFFFFFF
            by_place[topic, number % counts[topic]].append(entry)
        log = self._parts.log
        for (topic, partition), entries in by_place.items():
            await until_available(
                "announce",
                lambda t=topic, p=partition, e=entries: log.append(t, p, e),  # type: ignore[misc]
                max_delay_s=self._max_delay_s,
            )

    async def _partitions(self, topic: str) -> int:
        log = self._parts.log
        return await until_available("partitions", lambda: log.partitions(topic), max_delay_s=self._max_delay_s)

    async def _said(self, batches: Sequence[str]) -> None:
        ledger = self._parts.ledger
        await until_available("said", lambda: ledger.said(batches), max_delay_s=self._max_delay_s)


def _with_token(value: bytes, token: str) -> bytes:
    """A change with its position in the ledger, which nobody knew before it was written there."""
    return b'%b,"read_token":"%b"}' % (value[:-1], token.encode())
