"""`floodway promo`: promotions."""

from collections import defaultdict
from datetime import UTC, datetime

from infra.cli.context import connected, out, parse_duration, print_json, print_table
from streams.core.books import PromotionState
from streams.core.stock import Pool, Promotion, promo_pool
from streams.errors import Refused, UnknownThing
from streams.instants import to_datetime, to_ms
from streams.parts import Parts
from streams.promotions import close_promotion, open_promotion

MAX_DIGITS = 15
"""Of a number of units: how many are too many is for the promotion to say, this keeps them numbers."""


async def open_(
    promotion_id: str,
    quota: list[str],
    *,
    opens: datetime | None = None,
    closes: datetime | None = None,
    lasts: str = "24h",
    buyer_limit: int = 0,
    json: bool = False,
) -> None:
    """Set units aside for a promotion: `floodway promo open 11-11 SKU-1=500 SKU-2=100 --buyer-limit 2`.

    Orders that name it draw from these units only, all others from main only. All quotas are set aside, or none.

    Parameters
    ----------
    promotion_id
        Its name, which submissions give as `promotion_id`.
    quota
        SKU=UNITS, one or more.
    opens
        When it opens, with an offset from UTC; now by default.
    closes
        When it closes and the rest goes back to main; after `lasts` by default.
    lasts
        How long it lasts, as 90s, 15m, 2h or 3d.
    buyer_limit
        Units that one buyer may take, over all orders; 0 is no limit.
    json
        Print one JSON object.

    """
    start = _aware(opens, "--opens") or datetime.now(UTC)
    try:
        end = _aware(closes, "--closes") or start + parse_duration(lasts)
    except ValueError as error:
        raise Refused(f"--lasts: {error}.") from None
    except OverflowError:
        raise Refused(f"--lasts {lasts} from {start} is past the last day of any calendar; give less.") from None
    window = _ms(start, "--opens"), _ms(end, "--closes")
    promotion = Promotion(promotion_id, *window, buyer_limit, tuple(map(sku_and_units, quota)))
    async with connected() as parts:
        if opens is None and closes is None:
            promotion = await _as_before(parts, promotion)
        await open_promotion(parts, promotion)
    start, end = to_datetime(promotion.opens_at_ms), to_datetime(promotion.closes_at_ms)
    units = sum(qty for _, qty in promotion.quota)
    if json:
        print_json({"promotion_id": promotion_id, "opens_at": start, "closes_at": end, "units": units})
    else:
        out.print(f"Promotion {promotion_id}: {units:,} units of {len(promotion.quota)} SKUs set aside until {end}.")


async def close(promotion_id: str, *, json: bool = False) -> None:
    """Close a promotion now and sweep what is free back to main. Units still held follow when they come free."""
    async with connected() as parts:
        swept = await close_promotion(parts, promotion_id)
    if json:
        print_json({"promotion_id": promotion_id, "swept": dict(swept)})
    else:
        out.print(f"Promotion {promotion_id} is closed; {sum(qty for _, qty in swept):,} units went back to main.")


async def show(promotion_id: str | None = None, *, json: bool = False) -> None:
    """Show promotions, or one with its pool by SKU."""
    async with connected() as parts:
        records = await parts.ledger.promotions()
        if promotion_id is not None:
            records = [r for r in records if r.promotion.promotion_id == promotion_id]
            if not records:
                raise UnknownThing(f"There is no promotion {promotion_id}; `floodway promo show` lists them.")
        skus = sorted({sku for r in records for sku, _ in r.promotion.quota})
        by_pool: dict[str, list[Pool]] = defaultdict(list)
        if skus:
            async for pool in parts.stock.pools(skus):
                by_pool[pool.pool].append(pool)
    rows = []
    for promotion, state in records:
        pools = by_pool[promo_pool(promotion.promotion_id)]
        if json:
            print_json({**promotion._asdict(), "state": state.value, "pools": [p._asdict() for p in pools]})
            continue
        units = [sum(p.free for p in pools), sum(p.held for p in pools), sum(p.sold for p in pools)]
        opens, closes = (f"{to_datetime(ms):%m-%d %H:%M} UTC" for ms in (promotion.opens_at_ms, promotion.closes_at_ms))
        rows.append((promotion.promotion_id, state.value, opens, closes, promotion.buyer_limit, *units))
    if not json:
        print_table(["promotion", "state", "opens", "closes", "buyer limit", "free", "held", "sold"], rows)


async def _as_before(parts: Parts, promotion: Promotion) -> Promotion:
    """The same command again means the same promotion: it keeps the window that "now" meant the first time."""
    for known, state in await parts.ledger.promotions():
        same = promotion._replace(opens_at_ms=known.opens_at_ms, closes_at_ms=known.closes_at_ms)
        if state is not PromotionState.FAILED and known == same:
            return known
    return promotion


def sku_and_units(text: str) -> tuple[str, int]:
    """`SKU=UNITS` as both; raises `Refused`."""
    sku, equals, units = text.partition("=")
    if not (sku and equals and units.isdecimal() and len(units) <= MAX_DIGITS):
        raise Refused(f"{text!r} are no units; write SKU=UNITS.")
    return sku, int(units)


def _ms(moment: datetime, option: str) -> int:
    try:
        return to_ms(moment.astimezone(UTC))
    except OverflowError:  # in UTC it lies before the year 1 or after the year 9999
        raise Refused(f"{option} {moment} is past the last day of any calendar; give another time.") from None


def _aware(moment: datetime | None, option: str) -> datetime | None:
    if moment is not None and moment.utcoffset() is None:
        raise Refused(f"{option} {moment} has no zone; append the offset from UTC, as in {moment.isoformat()}+08:00.")
    return moment
