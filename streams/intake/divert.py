"""Instead of stages two to four in a long outage: put what waits aside, in order, and tell its buyers.

A diverted submission is a copy, with the place where it was submitted, so that it is decided later as if read there.
Its chunk is acknowledged once the copies are safe. What had been decided already, and not yet acknowledged, is put
aside too: the stock and the ledger know its key, and give the same decision again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterator, Sequence

import msgspec

from streams import dead_letters, telemetry
from streams.chunks import Chunk, Record
from streams.clock import Clock
from streams.core.intent import Intent
from streams.instants import to_datetime
from streams.intake.decode import decode
from streams.messages import Notification, NotificationType, Review
from streams.retry import until_available
from streams.reviews import read_review, review_header
from streams.stores.log import Entry, Headers, Log
from streams.stores.partitioner import partition_of
from streams.topics import MESSAGE_ID_HEADER, NOTIFICATIONS, REVIEW, SUBMITTED, SUBMITTED_DLQ

MESSAGE = "We have received your order. It is taking longer than usual; we will tell you as soon as it is confirmed."

_encode = msgspec.json.Encoder().encode


async def divert(chunks: Sequence[Chunk], log: Log, clock: Clock, *, cause: str, max_delay_s: float) -> int:
    """Put all submissions of these chunks aside, bury what is none, and acknowledge; returns how many submissions.

    Copies first, notices after: nobody is told that an order waits which is in no queue.
    """
    now_ms = clock.now_ms()
    copies: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    notices: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    told = await _partitions(log, NOTIFICATIONS.name, max_delay_s)
    diverted = 0
    for chunk in chunks:
        batch = decode(chunk)
        by_offset = {intent.offset: intent for intent in batch.intents}
        for record in chunk.records:
            intent = by_offset.get(record.offset)
            if intent is not None:
                copies[REVIEW.name, chunk.partition].append(_copy(intent, record, cause, now_ms))
                notices[NOTIFICATIONS.name, partition_of(_key(intent), told)].append(_notice(intent, now_ms))
                diverted += 1
        letters = [dead_letters.entry(dead, failed_at_ms=now_ms) for dead in batch.dead]
        if letters:
            copies[SUBMITTED_DLQ.name, chunk.partition] += letters
    for step in (copies, notices):
        await asyncio.gather(*(_append(log, *at, entries, max_delay_s) for at, entries in step.items()))
    telemetry.PUT_ASIDE.inc(diverted)
    for chunk in chunks:
        chunk.acknowledge()
    return diverted


async def _partitions(log: Log, topic: str, max_delay_s: float) -> int:
    return await until_available("partitions", lambda: log.partitions(topic), max_delay_s=max_delay_s)


async def _append(log: Log, topic: str, source_partition: int, entries: list[Entry], max_delay_s: float) -> None:
    count = await _partitions(log, topic, max_delay_s)

    def append() -> Awaitable[None]:
        return log.append(topic, source_partition % count, entries)

    await until_available("divert", append, max_delay_s=max_delay_s)


def _key(intent: Intent) -> bytes:
    return ":".join(intent.submission_key).encode()


def _copy(intent: Intent, record: Record, cause: str, now_ms: int) -> Entry:
    """The bytes as they came; of the headers what intake reads, for a record may have any number of any size."""
    review = Review(intent.partition, intent.offset, to_datetime(now_ms), cause)
    traced = tuple((name, value) for name, value in record.headers if name == "traceparent" and len(value or b"") < 100)
    return Entry(_key(intent), record.value, record.timestamp, (*traced[:1], review_header(review)))


def _notice(intent: Intent, now_ms: int) -> Entry:
    kind, submission = NotificationType.ORDER_UNDER_REVIEW, intent.submission
    notice = Notification(
        notification_id=f"{kind}:{submission.channel}:{submission.submission_id}",
        type=kind,
        channel=submission.channel,
        submission_id=submission.submission_id,
        buyer_id=submission.buyer_id,
        order_id=intent.order_id,
        message=MESSAGE,
        at=to_datetime(now_ms),
        trace_id=intent.trace_id,
        channel_order_no=submission.channel_order_no,
    )
    return Entry(_key(intent), _encode(notice), now_ms, ((MESSAGE_ID_HEADER, notice.notification_id.encode()),))


class ReviewedRecord(msgspec.Struct, frozen=True):
    """A record of the queue, as it stood where it was submitted."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class ReviewedChunk:
    """Records of the queue, as a chunk of the topic they were submitted to; `done` once all are announced."""

    topic = SUBMITTED.name

    def __init__(self, partition: int, records: Sequence[ReviewedRecord], next_offset: int) -> None:
        self.partition, self.records = partition, records
        self.next_offset = next_offset
        """Behind its last record in the queue."""
        self.done = asyncio.Event()

    def acknowledge(self) -> bool:
        """Note it."""
        self.done.set()
        return True


def reviewed(partition: int, records: Sequence[Record], max_records: int) -> Iterator[ReviewedChunk]:
    """Records of the queue as chunks, each of one partition of `orders.submitted.v1`, in order.

    A record without our header, that somebody put there by hand, is taken as if submitted where it stands.
    """
    some: list[ReviewedRecord] = []
    source = partition
    for record in records:
        review = read_review(record)
        home, offset = (partition, record.offset) if review is None else (review.partition, review.offset)
        if some and (home != source or len(some) == max_records):
            yield ReviewedChunk(source, some, record.offset)
            some = []
        source = home
        some.append(ReviewedRecord(offset, record.timestamp, record.key, record.value, tuple(record.headers)))
    if some:
        yield ReviewedChunk(source, some, records[-1].offset + 1)
