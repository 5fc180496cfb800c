"""The stock by pool: units free, held and sold over all SKUs, and how many SKUs are low or out."""

from dataclasses import dataclass

from streams.core.stock import MAIN
from streams.stores.stock import Stock

MAX_PROMOTIONS = 20
"""Pools told of by name; the others are told of together, so that promotions of years make no series for ever."""
OTHERS = "promo:*"


@dataclass(slots=True)
class Shelf:
    """One pool, over all its SKUs."""

    pool: str
    free: int = 0
    held: int = 0
    sold: int = 0
    skus: int = 0
    low: int = 0
    out: int = 0

    def absorb(self, other: "Shelf") -> None:
        """Add another pool."""
        for name in ("free", "held", "sold", "skus", "low", "out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


async def add_up(stock: Stock, low_units: int) -> list[Shelf]:
    """All pools, page by page, while orders flow: each page is right, their sum is nearly so."""
    shelves: dict[str, Shelf] = {}
    async for pool in stock.pools():
        shelf = shelves.setdefault(pool.pool, Shelf(pool.pool))
        shelf.free += pool.free
        shelf.held += pool.held
        shelf.sold += pool.sold
        shelf.skus += 1
        shelf.low += 0 < pool.free < low_units
        shelf.out += pool.free <= 0
    return _few(shelves)


def _few(shelves: dict[str, Shelf]) -> list[Shelf]:
    """Main, the promotions with the most free units, and the rest of them as one."""
    promotions = sorted((s for s in shelves.values() if s.pool != MAIN), key=lambda s: (-s.free, s.pool))
    found = [shelves[MAIN]] if MAIN in shelves else []
    found += promotions[:MAX_PROMOTIONS]
    if promotions[MAX_PROMOTIONS:]:
        others = Shelf(OTHERS)
        for shelf in promotions[MAX_PROMOTIONS:]:
            others.absorb(shelf)
        found.append(others)
    return found
