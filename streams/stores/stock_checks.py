"""What every stock checks of its arguments, and the errors it answers with: the same for Redis and its fake.

A broken bound is the caller's mistake, hence `ValueError`: messages from outside were checked at the edge.
"""

from collections.abc import Sequence

from streams.core.stock import MAIN, Promotion, Reservation, Restock, added_up
from streams.errors import Fenced, Refused, UnknownThing
from streams.stores.stock import MAX_BATCH, MAX_ORDER_UNITS
from streams.stores.stock_keys import promotion_of

KEY_BYTES = 16
FINGERPRINT_BYTES = 8
ORDER_ID_BYTES = 16

MAX_UNITS = 2**53 - 1
"""In one account; the integers that Lua keeps exact."""

REMEDY = "rebuild the stock from the ledger: workers do so unless told not to, else run `floodway stock rebuild`."

assert MAX_ORDER_UNITS * MAX_BATCH < MAX_UNITS, "what one batch adds up must stay exact"


def check_count(count: int, what: str) -> None:
    """Raise `ValueError` when one call asks for more than MAX_BATCH."""
    if count > MAX_BATCH:
        raise ValueError(f"{count} {what} in one call; at most {MAX_BATCH}, so split them.")


def check_order_ids(order_ids: Sequence[bytes]) -> None:
    """Raise `ValueError` for too many order ids, or ids of another length."""
    check_count(len(order_ids), "orders")
    _check_lengths(order_ids, ORDER_ID_BYTES, "order id")


def check_batch(batch: Sequence[Reservation]) -> None:
    """Raise `ValueError` for a batch too large, or for one that holds something no reservation can be."""
    check_count(len(batch), "orders")
    if not batch:
        return
    keys, prints, order_ids, _, _, quantities = zip(*batch, strict=True)
    _check_lengths(keys, KEY_BYTES, "key")
    _check_lengths(prints, FINGERPRINT_BYTES, "fingerprint")
    _check_lengths(order_ids, ORDER_ID_BYTES, "order id")
    if not all(quantities):
        raise ValueError("A reservation without quantities asks for nothing; give it at least one.")


def check_order_units(units: Sequence[int]) -> None:
    """Raise `ValueError` unless each is 1 to MAX_ORDER_UNITS."""
    if units and (min(units) < 1 or max(units) > MAX_ORDER_UNITS):
        raise ValueError(f"Units of a line must be 1 to {MAX_ORDER_UNITS}, not {min(units)} or {max(units)}.")


