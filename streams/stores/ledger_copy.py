"""Bookings as rows of `decisions` in PostgreSQL's binary COPY format, packed by hand.

asyncpg encodes value by value, which costs three times as much. The format is that of "Binary Format" in
https://www.postgresql.org/docs/current/sql-copy.html: a header, and for each row the number of its columns and each
value with its length before it, -1 for null. Times are microseconds since 2000, as Postgres keeps them.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import msgspec

from streams.core.books import Booking
from streams.messages import Line
from streams.stores.ledger_codes import VERDICTS
from streams.stores.ledger_rules import assert_adds_up

COLUMNS = ("decided_at", "submitted_at", "log_offset", "log_partition", "verdict", "order_id", "fingerprint", "channel",
           "submission_id", "trace_id", "held_until", "total", "buyer_id", "currency", "promotion_id",
           "channel_order_no", "ship_to", "skus", "qtys", "unit_prices")  # fmt: skip

PG_EPOCH_US = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, no flags, no extension
_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_ACCEPTED_ONLY = 10
_REJECTED_TAIL = _NULL * _ACCEPTED_ONLY
assert COLUMNS.index("held_until") == len(COLUMNS) - _ACCEPTED_ONLY

# Up to the fingerprint all lengths are known: decided_at, submitted_at, offset, partition, verdict, order id, print.
_fixed = struct.Struct(">h" + "iqiqiq" + "iiih" + "i16si8s").pack
_accepted = struct.Struct(">iqiq").pack  # held_until, total
_length = struct.Struct(">i").pack

# An array of one dimension: its size in bytes, dimensions, whether it has nulls, type of its elements, how many, and
# the number of the first.
_ARRAY = "iiiIii"
_ARRAY_HEADER_BYTES = 20
_TEXT_OID, _INT_OID, _BIGINT_OID = 25, 23, 20
_array = struct.Struct(">" + _ARRAY).pack


def copy_of(batch: Iterable[Booking]) -> bytes:
    """The rows as one binary COPY of COLUMNS.

    An accepted booking whose quantities are not its submission's lines added up is an assert.
    """
    parts = [_HEADER]
    add = parts.append
    columns = len(COLUMNS)
    for booking in batch:
        intent, order_id, reason, decided_at_ms, held_until_ms = booking
        submission, reservation = intent.submission, intent.reservation
        trace = intent.trace_id
        add(
            _fixed(
                columns, 8, decided_at_ms * 1000 - PG_EPOCH_US, 8, intent.submitted_at_us - PG_EPOCH_US,
                8, intent.offset, 4, intent.partition, 2, VERDICTS[reason], 16, order_id.bytes, 8,
                reservation.fingerprint,
            )
        )  # fmt: skip
        add(_name(submission.channel))
        add(_text(submission.submission_id))
        add(_NULL if trace == order_id.hex else _text(trace))
        if reason is not None:
            add(_REJECTED_TAIL)
            continue
        assert held_until_ms, f"an accepted order is held until some time: {booking}"
        assert_adds_up(booking)
        add(_accepted(8, held_until_ms * 1000 - PG_EPOCH_US, 8, intent.total))
        add(_text(submission.buyer_id))
        add(_name(submission.currency))
        add(_NULL if submission.promotion_id is None else _name(submission.promotion_id))
        add(_NULL if submission.channel_order_no is None else _text(submission.channel_order_no))
        add(_NULL if submission.ship_to is None else _sized(_encode_json(submission.ship_to)))
        lines = submission.lines
        add(_one_line(lines[0]) if len(lines) == 1 else _arrays(lines))
    add(_TRAILER)
    return b"".join(parts)


_encode_json = msgspec.json.Encoder().encode


def _sized(value: bytes) -> bytes:
    return _length(len(value)) + value


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _length(len(encoded)) + encoded


_name = lru_cache(maxsize=4_096)(_text)
"""For texts that come again and again."""


@lru_cache(maxsize=64)
def _one_line_struct(sku_bytes: int) -> struct.Struct:
    return struct.Struct(f">{_ARRAY}i{sku_bytes}s{_ARRAY}ii{_ARRAY}iq")


def _one_line(line: Line) -> bytes:
    """`_arrays` of one line, in one go."""
    sku = line.sku.encode()
    size = len(sku)
    return _one_line_struct(size).pack(
        _ARRAY_HEADER_BYTES + 4 + size, 1, 0, _TEXT_OID, 1, 1, size, sku,
        _ARRAY_HEADER_BYTES + 4 + 4, 1, 0, _INT_OID, 1, 1, 4, line.qty,
        _ARRAY_HEADER_BYTES + 4 + 8, 1, 0, _BIGINT_OID, 1, 1, 8, line.unit_price,
    )  # fmt: skip


@lru_cache(maxsize=128)
def _numbers_struct(count: int) -> tuple[Callable[..., bytes], int, int]:
    """Packs an array of so many integers and one of so many bigints; and the size of each."""
    layout = struct.Struct(">" + _ARRAY + "ii" * count + _ARRAY + "iq" * count)
    return layout.pack, _ARRAY_HEADER_BYTES + 8 * count, _ARRAY_HEADER_BYTES + 12 * count


def _arrays(lines: Sequence[Line]) -> bytes:
    count = len(lines)
    pack, qtys_bytes, prices_bytes = _numbers_struct(count)
    skus = b"".join([_name(line.sku) for line in lines])
    # Each element has its length before it; by slices, because a loop in Python would cost as much as all the rest.
    qtys, prices = [4] * (2 * count), [8] * (2 * count)
    qtys[1::2] = [line.qty for line in lines]
    prices[1::2] = [line.unit_price for line in lines]
    return (
        _array(_ARRAY_HEADER_BYTES + len(skus), 1, 0, _TEXT_OID, count, 1)
        + skus
        + pack(qtys_bytes, 1, 0, _INT_OID, count, 1, *qtys, prices_bytes, 1, 0, _BIGINT_OID, count, 1, *prices)
    )
