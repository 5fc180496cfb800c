"""Fixed work of the same character as ours, to measure by: how long it takes says how fast this machine is right now.

Nothing here uses our own code, and none of it may change without all limits being measured anew.
"""

from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec

ORDERS = 500
SCRIPT_KEYS = 500


class _Line(msgspec.Struct, frozen=True, gc=False):
    sku: str
    qty: int


class _Order(msgspec.Struct, frozen=True, gc=False):
    name: str
    buyer: str
    lines: tuple[_Line, ...]
    at: datetime


class _Answer(msgspec.Struct, frozen=True, gc=False):
    order_id: UUID
    name: str
    total: int
    at: datetime
    until: datetime


_MESSAGES = [
    b'{"name":"order-%09d","buyer":"buyer-%09d","lines":[{"sku":"SKU-%04d","qty":1}],"at":"2026-11-11T00:00:00.%03d+00:00"}'
    % (number, number, number % 1_000, number)
    for number in range(ORDERS)
]
_decode = msgspec.json.Decoder(_Order).decode
_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
_HOLD = timedelta(minutes=30)


def python_work() -> int:
    """Messages decoded, hashed, added up, packed and encoded: msgspec, small objects, attribute look-ups, calls."""
    size, names, rows = 0, [], []
    for message in _MESSAGES:
        order = _decode(message)
        digest = blake2b(order.name.encode(), digest_size=16).digest()
        units: dict[str, int] = {}
        for line in order.lines:
            units[line.sku] = units.get(line.sku, 0) + line.qty
        total = sum(units.values())
        names.append(digest)
        rows.append((order.name, order.buyer, total, order.at, tuple(units.items())))
        answer = _Answer(UUID(bytes=digest), order.name, total, order.at, order.at + _HOLD)
        size += len(_encode(answer))
    rows.sort()
    return size + len(_pack([names, [row[0] for row in rows]]))


SCRIPT = """
-- Reads and writes hashes in slices, cuts and joins strings, keeps tables: what a reservation script does, and fixed.
local count = tonumber(ARGV[1])
local names, pairs_out = {}, {}
for i = 1, count do names[i] = 'order-' .. i end
local found = redis.call('HMGET', KEYS[1], unpack(names))
local units = {}
for i = 1, count do
  local sku = 'SKU-' .. (i % 100)
  units[sku] = (units[sku] or 0) + 1
  local memo = string.rep('m', 25) .. string.format('%016d', i)
  local rest = found[i] and string.sub(memo, 10, 41) or memo
  pairs_out[2 * i - 1], pairs_out[2 * i] = names[i], string.sub(memo, 2, 9) .. rest
end
redis.call('HSET', KEYS[1], unpack(pairs_out))
local free = {}
for sku, qty in pairs(units) do free[#free + 1] = sku; free[#free + 1] = string.format('%d', qty) end
redis.call('HSET', KEYS[2], unpack(free))
return table.concat(names, ',', 1, 10)
"""


async def script_work(redis: Any) -> None:
    """The fixed script, once; the hash it writes is the same each time."""
    await redis.eval(SCRIPT, 2, "calibration:orders", "calibration:units", SCRIPT_KEYS)
