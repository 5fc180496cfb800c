"""What the pipeline asks of the stock.

Every call carries the epoch that the ledger issued; a stock that carries another, or whose server was restarted or
promoted since it was given that epoch, raises `Fenced` and changes nothing. It is then rebuilt (streams/rebuild.py):
emptied, refilled from the ledger, and given a new epoch.
Every call is idempotent by order and action (or by `ref`): repeating it changes nothing more and tells what was done.
A call out of bounds (MAX_BATCH, MAX_ORDER_UNITS, ids of other lengths than `streams.core.identity` makes) raises
`ValueError`, one that gets no answer `StockUnavailable`. Decisions and ends of holds are remembered for one to two
retentions (`dedupe_retention_s`).
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol
from uuid import UUID

from streams.core.memory import Carried, Page
from streams.core.stock import End, Expired, Hold, MoveResult, Pool, Promotion, Reservation, Restock, Verdict

MAX_BATCH = 5_000
"""Orders in one call. A script holds the whole server, so its time is bounded by bounding its work."""

MAX_ORDER_UNITS = 1_000_000_000
"""Units of one SKU in one order: far above what a message can ask (MAX_LINES x MAX_QTY), far below what Lua counts."""


class Stock(Protocol):
    """Redis, or its fake."""

    async def epoch(self) -> int | None:
        """Epoch that the stock carries; None when it is empty."""
        ...

    async def carried(self) -> Carried:
        """What the stock says of itself, whatever its epoch."""
        ...

    async def begin_rebuild(self, epoch: int, installation: UUID, *, take_over: bool = False) -> None:
        """Drop everything, to be refilled under `epoch`; from here on every other call is `Fenced`.

        Raises `Fenced`, and drops nothing, when the stock is another installation's or carries a newer epoch, unless
        told to `take_over`; and always when it was begun or installed under `epoch` before.
        """
        ...

    async def refill(self, epoch: int, page: Page) -> None:
        """Add what the ledger remembers; raises `Fenced` when `epoch` is not what the stock is being rebuilt under.

        Promotions come first, then pools and what was bought, then the rest. What `decisions` and `ends` have is
        remembered for one more retention. A call that gets no answer is not repeated: the rebuild begins anew.
        """
        ...

    async def install_epoch(self, epoch: int, *, refilled: bool = False) -> None:
        """Give its epoch to a stock that was refilled under it, or that is EMPTY; raises `Fenced` for any other.

        With `refilled` not to an empty one either: it may have lost since what it was refilled with.
        """
        ...

    async def adopt_epoch(self, epoch: int, before: int) -> None:
        """Go on under another epoch with all that is there; raises `Fenced` unless the stock carries `before`.

        For a ledger that moved to another server while the stock lost nothing. Done already, it does nothing.
        """
        ...

    async def reserve(
        self, epoch: int, batch: Sequence[Reservation], *, now_ms: int, held_until_ms: int
    ) -> list[Verdict]:
        """Decide up to MAX_BATCH submissions in order: each seen key is answered from memory; else all lines or none.

        Refusals are remembered too. The buyer's limit counts units in this promotion over all the buyer's live and
        sold orders; units given back no longer count. Of several reasons the first of these is told: the promotion
        unknown, closed (by hand or by its window), not open yet; a SKU unknown or not in it; limit; stock.

        What could be accepted but whose order id holds units already, its key forgotten or another, is a replay of
        that hold: a hold is never overwritten. A SKU that comes twice in `quantities` is added up.
        """
        ...

    async def confirm(self, epoch: int, order_ids: Sequence[bytes]) -> list[End]:
        """Turn holds into sold. CONFIRMED (now or before), or the end that came first, or UNKNOWN."""
        ...

    async def release(self, epoch: int, order_ids: Sequence[bytes]) -> list[End]:
        """Give holds back: RELEASED or RELEASED_TO_MAIN (now or before), or the end that came first, or UNKNOWN."""
        ...

    async def expire_due(self, epoch: int, *, now_ms: int, limit: int) -> list[Expired]:
        """End holds that are due, the oldest first, until `limit` are unsettled; return all unsettled, oldest first.

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
        LATE_REFUSED for good when neither has enough. Only an EXPIRED hold can be retaken; for another end that end
        is returned, for a live hold, or an end forgotten, UNKNOWN. The pool of a closed promotion sells nothing late,
        nor does an open one past the buyer's limit, towards which a late sale from it counts.
        """
        ...

    async def restock(self, epoch: int, restocks: Sequence[Restock]) -> list[End]:
        """Put sold units back on the shelf: RESTOCKED in the pool they were sold from, or RESTOCKED_TO_MAIN.

        To main when the promotion has closed. Each once by its id, a repeat is told what was done. What was bought
        still counts towards a buyer's limit. The caller knows that so much was sold and is not back yet.
        """
        ...

    async def receive(self, epoch: int, ref: str, items: Sequence[tuple[str, int]]) -> bool:
        """Add units to main, or take free ones off with a negative quantity; False when `ref` was applied before.

        Items of the same SKU add up; a new SKU is known from here on. Raises `Refused` (and changes nothing, so that
        `ref` may come again) when an item would leave less than nothing free, or more than 2**53 - 1.
        """
        ...

    async def move(self, epoch: int, ref: str, sku: str, source: str, target: str, qty: int) -> MoveResult:
        """Move free units of a SKU between pools; the result of a repeated `ref` is that of its first time.

        Raises `UnknownThing` when the SKU is not in one of the pools (a promotion has the SKUs of its quota), and
        `Refused` when the target's promotion is closed: what is put there would never be swept. Refs of `move` and
        `receive` are apart.
        """
        ...

    async def open_promotion(self, epoch: int, promotion: Promotion) -> list[tuple[str, int]]:
        """Move the quota out of main and open the promotion; returns SKUs and units missing, [] when it is open.

        All or nothing: when any SKU has not enough free in main, nothing moves. Repeating it returns []. Raises
        `Refused` when it is open under other terms, or closed: a promotion opens once.
        """
        ...

    async def close_promotion(self, epoch: int, promotion_id: str) -> list[tuple[str, int]]:
        """Close it and sweep what is free back to main; returns SKU and units swept, the same again when repeated.

        Holds live on; units that they give back later go to main. Raises `UnknownThing` for an unknown promotion.
        """
        ...

    async def promotion(self, promotion_id: str) -> Promotion | None:
        """The promotion as the stock has it, closed or not; each SKU of its quota once."""
        ...

    def pools(self, skus: Sequence[str] | None = None) -> AsyncIterator[Pool]:
        """Stream all pools, or those of some SKUs, in no order; bounded memory. A pool may come twice.

        Each pool is read in one piece, several are not: units that move meanwhile may be seen in both or neither.
        """
        ...

    def holds(self) -> AsyncIterator[Hold]:
        """Stream all live holds, in no order; bounded memory. A hold may come twice."""
        ...

    async def held(self, order_ids: Sequence[bytes]) -> set[bytes]:
        """Those of the orders that hold units, or whose hold has expired and waits for `settle`."""
        ...

    async def unsettled(self) -> int:
        """How many expired holds wait for `settle`."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