def distinct_lines(quantities: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Units by SKU of one order, repeated SKUs added up; what is added up is checked as by `check_order_units`."""
    units = dict(quantities)
    if len(units) == len(quantities):
        return units
    check_order_units([qty for _, qty in quantities])
    units = added_up(quantities)
    check_order_units(list(units.values()))
    return units


def check_limit(limit: int) -> None:
    """Raise `ValueError` unless 1 to MAX_BATCH."""
    if not 1 <= limit <= MAX_BATCH:
        raise ValueError(f"limit={limit} must be 1 to {MAX_BATCH}.")


def check_promotion(promotion: Promotion) -> tuple[tuple[str, int], ...]:
    """The quota with repeated SKUs added up; raises `ValueError` for one that is empty, too long or not positive."""
    quota = added_up(promotion.quota)
    if not quota or any(units < 1 for units in quota.values()):
        raise ValueError(f"Promotion {promotion.promotion_id} needs a quota of at least one unit of each of its SKUs.")
    check_count(len(quota), "SKUs")
    return tuple(quota.items())


def check_move(source: str, target: str, qty: int) -> None:
    """Raise `ValueError` for a move of nothing, or from a pool to itself."""
    if qty < 1:
        raise ValueError(f"qty={qty} must be at least 1; swap source and target to move back.")
    if source == target:
        raise ValueError(f"Source and target are both {source!r}.")
    promotion_of(source)
    promotion_of(target)


def check_retake(pools: Sequence[str], quantities: Sequence[tuple[str, int]]) -> None:
    """Raise `ValueError` unless there are one or two pools, the second main, and units that an order can have."""
    if not 1 <= len(pools) <= 2 or (len(pools) == 2 and pools[1] != MAIN):
        raise ValueError(f"pools={list(pools)} must be the order's own pool and, if given, {MAIN!r}.")
    if not quantities:
        raise ValueError("A retake without quantities asks for nothing; give it at least one.")
    check_count(len(quantities), "lines")
    check_order_units([units for _, units in quantities])


def check_restocks(restocks: Sequence[Restock]) -> None:
    """Raise `ValueError` for too many, for ids of another length, for no pool's name and for units of no order."""
    check_count(len(restocks), "restocks")
    _check_lengths([one.restock_id for one in restocks], ORDER_ID_BYTES, "restock id")
    for one in restocks:
        promotion_of(one.pool)
        if not one.quantities:
            raise ValueError("A restock without quantities puts nothing back; give it at least one.")
        check_order_units([units for _, units in one.quantities])


def fenced(carried: int | None, asked: int, why: str = "") -> Fenced:
    """The error for a stock that is not as asked for: another epoch, or `why` (restarted, rebuilding, foreign)."""
    if why == "foreign":
        return Fenced(
            "The stock is that of another installation: its ledger is not this one. Nothing was changed; look at "
            "FLOODWAY_REDIS_URL and FLOODWAY_POSTGRES_DSN. If that stock may go, `floodway stock rebuild --take-over`."
        )
    if why == "rebuilding":
        return Fenced(
            f"The stock is not being rebuilt under epoch {asked} any more: it was restarted, or somebody else "
            "began anew. Nothing was changed; rebuild the stock from the ledger under a new epoch."
        )
    if why == "restarted":
        return Fenced(
            f"The stock's server was restarted or promoted since epoch {asked} began: it may have lost what it "
            f"answered last. Nothing was changed; {REMEDY}"
        )
    if carried is None:
        return Fenced(
            f"The stock carries no epoch, the ledger issued {asked}: it came back empty or half, or is being rebuilt. "
            f"Nothing was changed; {REMEDY}"
        )
    if carried > asked:
        return Fenced(
            f"The stock carries epoch {carried}, newer than {asked} which this process goes by. "
            "Nothing was changed; read the ledger's epoch anew and go on under that."
        )
    return Fenced(
        f"The stock carries epoch {carried}, older than {asked} which the ledger issued. Nothing was changed; {REMEDY}"
    )


def less_than_nothing(sku: str, free: int, change: int) -> Refused:
    """The error for taking off more than is free, or adding more than can be counted."""
    if change < 0:
        return Refused(f"{sku} has {free} free in main, {-change} cannot be taken off; nothing was changed. Take less.")
    return Refused(f"{sku} has {free} free in main, {change} more cannot be counted exactly; nothing was changed.")


def unknown_promotion(promotion_id: str) -> UnknownThing:
    """The error for a promotion that was never opened."""
    return UnknownThing(f"The stock knows no promotion {promotion_id}; open it first, or check its name.")


def unknown_pool(sku: str, pool: str) -> UnknownThing:
    """The error for a SKU that is not in a pool."""
    return UnknownThing(f"{sku} is not in pool {pool}; receive it first, or open a promotion whose quota has it.")


def closed(promotion_id: str) -> Refused:
    """The error for opening or filling a closed promotion."""
    return Refused(f"Promotion {promotion_id} is closed for good; open a new one under another name.")


def other_terms(promotion_id: str) -> Refused:
    """The error for opening an open promotion under other terms."""
    return Refused(
        f"Promotion {promotion_id} is open under other terms; nothing was changed. Close it, then open a new one."
    )


def _check_lengths(values: Sequence[bytes], size: int, what: str) -> None:
    if len(b"".join(values)) != size * len(values) or any(len(value) != size for value in values):
        raise ValueError(f"Each {what} must be {size} bytes.")
