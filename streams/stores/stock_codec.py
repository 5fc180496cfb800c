"""Reservations as the reserve script takes them, its answer as verdicts, holds as Redis keeps them.

The layouts are described where they are decided: in the headers of lua/reserve_batch.lua and lua/include/holds.lua.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw

from streams.core.stock import Code, Reservation, Verdict, pool_of
from streams.stores.stock_checks import check_batch, check_order_units, distinct_lines
from streams.stores.stock_keys import field, hold_text, owner

_pack = msgspec.msgpack.Encoder().encode
_times = struct.Struct(">QQ")
_memo = struct.Struct(">B8s16sQQ")
_CODES = tuple(Code)
REPLAY = 8
CONFLICT = 9


# Redis' msgpack knows no binaries, and msgspec no strings that are not UTF-8; so such strings' headers are made here.
_array16 = struct.Struct(">BH")


def binaries(values: Sequence[bytes]) -> bytes:
    """Byte strings as a msgpack list of strings; all of one length under 256, and at most 65,535 of them."""
    if not values:
        return b"\x90"
    header = bytes((0xD9, len(values[0])))
    return _array16.pack(0xDC, len(values)) + header + header.join(values)


class Columns(msgspec.Struct, frozen=True, gc=False):
    """A batch in columns, as the script reads it: few tables and strings in Lua, and each name written once.

    `memos` are what is remembered of each order should it be accepted: ACCEPTED, fingerprint, order id and times.
    A basket is what one or several orders ask for, and `basket_of` has each order's; `line_field` and `line_units` are
    the lines of all baskets one after another, `basket_end` is each one's last, or empty when every one has one line,
    and `basket_text` is what a hold keeps of it. `promotion_of` and `owner_of` are empty when no order names a
    promotion, else 0 is none. All numbers count from 1. `tangled` tells that a key or an order id comes more than once.
    """

    keys: Raw
    memos: Raw
    accepted_times: Raw
    refused_times: Raw
    held_until_ms: str
    fields: Sequence[str]
    basket_of: Sequence[int]
    basket_end: Sequence[int]
    basket_text: Sequence[str]
    line_field: Sequence[int]
    line_units: Sequence[int]
    promotions: Sequence[str]
    promotion_of: Sequence[int]
    owners: Sequence[str]
    owner_of: Sequence[int]
    tangled: bool


class StoredHold(NamedTuple):
    """A hold as Redis keeps it. Times are milliseconds since 1970."""

    decided_at_ms: int
    due_ms: int
    pool: str
    quantities: tuple[tuple[str, int], ...]


def encode_batch(batch: Sequence[Reservation], *, now_ms: int, held_until_ms: int) -> bytes:
    """The batch as one msgpack blob; raises `ValueError` for what no reservation can be."""
    check_batch(batch)
    keys, prints, ids, buyers, promotions, quantities = zip(*batch, strict=True) if batch else ((),) * 6
    baskets = _baskets(promotions, quantities)
    check_order_units(baskets.units)
    promotion_names, promotion_of, owners, owner_of = _owners(promotions, buyers)
    accepted_times = _times.pack(now_ms, held_until_ms)
    return _pack(
        Columns(
            keys=Raw(binaries(keys)),
            memos=Raw(
                binaries([b"\0" + print_ + id_ + accepted_times for print_, id_ in zip(prints, ids, strict=True)])
            ),
            accepted_times=Raw(_binary(accepted_times)),
            refused_times=Raw(_binary(_times.pack(now_ms, 0))),
            held_until_ms=str(held_until_ms),
            fields=baskets.fields,
            basket_of=baskets.of,
            basket_end=baskets.end if len(baskets.units) > len(baskets.end) else (),
            basket_text=baskets.text,
            line_field=baskets.field,
            line_units=baskets.units,
            promotions=promotion_names,
            promotion_of=promotion_of,
            owners=owners,
            owner_of=owner_of,
            tangled=len(set(keys)) < len(keys) or len(set(ids)) < len(ids),
        )
    )


def decode_verdicts(answer: bytes, batch: Sequence[Reservation], *, now_ms: int, held_until_ms: int) -> list[Verdict]:
    """The script's answer as verdicts, in the batch's order."""
    until = [held_until_ms if code is Code.ACCEPTED else 0 for code in _CODES]
    verdicts: list[Verdict] = []
    memo_at = len(batch)
    for byte, reservation in zip(answer, batch, strict=False):
        if byte < REPLAY:
            verdicts.append(Verdict(_CODES[byte], False, False, reservation.order_id, now_ms, until[byte]))
        else:
            code, _, order_id, decided_at_ms, due_ms = _memo.unpack_from(answer, memo_at)
            memo_at += _memo.size
            verdicts.append(Verdict(_CODES[code], True, byte == CONFLICT, order_id, decided_at_ms, due_ms))
    return verdicts


def decode_hold(packed: bytes) -> StoredHold:
    """A hold from its bytes."""
    decided_at_ms, due_ms = _times.unpack_from(packed)
    owned, *texts = packed[_times.size :].decode().split("\n")
    promotion, _, _ = owned.partition("|")
    quantities = tuple((sku, int(units)) for sku, units in zip(texts[::2], texts[1::2], strict=True))
    return StoredHold(decided_at_ms, due_ms, pool_of(promotion or None), quantities)


class _Baskets(NamedTuple):
    """See `Columns`."""

    fields: list[str]
    of: list[int]
    end: list[int]
    text: list[str]
    field: list[int]
    units: list[int]


class _Numbers(dict[str, int]):
    """Numbers of the fields of one pool's SKUs, each given when it is first asked for."""

    def __init__(self, pool: str, fields: list[str]) -> None:
        self._pool, self._fields = pool, fields

    def __missing__(self, sku: str) -> int:
        self._fields.append(field(sku, self._pool))
        number = self[sku] = len(self._fields)
        return number


