"""Dead letters looked at and sent again. A letter that was replayed is told from others by a note behind it.

The note is a record of the same topic without a value, so it is kept as long as the letter, and whoever reads letters
passes it over. A replay that dies between sending and noting is repeated, which is harmless: submissions and reports
carry their own idempotency keys.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from time import monotonic
from typing import NamedTuple

import msgspec

from streams.chunks import Record
from streams.dead_letters import original_headers, read_letter
from streams.errors import UnknownThing
from streams.instants import to_datetime
from streams.messages import DeadLetter
from streams.parts import Parts
from streams.stores.kafka_access import access
from streams.stores.log import Entry
from streams.stores.reader_kafka import TopicReader
from streams.topics import REPLAY_HEADER, REPLAYED_HEADER, Topic

BATCH = 500
"""Letters sent, and noted, at a time."""

Position = tuple[int, int]
"""Partition and offset in the dead-letter topic."""

_encode = msgspec.json.Encoder().encode


class Replayed(msgspec.Struct, frozen=True):
    """The note that a letter was sent again."""

    partition: int
    offset: int
    at: datetime


_decode_note = msgspec.json.Decoder(Replayed).decode


class Letter(NamedTuple):
    """One dead letter, where it stands, and when it was replayed last."""

    position: Position
    why: DeadLetter
    record: Record
    replayed_at: datetime | None


Wanted = Callable[[Letter], bool]


async def letters(parts: Parts, topic: Topic) -> AsyncIterator[Letter]:
    """All dead letters of a topic, partition by partition in their order. Memory grows with replays, not letters."""
    notes = {}
    async for _, record in _records(parts, topic):
        note = _note(record)
        if note is not None:
            notes[note.partition, note.offset] = note.at
    async for partition, record in _records(parts, topic):
        why = read_letter(record)
        if why is not None:
            position = (partition, record.offset)
            yield Letter(position, why, record, notes.get(position))


async def letter(parts: Parts, topic: Topic, position: Position) -> Letter:
    """One of them. Raises `UnknownThing`."""
    async with aclosing(letters(parts, topic)) as found:  # type: ignore[type-var]  # an async generator has aclose
        async for some in found:
            if some.position == position:
                return some
    raise UnknownThing(f"{topic.name} has no dead letter at {position[0]}-{position[1]}; see `floodway dlq list`.")


async def replay(
    parts: Parts,
    topic: Topic,
    wanted: Wanted,
    *,
    rate_per_s: float,
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Send the wanted letters to where they came from, byte for byte, in their order; returns how many.

    Each has a header that tells which letter it was. One that fails again is a letter again, at a new position.
    """
    sent, started = 0, monotonic()
    batch: list[Letter] = []
    async for found in letters(parts, topic):
        # Of a cut letter only the beginning is here; what it says to send again stands in the source topic.
        if wanted(found) and found.why.value_sha256 is msgspec.UNSET:
            batch.append(found)
        if len(batch) == BATCH:
            sent += await _send(parts, topic, batch)
            batch = []
            progress(sent)
            await asyncio.sleep(max(0.0, started + sent / rate_per_s - monotonic()))
    sent += await _send(parts, topic, batch)
    progress(sent)
    return sent


async def _send(parts: Parts, topic: Topic, batch: Sequence[Letter]) -> int:
    """Send again, and only then note it: what dies in between is sent twice rather than forgotten."""
    now_ms = parts.clock.now_ms()
    again: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    notes: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    for found in batch:
        why, record, (partition, offset) = found.why, found.record, found.position
        headers = (*original_headers(record), (REPLAY_HEADER, f"{topic.name}-{partition}-{offset}".encode()))
        count = await parts.log.partitions(why.topic)
        again[why.topic, why.partition % count].append(Entry(record.key, record.value, record.timestamp, headers))
        note = Replayed(partition, offset, to_datetime(now_ms))
        notes[topic.name, partition].append(Entry(record.key, None, now_ms, ((REPLAYED_HEADER, _encode(note)),)))
    for step in (again, notes):
        await asyncio.gather(*(parts.log.append(*at, entries) for at, entries in step.items()))
    return len(batch)


async def _records(parts: Parts, topic: Topic) -> AsyncIterator[tuple[int, Record]]:
    reader = await TopicReader.open(access(parts.settings), topic.name, start="beginning")
    try:
        async for partition, records in reader.until_end():
            for record in records:
                yield partition, record
    finally:
        await reader.close()


def _note(record: Record) -> Replayed | None:
    for name, value in record.headers:
        if name == REPLAYED_HEADER and record.value is None:
            try:
                return _decode_note(value or b"")
            except msgspec.DecodeError:
                return None
    return None
