"""What a promotion's opening and closing move between its pool and main. Pure."""

from collections.abc import Iterable
from datetime import datetime

from streams.core.books import Action, Movement
from streams.core.stock import MAIN, Promotion, promo_pool


def opening(promotion: Promotion, at: datetime) -> list[Movement]:
    """The quota, from main into the promotion's pool."""
    return _transfers(promotion, Action.OPEN, promotion.quota, MAIN, promo_pool(promotion.promotion_id), at)


def sweep(promotion: Promotion, swept: Iterable[tuple[str, int]], at: datetime) -> list[Movement]:
    """What was left free, back to main."""
    return _transfers(promotion, Action.SWEEP, swept, promo_pool(promotion.promotion_id), MAIN, at)


def left_behind(promotion: Promotion, units: Iterable[tuple[str, int]], epoch: int, at: datetime) -> list[Movement]:
    """What the books still have free of a closed promotion when a stock is rebuilt under `epoch`; may be below zero."""
    pool = promo_pool(promotion.promotion_id)
    return _moves(f"{pool}|{epoch}", Action.SWEEP, units, pool, MAIN, at)


def given_back_late(
    promotion_id: str, order_id: bytes, held_until_ms: int, units: Iterable[tuple[str, int]], at: datetime
) -> list[Movement]:
    """What a hold that no books know kept from the sweep, and gave back to main when the promotion had closed."""
    pool = promo_pool(promotion_id)
    return _moves(f"{pool}|{order_id.hex()}|{held_until_ms}", Action.SWEEP, units, pool, MAIN, at)


def _transfers(
    promotion: Promotion, action: Action, quantities: Iterable[tuple[str, int]], source: str, target: str, at: datetime
) -> list[Movement]:
    return _moves(promo_pool(promotion.promotion_id), action, quantities, source, target, at)


def _moves(
    ref: str, action: Action, quantities: Iterable[tuple[str, int]], source: str, target: str, at: datetime
) -> list[Movement]:
    return [
        Movement(ref, action, sku, where, sign * qty, 0, 0, at)
        for sku, qty in quantities
        if qty
        for where, sign in ((source, -1), (target, +1))
    ]