def _baskets(promotions: Sequence[str | None], quantities: Sequence[tuple[tuple[str, int], ...]]) -> _Baskets:
    baskets = _Baskets([], [], [], [], [], [])
    numbers = {promotion: _Numbers(pool_of(promotion), baskets.fields) for promotion in set(promotions)}
    # What asks for one SKU often asks for the same as others, and then is one basket. What asks for several seldom
    # does, and to find out would cost more.
    known: dict[str | None, dict[tuple[str, int], int]] = {promotion: {} for promotion in numbers}
    of, ends, texts = baskets.of, baskets.end, baskets.text
    add_fields, add_units = baskets.field.extend, baskets.units.extend
    line_count = 0
    for promotion, asked in zip(promotions, quantities, strict=True):
        if len(asked) == 1:
            number = known[promotion].setdefault(asked[0], len(ends) + 1)
            if number <= len(ends):
                of.append(number)
                continue
        of_pool = numbers[promotion]
        fields = [of_pool[sku] for sku, _ in asked]
        lines = asked if len(set(fields)) == len(fields) else tuple(distinct_lines(asked).items())
        add_fields(fields if lines is asked else [of_pool[sku] for sku, _ in lines])
        add_units([units for _, units in lines])
        texts.append(hold_text(lines))
        line_count += len(lines)
        ends.append(line_count)
        of.append(len(ends))
    return baskets


def _binary(value: bytes) -> bytes:
    return bytes((0xD9, len(value))) + value


def _owners(
    promotions: Sequence[str | None], buyers: Sequence[str]
) -> tuple[list[str], list[int], list[str], list[int]]:
    if not any(promotions):
        return [], [], [], []
    promotion_numbers: dict[str, int] = {}
    owner_numbers: dict[str, int] = {}
    promotion_of: list[int] = []
    owner_of: list[int] = []
    for promotion, buyer in zip(promotions, buyers, strict=True):
        if promotion is None:
            promotion_of.append(0)
            owner_of.append(0)
        else:
            promotion_of.append(promotion_numbers.setdefault(promotion, len(promotion_numbers) + 1))
            owner_of.append(owner_numbers.setdefault(owner(promotion, buyer), len(owner_numbers) + 1))
    return list(promotion_numbers), promotion_of, list(owner_numbers), owner_of
