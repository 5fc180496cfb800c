"""What the pipeline asks of the stock: the protocol, its values and its result codes.

A unit is in one pool of its SKU, `main` or `promo:<promotion>`, and in one account of that pool: free, held or sold.
An order draws from one pool only: its promotion's, or main.

Every call carries the epoch that the ledger issued; a stock that carries another raises `Fenced` and changes nothing.
Every call is idempotent by order and action (or by `ref`): repeating it changes nothing more and tells what was done.
"""

from collections.abc import AsyncIterator, Sequence
from enum import IntEnum, StrEnum
from typing import NamedTuple, Protocol

MAIN = "main"

MAX_BATCH = 5_000
"""Orders in one call. A script holds the whole server, so its time is bounded by bounding its work."""


def promo_pool(promotion_id: str) -> str:
    """Name of a promotion's pool."""
    return f"promo:{promotion_id}"


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
    UNKNOWN = "?"


class Expired(NamedTuple):
    """A hold whose time was up, from `expire_due`. `pool` is where it was held; `end` tells where the units went."""

    order_id: bytes
    end: End
    pool: str
    quantities: tuple[tuple[str, int], ...]


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


class Stock(Protocol):
    """Redis, or its fake."""

    async def epoch(self) -> int | None:
        """Epoch that the stock carries; None when it is empty."""
        ...

    async def install_epoch(self, epoch: int) -> None:
        """Give an EMPTY stock its epoch; raises `Fenced` when it already carries another."""
        ...

    async def reserve(
        self, epoch: int, batch: Sequence[Reservation], *, now_ms: int, held_until_ms: int
    ) -> list[Verdict]:
        """Decide up to MAX_BATCH submissions in order: each seen key is answered from memory; else all lines or none.

        Refusals are remembered too. The buyer's limit counts units in this promotion over all the buyer's live and
        sold orders; units given back no longer count.
        """
        ...

    async def confirm(self, epoch: int, order_ids: Sequence[bytes]) -> list[End]:
        """Turn holds into sold. CONFIRMED (now or before), or the end that came first, or UNKNOWN."""
        ...

    async def release(self, epoch: int, order_ids: Sequence[bytes]) -> list[End]:
        """Give holds back: RELEASED or RELEASED_TO_MAIN (now or before), or the end that came first, or UNKNOWN."""
        ...

    async def expire_due(self, epoch: int, *, now_ms: int, limit: int) -> list[Expired]:
        """End up to `limit` holds that are due, the oldest first, and return them with the unsettled of before.

        What is returned is returned again by the next call until `settle` takes it off: the caller writes it to the
        ledger in between, so an expiry is not lost with the process that found it.
        """
        ...

    async def settle(self, epoch: int, order_ids: Sequence[bytes]) -> None:
        """Take expired holds off the list that `expire_due` repeats: they are durable now."""
        ...

    async def retake(
        self, epoch: int, order_id: bytes, pools: Sequence[str], quantities: Sequence[tuple[str, int]]
    ) -> End:
        """Sell to an order whose hold has ended, from the first of at most two `pools` that has all of it.

        `pools[0]` is the order's own pool, `pools[1]`, if given, is main: LATE_FROM_POOL, LATE_FROM_MAIN, or
        LATE_REFUSED when neither has enough. Only an EXPIRED hold can be retaken; for another end that end is
        returned, for a live hold UNKNOWN.
        """
        ...

    async def receive(self, epoch: int, ref: str, items: Sequence[tuple[str, int]]) -> bool:
        """Add units to main, or take free ones off with a negative quantity; False when `ref` was applied before.

        Raises `Refused` (and changes nothing) when an item would leave less than nothing free.
        """
        ...

    async def move(self, epoch: int, ref: str, sku: str, source: str, target: str, qty: int) -> MoveResult:
        """Move free units of a SKU between pools; the result of a repeated `ref` is that of its first time."""
        ...

    async def open_promotion(self, epoch: int, promotion: Promotion) -> list[tuple[str, int]]:
        """Move the quota out of main and open the promotion; returns what is short, [] when it is open.

        All or nothing: when any SKU has not enough free in main, nothing moves. Repeating it returns [].
        """
        ...

    async def close_promotion(self, epoch: int, promotion_id: str) -> list[tuple[str, int]]:
        """Close it and sweep what is free back to main; returns SKU and units swept, the same again when repeated.

        Holds live on; units that they give back later go to main. Raises `UnknownThing` for an unknown promotion.
        """
        ...

    async def promotion(self, promotion_id: str) -> Promotion | None:
        """The promotion as the stock has it, closed or not."""
        ...

    def pools(self, skus: Sequence[str] | None = None) -> AsyncIterator[Pool]:
        """Stream all pools, or those of some SKUs, in no order; bounded memory."""
        ...

    def holds(self) -> AsyncIterator[Hold]:
        """Stream all live holds, in no order; bounded memory. A hold may come twice."""
        ...

    async def unsettled(self) -> int:
        """How many expired holds wait for `settle`."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
