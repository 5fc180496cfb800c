"""Promotions from opening to sweep.

What was asked for is written first, then done in the stock, then booked; whoever finds a promotion half-way carries
it on. Each step is idempotent, so a crash anywhere leaves nothing that the next look does not finish.
"""

import logging

from streams.core.books import PromotionRecord, PromotionState
from streams.core.names import MAX_UNITS, is_promotion_id
from streams.core.stock import Promotion
from streams.core.transfers import opening, sweep
from streams.errors import Fenced, Refused, UnknownThing
from streams.instants import to_datetime
from streams.parts import Parts
from streams.stores.stock import MAX_BATCH

logger = logging.getLogger(__name__)

MAX_BUYER_LIMIT = 1_000_000_000
"""Units that one buyer may take; more means the same as none."""

FAILED_WATCHED_MS = 86_400_000
"""For so long past its window a promotion that failed to open is looked at: no process sleeps that long."""


async def open_promotion(parts: Parts, promotion: Promotion) -> None:
    """Set the quota aside and open the promotion. Repeating the same is harmless.

    Raises `Refused` when the name is taken by another promotion, or main has too little of a SKU; then nothing moved.
    """
    _check(promotion)
    found = await _find(parts, promotion.promotion_id)
    if found is not None and (found.state is not PromotionState.FAILED) and found.promotion != promotion:
        raise Refused(
            f"Promotion {promotion.promotion_id} exists with other terms ({found.state.value}); choose another name."
        )
    if found is not None and found.state in {PromotionState.CLOSING, PromotionState.CLOSED}:
        raise Refused(f"Promotion {promotion.promotion_id} is {found.state.value}; choose another name.")
    if found is None or found.state is PromotionState.FAILED:
        await parts.ledger.save_promotion(PromotionRecord(promotion, PromotionState.OPENING))
    short = await _open(parts, promotion)
    if short:
        lacking = ", ".join(f"{sku} (short of {qty})" for sku, qty in short[:5])
        raise Refused(f"Main has too little for promotion {promotion.promotion_id}: {lacking}. Nothing was moved.")


async def close_promotion(parts: Parts, promotion_id: str) -> list[tuple[str, int]]:
    """Close a promotion and sweep its free units back to main; returns SKU and units swept. Repeatable."""
    found = await _find(parts, promotion_id)
    if found is None or found.state is PromotionState.FAILED:
        raise UnknownThing(f"There is no promotion {promotion_id}; `floodway promo show` lists them.")
    if found.state is PromotionState.OPENING and await _open(parts, found.promotion):
        # Nothing was set aside, so there is nothing to sweep; marked as closing it could never be finished.
        raise UnknownThing(f"Promotion {promotion_id} never opened, main has too little for it; nothing was moved.")
    if found.state is not PromotionState.CLOSED:
        await parts.ledger.save_promotion(PromotionRecord(found.promotion, PromotionState.CLOSING))
    return await _close(parts, found.promotion)


async def advance_promotions(parts: Parts) -> int:
    """Finish what was begun and close what has run out; returns how many promotions moved on.

    One that stock and ledger disagree about is told of and left; it must not hold up the others. Raises `Fenced`.
    """
    unfinished = await parts.ledger.promotions(
        PromotionState.OPENING, PromotionState.OPEN, PromotionState.CLOSING, PromotionState.FAILED
    )
    now_ms, moved = parts.clock.now_ms(), 0
    for record in unfinished:
        if record.state is PromotionState.OPEN and record.promotion.closes_at_ms > now_ms:
            continue
        if record.state is PromotionState.FAILED and not await _opened_after_all(parts, record.promotion, now_ms):
            continue
        try:
            await _advance(parts, record)
            moved += 1
        except (Refused, UnknownThing) as error:
            logger.error("promotion %s stays %s: %s", record.promotion.promotion_id, record.state.value, error)
    return moved


async def _opened_after_all(parts: Parts, promotion: Promotion, now_ms: int) -> bool:
    """Whether the stock has what the ledger calls failed.

    Two processes tried: the one was told that main has too little, then units came free and the other opened it, and
    died before it could say so.
    """
    if promotion.closes_at_ms + FAILED_WATCHED_MS < now_ms:
        return False
    return await parts.stock.promotion(promotion.promotion_id) is not None


async def _advance(parts: Parts, record: PromotionRecord) -> None:
    if record.state in {PromotionState.OPENING, PromotionState.FAILED}:
        await _open(parts, record.promotion)
    else:
        await close_promotion(parts, record.promotion.promotion_id)


async def _open(parts: Parts, promotion: Promotion) -> list[tuple[str, int]]:
    epoch = await _epoch(parts)
    short = await parts.stock.open_promotion(epoch, promotion)
    if short:
        await parts.ledger.save_promotion(PromotionRecord(promotion, PromotionState.FAILED), epoch=epoch)
        return short
    movements = opening(promotion, to_datetime(parts.clock.now_ms()))
    await parts.ledger.save_promotion(PromotionRecord(promotion, PromotionState.OPEN), movements, epoch=epoch)
    return []


async def _close(parts: Parts, promotion: Promotion) -> list[tuple[str, int]]:
    epoch = await _epoch(parts)
    swept = await parts.stock.close_promotion(epoch, promotion.promotion_id)
    movements = sweep(promotion, swept, to_datetime(parts.clock.now_ms()))
    await parts.ledger.save_promotion(PromotionRecord(promotion, PromotionState.CLOSED), movements, epoch=epoch)
    return swept


async def _find(parts: Parts, promotion_id: str) -> PromotionRecord | None:
    records = await parts.ledger.promotions()
    return next((r for r in records if r.promotion.promotion_id == promotion_id), None)


async def _epoch(parts: Parts) -> int:
    epoch = await parts.ledger.epoch()
    if epoch is None:
        raise Fenced("The ledger has issued no epoch yet; run `floodway init`.")
    return epoch


def _check(promotion: Promotion) -> None:
    if not is_promotion_id(promotion.promotion_id):
        raise Refused(f"{promotion.promotion_id[:80]!r} is no name that a submission could give; see the schema.")
    if promotion.opens_at_ms >= promotion.closes_at_ms:
        raise Refused(f"Promotion {promotion.promotion_id} would close before it opens; give a later --closes.")
    if not promotion.quota:
        raise Refused(f"Promotion {promotion.promotion_id} has no SKUs; give at least one --quota SKU=UNITS.")
    if len(promotion.quota) > MAX_BATCH:
        raise Refused(f"Promotion {promotion.promotion_id} has over {MAX_BATCH} SKUs; split it.")
    if len({sku for sku, _ in promotion.quota}) != len(promotion.quota):
        raise Refused(f"Promotion {promotion.promotion_id} names a SKU twice; give one quota a SKU.")
    if any(qty <= 0 for _, qty in promotion.quota) or promotion.buyer_limit < 0:
        raise Refused(f"Promotion {promotion.promotion_id} has a quota or limit below zero.")
    if any(qty > MAX_UNITS for _, qty in promotion.quota) or promotion.buyer_limit > MAX_BUYER_LIMIT:
        raise Refused(
            f"Promotion {promotion.promotion_id} has a quota over {MAX_UNITS:,} or a limit over {MAX_BUYER_LIMIT:,}; "
            "look at the numbers again, 0 is no limit."
        )
