"""The ids that make a repeat recognisable."""

import json
import uuid
from datetime import timedelta, timezone
from typing import Any

import msgspec
import pytest
from builders import NOW, NOW_MS, intent_of, submission
from hypothesis import given
from hypothesis import strategies as st

from streams.core.decode import MessageDecoder, Undecodable
from streams.core.identity import FINGERPRINT_BYTES, KEY_BYTES, fingerprint, idempotency_key, order_id
from streams.messages import Line, ShipTo, Submission

KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
TIMES_MS = st.integers(0, 2**48 - 1)
CHANNELS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~@+-]{0,31}", fullmatch=True)
SUBMISSION_IDS = st.from_regex(r"[!-~]{1,64}", fullmatch=True)

FULL = msgspec.structs.replace(
    submission(lines=(("TEA", 2, 450), ("CUP", 1, 990)), promotion_id="p1"),
    channel_order_no="no-1",
    ship_to=ShipTo(name="Ann", city="上海"),
)


@given(KEYS, TIMES_MS)
def test_an_order_id_is_a_uuid_of_version_7(key: bytes, ms: int) -> None:
    """Version and variant bits are those of RFC 9562, the first 48 bits are the time."""
    made = order_id(key, ms)
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == ms
    assert uuid.UUID(str(made)) == made


@given(KEYS, TIMES_MS, KEYS, TIMES_MS)
def test_order_ids_rise_with_time(key: bytes, ms: int, other_key: bytes, other_ms: int) -> None:
    """Of two ids the one with the earlier time is the smaller, as number, as text and as bytes."""
    one, other = order_id(key, ms), order_id(other_key, other_ms)
    if ms < other_ms:
        assert one < other
        assert str(one) < str(other)
        assert one.bytes < other.bytes


@given(KEYS, st.integers(0, 79), TIMES_MS)
def test_an_order_id_keeps_74_bits_of_its_key(key: bytes, bit: int, ms: int) -> None:
    """The key's first 80 bits, less the six that version and variant take, tell orders of one millisecond apart."""
    flipped = (int.from_bytes(key) ^ (1 << (127 - bit))).to_bytes(KEY_BYTES)
    dropped = {0, 1, 2, 3, 16, 17}
    assert (order_id(key, ms) == order_id(flipped, ms)) is (bit in dropped)


@given(st.integers(946_684_800_000, 4_102_444_799_999), st.integers(0, 999))
def test_an_order_id_has_the_submissions_time_to_the_millisecond(ms: int, us: int) -> None:
    """No millisecond is lost to floating point, in any zone; parts of one are cut off."""
    moment = NOW + timedelta(milliseconds=ms - NOW_MS, microseconds=us)
    made = submission(submitted_at=moment.astimezone(timezone(timedelta(hours=8))))
    assert intent_of(made).order_id.int >> 80 == ms
    assert intent_of(made).order_id == intent_of(submission(submitted_at=moment)).order_id


@given(CHANNELS, SUBMISSION_IDS, CHANNELS, SUBMISSION_IDS)
def test_keys_of_different_pairs_differ(channel: str, name: str, other_channel: str, other_name: str) -> None:
    """A key belongs to one pair of channel and submission id, wherever the colons stand."""
    one, other = idempotency_key(channel, name), idempotency_key(other_channel, other_name)
    assert len(one) == KEY_BYTES
    assert (one == other) is ((channel, name) == (other_channel, other_name))


def test_a_colon_in_the_submission_id_makes_no_other_pair() -> None:
    """`a` with `b:c` and `a:b` with `c` would share a text, were a channel allowed a colon."""
    assert idempotency_key("a", "b:c") == idempotency_key("a:b", "c")
    refused = MessageDecoder(Submission).decode(msgspec.json.encode(submission(channel="a:b")))
    assert isinstance(refused, Undecodable)
    assert refused.field == "$.channel"


def test_the_fingerprint_does_not_see_the_time() -> None:
    """A client that stamps each try anew still repeats the same order."""
    later = msgspec.structs.replace(FULL, submitted_at=NOW + timedelta(days=3))
    assert fingerprint(later) == fingerprint(FULL)
    assert len(fingerprint(FULL)) == FINGERPRINT_BYTES


@given(st.randoms(use_true_random=False), st.sampled_from([None, 1, 4]))
def test_the_fingerprint_does_not_see_how_it_was_written(random: Any, indent: int | None) -> None:
    """Order of fields, white space, escapes and unknown fields change nothing."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(item) for item in value]
        if not isinstance(value, dict):
            return value
        items = [*value.items(), ("unknown", 1)]
        random.shuffle(items)
        return {name: shuffled(item) for name, item in items}

    text = json.dumps(shuffled(msgspec.to_builtins(FULL)), indent=indent, default=str)
    assert fingerprint(msgspec.json.decode(text, type=Submission)) == fingerprint(FULL)


@pytest.mark.parametrize(
    "changed",
    [
        {"buyer_id": "bob"},
        {"currency": "CNY"},
        {"channel_order_no": "no-2"},
        {"channel_order_no": None},
        {"promotion_id": "p2"},
        {"promotion_id": None},
        {"ship_to": None},
        {"ship_to": ShipTo(name="Ann", city="北京")},
        {"ship_to": ShipTo(name="Ann", region="上海")},
        {"lines": (Line("TEA", 2, 450),)},
        {"lines": (Line("TEA", 3, 450), Line("CUP", 1, 990))},
        {"lines": (Line("TEA", 2, 451), Line("CUP", 1, 990))},
        {"lines": (Line("TEE", 2, 450), Line("CUP", 1, 990))},
        {"lines": (Line("CUP", 1, 990), Line("TEA", 2, 450))},
    ],
)
def test_the_fingerprint_sees_what_a_buyer_meant(changed: dict[str, Any]) -> None:
    """Each field with a meaning makes another fingerprint."""
    assert fingerprint(msgspec.structs.replace(FULL, **changed)) != fingerprint(FULL)
