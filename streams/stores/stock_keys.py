"""How the stock's keys, fields and owners are written in Redis, in one place.

Every key is `<prefix><name>`; the prefix carries a hash tag, so that all keys of one shard share a slot in a cluster.
Units stand in one hash per account under `sku|pool`, a buyer's units of a promotion under `promotion|buyer`.
"""

from collections.abc import Iterable

from streams.core.stock import MAIN, promo_pool

PREFIX = "fw:{0}:"
"""The first shard's. Another number in the tag makes another shard."""

_PROMO = promo_pool("")


def field(sku: str, pool: str) -> str:
    """Field of a SKU in a pool."""
    return f"{sku}|{pool}"


def split_field(name: bytes) -> tuple[str, str]:
    """SKU and pool of a field."""
    sku, _, pool = name.decode().partition("|")
    return sku, pool


def owner(promotion_id: str, buyer_id: str) -> str:
    """Field of a buyer in a promotion. A promotion's id has no `|`, so no two pairs share a text."""
    return f"{promotion_id}|{buyer_id}"


def hold_text(quantities: Iterable[tuple[str, int]]) -> str:
    """The lines of a hold, as lua/include/holds.lua reads them."""
    return "".join([f"\n{sku}\n{units}" for sku, units in quantities])


def promotion_of(pool: str) -> str | None:
    """The promotion whose pool this is; None for main. Raises `ValueError` for what is no pool's name."""
    if pool == MAIN:
        return None
    if pool.startswith(_PROMO) and len(pool) > len(_PROMO):
        return pool.removeprefix(_PROMO)
    raise ValueError(f"{pool!r} is no pool; write {MAIN!r} or {promo_pool('<promotion>')!r}.")
