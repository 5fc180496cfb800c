"""Dead letters: a copy of what came in, or of as much as Kafka will take back."""

from hashlib import sha256

import msgspec
import pytest
from builders import FakeRecord

from streams import dead_letters
from streams.core.decode import Undecodable
from streams.dead_letters import CUT_KEY_BYTES, CUT_VALUE_BYTES, Dead, read_letter
from streams.topics import DEAD_LETTER_BYTES, MAX_BATCH_BYTES

WHY = Undecodable("too_large", "x" * 5_000)


def buried(record: FakeRecord) -> FakeRecord:
    """The dead letter of a record, as it will be read."""
    entry = dead_letters.entry(Dead("orders.submitted.v1", 3, record, WHY), failed_at_ms=1_790_000_000_000)
    return FakeRecord(0, entry.value, key=entry.key, headers=entry.headers, timestamp=entry.timestamp_ms)


def test_what_fits_is_kept_byte_for_byte() -> None:
    """Key, value and headers are the original's, and the letter says nothing of a cut."""
    record = FakeRecord(7, b"\xff" * 1_000_000, key=b"k" * 2_000, headers=(("h", b"\x00"), ("h", None)))
    kept = buried(record)
    assert (kept.key, kept.value, kept.headers[:-1]) == (record.key, record.value, record.headers)
    letter = read_letter(kept)
    assert letter is not None
    assert letter.value_bytes is letter.value_sha256 is msgspec.UNSET


@pytest.mark.parametrize(
    "record",
    [
        FakeRecord(9, b"v" * 5_000_000, key=b"key", headers=(("h", b"1"),)),
        FakeRecord(9, b"v", key=b"k" * 5_000_000),
        FakeRecord(9, None, key=None, headers=tuple((f"h{n}", b"x" * 100) for n in range(50_000))),
    ],
    ids=["value", "key", "headers"],
)
def test_what_no_batch_can_hold_is_cut_and_told_of(record: FakeRecord) -> None:
    """The beginning is kept, and where the whole stands, how long it is and its digest."""
    kept = buried(record)
    size = len(kept.key or b"") + len(kept.value or b"") + sum(len(n) + len(v or b"") for n, v in kept.headers)
    assert size < MAX_BATCH_BYTES
    assert kept.value == (record.value[:CUT_VALUE_BYTES] if record.value is not None else None)
    assert kept.key == (record.key[:CUT_KEY_BYTES] if record.key is not None else None)
    letter = read_letter(kept)
    assert letter is not None
    assert (letter.topic, letter.partition, letter.offset) == ("orders.submitted.v1", 3, 9)
    assert letter.value_bytes == len(record.value or b"")
    assert letter.value_sha256 == sha256(record.value or b"").hexdigest()


def test_the_letter_fits_the_room_it_has() -> None:
    """The largest record that is kept whole and its letter are smaller than what the dead-letter topics take."""
    kept = buried(FakeRecord(7, b"v" * MAX_BATCH_BYTES, key=None))
    assert kept.value is not None
    assert len(kept.value) == MAX_BATCH_BYTES
    assert len(kept.headers[-1][1] or b"") + 200 < DEAD_LETTER_BYTES
