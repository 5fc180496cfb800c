"""Messages that could not be taken: kept byte for byte, with the reason in a header, so that a replay is a copy.

But for those that no dead letter can hold (decision 0014): Kafka bounds a batch as it was sent, compressed, so a record
may unpack to many times that. Of these the beginning is kept, and where the whole stands.
"""

from collections import deque
from hashlib import sha256
from typing import NamedTuple

import msgspec

from streams.chunks import Chunk, Record
from streams.core.decode import Undecodable
from streams.errors import TooManyDeadLetters
from streams.instants import to_datetime
from streams.messages import DeadLetter
from streams.stores.log import Entry, Headers
from streams.telemetry import buried
from streams.topics import DEAD_LETTER_HEADER, MAX_BATCH_BYTES

CUT_VALUE_BYTES = 65_536
CUT_KEY_BYTES = 1_024
"""What is kept of a record that is larger than any batch may be; its own headers are not."""

HEADER_FRAME_BYTES = 10
"""At most: two lengths of up to five bytes."""

CAP_WINDOW_RECORDS = 1_000
"""Fewer bad messages in a row than this stop nobody: one storefront may send nonsense for a while."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeadLetter).decode


class Dead(NamedTuple):
    """One record that could not be taken, where it stood, and why."""

    topic: str
    partition: int
    record: Record
    why: Undecodable


def bury(chunk: Chunk, record: Record, why: Undecodable) -> Dead:
    """Mark a record of a chunk as dead."""
    return Dead(chunk.topic, chunk.partition, record, why)


def entry(dead: Dead, *, failed_at_ms: int, target: str | None = None) -> Entry:
    """The record for the dead-letter topic: key, value and headers of the original, and one header more.

    `target` is to whom it could not be delivered, for what others were told perhaps.
    """
    why, record = dead.why, dead.record
    buried(dead.topic, dead.partition, record.offset, why.reason, why.detail)
    is_cut = _size(record) > MAX_BATCH_BYTES
    letter = DeadLetter(
        reason=why.reason,
        detail=why.detail[:512],
        topic=dead.topic,
        partition=dead.partition,
        offset=dead.record.offset,
        failed_at=to_datetime(failed_at_ms),
        field=why.field if why.field is not None else msgspec.UNSET,
        fix=why.fix if why.fix is not None else msgspec.UNSET,
        target=target if target is not None else msgspec.UNSET,
        value_bytes=len(record.value or b"") if is_cut else msgspec.UNSET,
        value_sha256=sha256(record.value or b"").hexdigest() if is_cut else msgspec.UNSET,
    )
    ours = (DEAD_LETTER_HEADER, _encode(letter))
    if is_cut:
        return Entry(_cut(record.key, CUT_KEY_BYTES), _cut(record.value, CUT_VALUE_BYTES), record.timestamp, (ours,))
    return Entry(record.key, record.value, record.timestamp, (*record.headers, ours))


def _size(record: Record) -> int:
    """Bytes of a record in a batch, but for a few of framing."""
    headers = sum(len(name.encode()) + len(value or b"") + HEADER_FRAME_BYTES for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _cut(text: bytes | None, length: int) -> bytes | None:
    return text if text is None else text[:length]


def original_headers(record: Record) -> Headers:
    """The headers that a dead letter's original had."""
    headers = tuple(record.headers)
    ours = max((i for i, (name, _) in enumerate(headers) if name == DEAD_LETTER_HEADER), default=None)
    return headers if ours is None else headers[:ours] + headers[ours + 1 :]


class DeadLetterCap:
    """Stops a worker that finds nearly everything bad: the fault is then in us, not in the messages.

    Looks at the last `window_records` or so, once that many have been seen in chunks; a share over `max_share` of them
    is too many. After a restart the first full chunk decides, so a backlog is not buried window by window.
    """

    def __init__(self, max_share: float, *, window_records: int = CAP_WINDOW_RECORDS) -> None:
        self._max_share = max_share
        self._window_records = window_records
        self._chunks: deque[tuple[int, int]] = deque()
        self._records = self._dead = 0

    def count(self, records: int, dead: int) -> None:
        """Count a chunk, before anything of it is done. Raises `TooManyDeadLetters`."""
        self._chunks.append((records, dead))
        self._records += records
        self._dead += dead
        while self._records - self._chunks[0][0] >= self._window_records:
            gone, gone_dead = self._chunks.popleft()
            self._records -= gone
            self._dead -= gone_dead
        if self._records >= self._window_records and self._dead > self._max_share * self._records:
            raise TooManyDeadLetters(
                f"{self._dead} of the last {self._records} messages could not be taken. That looks like our own fault, "
                "so the worker stops before it buries the rest: look at `floodway dlq list` and at what was deployed. "
                "If the messages are to blame, set FLOODWAY_DEAD_LETTER_MAX_SHARE=1."
            )


def read_letter(record: Record) -> DeadLetter | None:
    """The reason that a record of a dead-letter topic carries; None for a record that somebody else put there."""
    # Ours is the last: what was in the record before may bear the same name, as in a dead letter that was replayed.
    for name, value in reversed(record.headers):
        if name == DEAD_LETTER_HEADER:
            try:
                return _decode(value or b"")  # Kafka knows headers without a value
            except msgspec.DecodeError:
                return None
    return None
