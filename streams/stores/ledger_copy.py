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
from streams.core.intent import Asked
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
        channel, submission_id = intent.submission_key
        reservation, trace = intent.reservation, intent.trace_id
        add(
            _fixed(
                columns, 8, decided_at_ms * 1000 - PG_EPOCH_US, 8, intent.submitted_at_us - PG_EPOCH_US,
                8, intent.offset, 4, intent.partition, 2, VERDICTS[reason], 16, order_id.bytes, 8,
                reservation.fingerprint,
            )
        )  # fmt: skip
        add(_names[channel])
        add(_text(submission_id))
        add(_NULL if trace == order_id.hex else _text(trace))
        if reason is not None:
            add(_REJECTED_TAIL)
            continue
        assert held_until_ms, f"an accepted order is held until some time: {booking}"
        add(_accepted(8, held_until_ms * 1000 - PG_EPOCH_US, 8, intent.total))
        promotion_id, channel_order_no, ship_to = reservation.promotion_id, intent.channel_order_no, intent.ship_to
        add(_text(reservation.buyer_id))
        add(_names[intent.currency])
        add(_NULL if promotion_id is None else _names[promotion_id])
        add(_NULL if channel_order_no is None else _text(channel_order_no))
        add(_NULL if ship_to is None else _sized(_encode_json(ship_to)))
        assert_adds_up(booking)
        asked, prices = intent.asked, intent.unit_prices
        add(_one_line(*asked[0], prices[0]) if len(asked) == 1 else _arrays(asked, prices))
    add(_TRAILER)
    return b"".join(parts)


_encode_json = msgspec.json.Encoder().encode


def _sized(value: bytes) -> bytes:
    return _length(len(value)) + value


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _length(len(encoded)) + encoded


class _Names(dict[str, bytes]):
    """`_text` of texts that come again and again, up to `MAX_NAMES`; then it begins anew. A hit costs one look-up."""

    def __missing__(self, name: str) -> bytes:
        if len(self) >= MAX_NAMES:
            self.clear()
        made = self[name] = _text(name)
        return made


MAX_NAMES = 65_536
"""Some 12 MB, where all are SKUs."""
_names = _Names()


@lru_cache(maxsize=64)
def _one_line_struct(sku_bytes: int) -> Callable[..., bytes]:
    return struct.Struct(f">{_ARRAY}i{sku_bytes}s{_ARRAY}ii{_ARRAY}iq").pack


def _one_line(sku: str, qty: int, unit_price: int) -> bytes:
    """`_arrays` of one line, in one go."""
    encoded = sku.encode()
    size = len(encoded)
    return _one_line_struct(size)(
        _ARRAY_HEADER_BYTES + 4 + size, 1, 0, _TEXT_OID, 1, 1, size, encoded,
        _ARRAY_HEADER_BYTES + 4 + 4, 1, 0, _INT_OID, 1, 1, 4, qty,
        _ARRAY_HEADER_BYTES + 4 + 8, 1, 0, _BIGINT_OID, 1, 1, 8, unit_price,
    )  # fmt: skip


@lru_cache(maxsize=128)
def _numbers_struct(count: int) -> tuple[Callable[..., bytes], int, int]:
    """Packs an array of so many integers and one of so many bigints; and the size of each."""
    layout = struct.Struct(">" + _ARRAY + "ii" * count + _ARRAY + "iq" * count)
    return layout.pack, _ARRAY_HEADER_BYTES + 8 * count, _ARRAY_HEADER_BYTES + 12 * count


def _arrays(asked: Sequence[Asked], unit_prices: Sequence[int]) -> bytes:
    count = len(asked)
    pack, qtys_bytes, prices_bytes = _numbers_struct(count)
    names = b"".join([_names[sku] for sku, _ in asked])
    # Each element has its length before it; by slices, because a loop in Python would cost as much as all the rest.
    qtys, prices = [4] * (2 * count), [8] * (2 * count)
    qtys[1::2] = [qty for _, qty in asked]
    prices[1::2] = unit_prices
    return (
        _array(_ARRAY_HEADER_BYTES + len(names), 1, 0, _TEXT_OID, count, 1)
        + names
        + pack(qtys_bytes, 1, 0, _INT_OID, count, 1, *qtys, prices_bytes, 1, 0, _BIGINT_OID, count, 1, *prices)
    )
