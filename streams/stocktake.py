"""A stocktake while orders flow: Redis and the ledger compared in small steps. It repairs nothing.

The stock is ahead of the ledger by what is in flight, so a difference seen once says nothing. What differs is looked
at again, with growing pauses, between two readings of the ledger. What agrees once is fine, what differs by the same
units every time is told, what differs by other units each time is moving and counted as such.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from streams.agreement import agreed_epoch
from streams.core.books import State
from streams.errors import Fenced
from streams.parts import Parts

T = TypeVar("T")
PAGE = 1_000
PAGE_PAUSE_S = 0.02
"""Between pages, so that a look is never more than a fraction of the load."""
LOOKS = 5
LOOK_FIRST_S = 0.2
"""Before the first look again; each pause is twice the one before."""
MAX_SUSPECTS = 100_000
"""Looked at again; more than that is no difference but another stock."""

Place = tuple[str, str]
Units = tuple[int, int, int]


class Differs(msgspec.Struct, frozen=True):
    """One thing in which both differ steadily.

    A pool with its (free, held, sold) by each; a `lost_hold` that an order has in the ledger only; a `leaked_hold` that
    the stock has for no order that holds.
    """

    kind: str
    what: str
    stock: Units | None = None
    ledger: Units | None = None


class Stocktake(msgspec.Struct):
    """What was looked at and found. `moving` pools never stood still enough to be judged."""

    epoch: int
    pools: int = 0
    holds: int = 0
    moving: int = 0
    seconds: float = 0.0
    differences: list[Differs] = []

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


async def take_stock(parts: Parts, *, looks: int = LOOKS, look_first_s: float = LOOK_FIRST_S) -> Stocktake:
    """Look at all pools and holds once, and again at what differs.

    Raises `Fenced` when the stock is lost or was rebuilt meanwhile: then there is nothing to compare, or it is settled.
    """
    began, epoch = monotonic(), await agreed_epoch(parts.ledger, parts.stock)
    if epoch is None:
        raise Fenced("The stock is lost or being rebuilt; look again when that is done, or `floodway stock rebuild`.")
    found = Stocktake(epoch)
    pauses = [look_first_s * 2**n for n in range(looks)]
    await _pools(parts, found, pauses)
    await _lost_holds(parts, found, pauses)
    await _leaked_holds(parts, found, pauses)
    if await agreed_epoch(parts.ledger, parts.stock) != epoch:
        raise Fenced("The stock was lost or rebuilt during the stocktake; look again.")
    found.seconds = round(monotonic() - began, 2)
    return found


async def _pools(parts: Parts, found: Stocktake, pauses: Sequence[float]) -> None:
    suspects: set[str] = set()
    known: set[Place] = set()
    async with parts.ledger.snapshot() as books:
        async for page in books.balances():
            booked = {(b.sku, b.pool): (b.free, b.held, b.sold) for b in page}
            shelves = await _shelves(parts, {sku for sku, _ in booked})
            suspects |= {place[0] for place, units in booked.items() if shelves.get(place, (0, 0, 0)) != units}
            known |= booked.keys()
            await asyncio.sleep(PAGE_PAUSE_S)
    async for pool in parts.stock.pools():
        if (pool.sku, pool.pool) not in known and (pool.free or pool.held or pool.sold):
            suspects.add(pool.sku)
    found.pools = len(known)
    for some in _slices(sorted(_bounded(suspects))):
        await _look_again(parts, found, some, pauses)


async def _look_again(parts: Parts, found: Stocktake, skus: list[str], pauses: Sequence[float]) -> None:
    """Judge the pools of these SKUs by several looks."""
    agreed: set[Place] = set()
    gaps: dict[Place, list[Units]] = {}
    last: dict[Place, tuple[Units, Units]] = {}
    for pause_s in pauses:
        await asyncio.sleep(pause_s)
        before, shelves = await _booked(parts, skus), await _shelves(parts, skus)
        after = await _booked(parts, skus)
        for place in before.keys() | shelves.keys() | after.keys():
            on_shelf, booked = shelves.get(place, (0, 0, 0)), after.get(place, (0, 0, 0))
            if on_shelf in (booked, before.get(place, (0, 0, 0))):
                agreed.add(place)
            free, held, sold = (a - b for a, b in zip(on_shelf, booked, strict=True))
            gaps.setdefault(place, []).append((free, held, sold))
            last[place] = (on_shelf, booked)
        skus = sorted({sku for sku, pool in gaps if (sku, pool) not in agreed})
        if not skus:
            return
    for place, seen in sorted(gaps.items()):
        if place in agreed:
            continue
        if len(set(seen)) == 1 and len(seen) == len(pauses):
            found.differences.append(Differs("pool", "|".join(place), *last[place]))
        else:
            found.moving += 1


async def _lost_holds(parts: Parts, found: Stocktake, pauses: Sequence[float]) -> None:
    """Orders that hold in the ledger and not in the stock."""
    suspects: list[bytes] = []
    async with parts.ledger.snapshot() as books:
        async for page in books.holds():
            ids = [hold.order_id for hold in page]
            held = await parts.stock.held(ids)
            suspects += [order_id for order_id in ids if order_id not in held]
            found.holds += len(ids)
            await asyncio.sleep(PAGE_PAUSE_S)
    for some in _slices(_bounded(suspects)):
        left = some
        for pause_s in pauses:
            await asyncio.sleep(pause_s)
            # The stock is asked first: what it has let go of meanwhile, the ledger may know by the time it is asked.
            held = await parts.stock.held(left)
            orders = await parts.ledger.orders([UUID(bytes=order_id) for order_id in left])
            holding = {order.order_id.bytes for order in orders.values() if order.state is State.HELD}
            left = [order_id for order_id in left if order_id in holding and order_id not in held]
            if not left:
                break
        found.differences += [Differs("lost_hold", str(UUID(bytes=order_id))) for order_id in left]


async def _leaked_holds(parts: Parts, found: Stocktake, pauses: Sequence[float]) -> None:
    """Holds in the stock whose order does not hold in the ledger: their units would be held for ever."""
    suspects: list[bytes] = []
    async for ids in _pages(hold.order_id async for hold in parts.stock.holds()):
        suspects += await _not_holding(parts, ids)
        await asyncio.sleep(PAGE_PAUSE_S)
    for some in _slices(_bounded(suspects)):
        left = some
        for pause_s in pauses:
            await asyncio.sleep(pause_s)
            wrong = await _not_holding(parts, left)
            held = await parts.stock.held(wrong)
            left = [order_id for order_id in wrong if order_id in held]
            if not left:
                break
        found.differences += [Differs("leaked_hold", str(UUID(bytes=order_id))) for order_id in left]


async def _not_holding(parts: Parts, order_ids: Sequence[bytes]) -> list[bytes]:
    orders = await parts.ledger.orders([UUID(bytes=order_id) for order_id in order_ids])
    holding = {order.order_id.bytes for order in orders.values() if order.state is State.HELD}
    return [order_id for order_id in order_ids if order_id not in holding]


async def _shelves(parts: Parts, skus: Iterable[str]) -> dict[Place, Units]:
    return {(p.sku, p.pool): (p.free, p.held, p.sold) async for p in parts.stock.pools(list(skus))}


async def _booked(parts: Parts, skus: Sequence[str]) -> dict[Place, Units]:
    return {(b.sku, b.pool): (b.free, b.held, b.sold) async for b in parts.ledger.balances(skus)}


def _bounded(suspects: Iterable[T]) -> list[T]:
    return list(islice(suspects, MAX_SUSPECTS))


def _slices(values: Sequence[T]) -> Iterable[list[T]]:
    for at in range(0, len(values), PAGE):
        yield list(values[at : at + PAGE])


async def _pages(values: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    page: list[T] = []
    async for value in values:
        page.append(value)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page
