"""A page of what the ledger remembers as lua/refill.lua takes it: for each key a list of fields and values.

Bytes are those that the other scripts would have written; see lua/include/holds.lua and lua/reserve_batch.lua.
"""

import struct
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

import msgspec
from msgspec import Raw

from streams.core.books import Action
from streams.core.memory import KeptDecision, KeptHold, KeptPromotion, KeptUnits, Page
from streams.core.stock import End, Pool
from streams.stores.stock_checks import check_promotion
from streams.stores.stock_keys import field, hold_text, owner

_pack = msgspec.msgpack.Encoder().encode
_memo = struct.Struct(">B8s16sQQ").pack
_times = struct.Struct(">QQ").pack
_deadline = struct.Struct(">Q").pack
_str16 = struct.Struct(">BH").pack
_str32 = struct.Struct(">BI").pack
_EXPIRED = (End.EXPIRED, End.EXPIRED_TO_MAIN)
RESULTS = {Action.RECEIVE: b"0", Action.MOVE: b"moved"}
"""What the scripts keep of a command that was done, by its action."""


def encode_page(page: Page) -> bytes:
    """The page as one msgpack blob of lists of strings."""
    lists: dict[str, Iterable[bytes]] = {
        "promos": _promotions(page.promotions),
        "free": _account((pool, pool.free) for pool in page.pools),
        "on_hand": _account((pool, pool.free + pool.held) for pool in page.pools),
        # A pool is known by standing in the others; this one begins with the first unit.
        "sold": _account((pool, pool.sold) for pool in page.pools if pool.sold),
        "bought": _bought(page.bought),
        "holds": [part for hold in page.holds for part in (hold.order_id, encode_hold(hold))],
        "due": _due(page.holds),
        "expired": [p for hold in page.holds if hold.ended for p in (hold.order_id, hold.ended.value.encode())],
        "seen": [part for kept in page.decisions for part in (kept.key, _remembered(kept))],
        "ended": [p for e in page.ends for p in (e.order_id, _end(e.end, e.promotion_id, e.buyer_id))],
        "refs": [p for kept in page.refs for p in (f"{kept.action.value}:{kept.ref}".encode(), RESULTS[kept.action])],
    }
    return _pack({name: Raw(_strings(list(values))) for name, values in lists.items()})


def encode_hold(hold: KeptHold) -> bytes:
    """A hold as Redis keeps it."""
    owned = _owner(hold.promotion_id, hold.buyer_id)
    return _times(hold.decided_at_ms, hold.due_ms) + (owned + hold_text(hold.quantities)).encode()


def _owner(promotion_id: str | None, buyer_id: str) -> str:
    return "" if promotion_id is None else owner(promotion_id, buyer_id)


def _remembered(kept: KeptDecision) -> bytes:
    return _memo(kept.code, kept.fingerprint, kept.order_id, kept.decided_at_ms, kept.held_until_ms)


def _end(end: End, promotion_id: str | None, buyer_id: str) -> bytes:
    return (end.value + (_owner(promotion_id, buyer_id) if end in _EXPIRED else "")).encode()


def _due(holds: Sequence[KeptHold]) -> list[bytes]:
    """Scores and members: one a deadline, its ids behind it. Those that come with the same deadline stand together."""
    found: list[bytes] = []
    for due_ms, some in groupby((hold for hold in holds if not hold.ended), key=attrgetter("due_ms")):
        found += (str(due_ms).encode(), _deadline(due_ms) + b"".join(hold.order_id for hold in some))
    return found


def _account(units: Iterable[tuple[Pool, int]]) -> list[bytes]:
    return [part for pool, n in units for part in (field(pool.sku, pool.pool).encode(), str(n).encode())]


def _bought(bought: Sequence[KeptUnits]) -> list[bytes]:
    return [
        part for kept in bought for part in (owner(kept.promotion_id, kept.buyer_id).encode(), str(kept.units).encode())
    ]


def _promotions(promotions: Sequence[KeptPromotion]) -> list[bytes]:
    found: list[bytes] = []
    for promotion, swept in promotions:
        name = promotion.promotion_id
        terms = (promotion.opens_at_ms, promotion.closes_at_ms, promotion.buyer_limit, 0 if swept is None else 1)
        found += (name.encode(), _pack(terms), f"{name}|quota".encode(), _pack(check_promotion(promotion)))
        if swept is not None:
            found += (f"{name}|swept".encode(), _pack(swept))
    return found


def _strings(values: Sequence[bytes]) -> bytes:
    """Byte strings as a msgpack list of strings, which is the only kind that Redis' msgpack knows."""
    parts = [_str32(0xDD, len(values))]
    for value in values:
        size = len(value)
        parts.append(bytes((0xD9, size)) if size < 256 else _str16(0xDA, size) if size < 65_536 else _str32(0xDB, size))
        parts.append(value)
    return b"".join(parts)
