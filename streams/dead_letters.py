"""Messages that could not be taken: kept byte for byte, with the reason in a header, so that a replay is a copy."""

from typing import NamedTuple

import msgspec

from streams.chunks import Chunk, Record
from streams.core.decode import Undecodable
from streams.instants import to_datetime
from streams.messages import DeadLetter
from streams.stores.log import Entry
from streams.topics import DEAD_LETTER_HEADER

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


def entry(dead: Dead, *, failed_at_ms: int) -> Entry:
    """The record for the dead-letter topic: key, value and headers of the original, and one header more."""
    why = dead.why
    letter = DeadLetter(
        reason=why.reason,
        detail=why.detail[:512],
        topic=dead.topic,
        partition=dead.partition,
        offset=dead.record.offset,
        failed_at=to_datetime(failed_at_ms),
        field=why.field if why.field is not None else msgspec.UNSET,
        fix=why.fix if why.fix is not None else msgspec.UNSET,
    )
    record = dead.record
    headers = (*record.headers, (DEAD_LETTER_HEADER, _encode(letter)))
    return Entry(record.key, record.value, record.timestamp, headers)


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
