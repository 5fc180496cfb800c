"""Stock as values: pools, reservations, verdicts, ends of holds, promotions, with their codes.

A unit is in one pool of its SKU, `main` or `promo:<promotion>`, and in one account of that pool: free, held or sold.
An order draws from one pool only: its promotion's, or main.
"""

from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import NamedTuple

MAIN = "main"


def promo_pool(promotion_id: str) -> str:
    """Name of a promotion's pool."""
    return f"promo:{promotion_id}"


def pool_of(promotion_id: str | None) -> str:
    """The only pool that an order under this promotion, or under none, may draw from."""
    return MAIN if promotion_id is None else promo_pool(promotion_id)


def added_up(items: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Units by SKU, in the order of first mention; a SKU that comes several times is added up."""
    units: dict[str, int] = {}
    for sku, qty in items:
        units[sku] = units.get(sku, 0) + qty
    return units


class Code(IntEnum):
    """What reserve says of one submission. The values are those of the Lua script (a test holds them together)."""

    ACCEPTED = 0
    OUT_OF_STOCK = 1
    UNKNOWN_SKU = 2
    UNKNOWN_PROMOTION = 3
    PROMOTION_NOT_OPEN = 4
    PROMOTION_CLOSED = 5
    NOT_IN_PROMOTION = 6
    BUYER_LIMIT = 7


class Reservation(NamedTuple):
    """One submission as the stock sees it. `quantities` has each SKU once: repeated lines are added up before."""

    key: bytes
    fingerprint: bytes
    order_id: bytes
    buyer_id: str
    promotion_id: str | None
    quantities: tuple[tuple[str, int], ...]


class Verdict(NamedTuple):
    """What reserve decided for one submission, or had decided before.

    `replay` tells that the key was known; all else is then the first decision's. `conflict` tells that the key was
    known with another fingerprint. Times are milliseconds since 1970; `held_until_ms` is 0 unless accepted.
    """

    code: Code
    replay: bool
    conflict: bool
    order_id: bytes
    decided_at_ms: int
    held_until_ms: int


class End(StrEnum):
    """How a hold ended. The letters are those that the Lua scripts store; a capital one means: units went to main.

    UNKNOWN is never stored: the stock knows neither a hold nor an end of this order.
    """

    CONFIRMED = "c"
    RELEASED = "r"
    RELEASED_TO_MAIN = "R"
    EXPIRED = "e"
    EXPIRED_TO_MAIN = "E"
    LATE_FROM_POOL = "l"
    LATE_FROM_MAIN = "L"
    LATE_REFUSED = "x"
    RESTOCKED = "s"
    RESTOCKED_TO_MAIN = "S"
    UNKNOWN = "?"


class Restock(NamedTuple):
    """Sold units of one order that go back on the shelf; `restock_id` is 16 bytes and tells it from all others."""

    restock_id: bytes
    pool: str
    quantities: tuple[tuple[str, int], ...]


class Expired(NamedTuple):
    """A hold whose time was up, from `expire_due`. `pool` is where it was held; `end` tells where the units went.

    `due_ms` is the deadline it had, which tells this hold from another that the same order may have had.
    """

    order_id: bytes
    end: End
    pool: str
    quantities: tuple[tuple[str, int], ...]
    due_ms: int = 0


class Promotion(NamedTuple):
    """A promotion as the stock knows it. Window in milliseconds since 1970, closed at its end; limit 0 is none."""

    promotion_id: str
    opens_at_ms: int
    closes_at_ms: int
    buyer_limit: int
    quota: tuple[tuple[str, int], ...]


class Pool(NamedTuple):
    """Units of one SKU in one pool."""

    sku: str
    pool: str
    free: int
    held: int
    sold: int


class Hold(NamedTuple):
    """One live hold."""

    order_id: bytes
    pool: str
    due_ms: int
    quantities: tuple[tuple[str, int], ...]


class MoveResult(StrEnum):
    """What became of a move between pools."""

    MOVED = "moved"
    NOT_ENOUGH = "not_enough"
