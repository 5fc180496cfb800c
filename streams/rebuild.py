"""The stock, rebuilt from the ledger: after a restart of Redis, or because somebody asked for it.

Redis is a cache of the ledger that happens to decide. A new epoch is issued first; from there the ledger stands still,
for what the old stock did can no longer be written, and nobody acts under the new epoch until the stock carries it.
Then the stock is emptied, refilled from one snapshot, and given the epoch. Whatever goes wrong on the way leaves it
without one, and the next rebuild begins anew under another.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from time import monotonic
from typing import NamedTuple

import msgspec

from streams.adoption import adopt_stock
from streams.agreement import agreed_epoch, compare
from streams.clock import Clock
from streams.core.books import Balance, PromotionRecord, PromotionState
from streams.core.memory import KeptHold, Page
from streams.core.stock import MAIN, End, Pool, Promotion, promo_pool
from streams.core.transfers import left_behind, opening, sweep
from streams.errors import Fenced
from streams.instants import to_datetime
from streams.stores.ledger import Ledger, Snapshot
from streams.stores.stock import Stock

CLOCKS_APART_MS = 1_000
"""How far the clock of the keeper that expired a hold may have been ahead of the rebuilder's."""

PAUSE_FIRST_S, PAUSE_LONGEST_S = 0.1, 2.0
"""Between looks at a rebuild that another process is at."""

logger = logging.getLogger(__name__)


class _Sweep(NamedTuple):
    """A promotion that is closed, and by SKU what is to go to main of what the books have free of it."""

    promotion: Promotion
    units: list[tuple[str, int]]


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild has put into the stock, by what the ledger calls it, and how long it took."""

    epoch: int
    reason: str
    seconds: float
    counts: dict[str, int]

    def __str__(self) -> str:
        counted = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        return f"stock rebuilt under epoch {self.epoch} ({self.reason}) in {self.seconds:.2f} s: {counted}"


async def ensure_stock(
    ledger: Ledger, stock: Stock, clock: Clock, *, retention_s: float, reason: str, may_rebuild: bool = True
) -> Rebuilt | None:
    """Return when the stock is one that can be asked; rebuild it if it is not, unless another process does.

    A stock that has lost nothing while the ledger failed over is taken over as it is. None when nothing was rebuilt
    here. Raises `Fenced` when it must not be touched, being another installation's or newer than the ledger, or to be
    rebuilt by people, and when it was lost again on the way; `Unavailable` when a store does not answer.
    """
    pause_s = PAUSE_FIRST_S
    while await agreed_epoch(ledger, stock) is None:
        async with ledger.rebuilding() as mine:
            if mine and await agreed_epoch(ledger, stock) is None:
                if await adopt_stock(ledger, stock) is not None:
                    return None
                if not may_rebuild:
                    raise (await compare(ledger, stock)).disagreement()
                done = await _rebuild(ledger, stock, clock, retention_s=retention_s, reason=reason, take_over=False)
                logger.log(logging.WARNING if done.epoch > 1 else logging.INFO, "%s", done)
                return done
        if not mine:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_LONGEST_S)
    return None


async def rebuild_stock(
    ledger: Ledger, stock: Stock, clock: Clock, *, retention_s: float, reason: str, take_over: bool = False
) -> Rebuilt:
    """Rebuild the stock whatever it carries; waits for a rebuild that another process is at. Raises as `ensure_stock`.

    With `take_over` also one that is another installation's, or newer than the ledger.
    """
    pause_s = PAUSE_FIRST_S
    while True:
        async with ledger.rebuilding() as mine:
            if mine:
                return await _rebuild(ledger, stock, clock, retention_s=retention_s, reason=reason, take_over=take_over)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_LONGEST_S)


async def _rebuild(
    ledger: Ledger, stock: Stock, clock: Clock, *, retention_s: float, reason: str, take_over: bool
) -> Rebuilt:
    began = monotonic()
    if not take_over:
        await _check_ours(ledger, stock)
    epoch = await ledger.issue_epoch(reason)
    installation = await ledger.installation()
    assert installation is not None, "an epoch was issued"
    await stock.begin_rebuild(epoch, installation, take_over=take_over)
    await _book_promotions(ledger, clock, epoch)
    now_ms = clock.now_ms()
    counts: dict[str, int] = {}
    sweeps: dict[str, _Sweep] = {}
    async with ledger.snapshot() as books:
        async for page in _pages(books, now_ms, now_ms - int(retention_s * 1000), sweeps):
            await stock.refill(epoch, page)
            for name in page.__struct_fields__:
                counts[name] = counts.get(name, 0) + len(getattr(page, name))
    for promotion, units in sweeps.values():
        if units:
            swept = left_behind(promotion, units, epoch, to_datetime(now_ms))
            await ledger.save_promotion(PromotionRecord(promotion, PromotionState.CLOSED), swept, epoch=epoch)
    await stock.install_epoch(epoch, refilled=True)
    return Rebuilt(epoch, reason, round(monotonic() - began, 3), counts)


async def _book_promotions(ledger: Ledger, clock: Clock, epoch: int) -> None:
    """Book what the old stock had done with promotions and orders have gone by already, though nobody had booked it.

    One that was opened and drawn from: else its units would be in main, to be sold there too. One that was to close:
    what was swept may have been sold from main, and must not be in its pool again.
    """
    at = to_datetime(clock.now_ms())
    half_way = (PromotionState.OPENING, PromotionState.FAILED, PromotionState.CLOSING)
    for promotion, state in await ledger.promotions(*half_way):
        pool = promo_pool(promotion.promotion_id)
        skus = [sku for sku, _ in promotion.quota]
        free = {balance.sku: balance.free async for balance in ledger.balances(skus) if balance.pool == pool}
        if state is PromotionState.CLOSING:
            swept = sweep(promotion, [(sku, free.get(sku, 0)) for sku in skus], at)
            await ledger.save_promotion(PromotionRecord(promotion, PromotionState.CLOSED), swept, epoch=epoch)
        elif free:
            opened = PromotionRecord(promotion, PromotionState.OPEN)
            await ledger.save_promotion(opened, opening(promotion, at), epoch=epoch)


async def _check_ours(ledger: Ledger, stock: Stock) -> None:
    """Raise `Fenced` for a stock that a rebuild must not empty; before an epoch is issued, which would end the old one.

    `begin_rebuild` looks at the same again, in one go with the emptying.
    """
    found = await compare(ledger, stock)
    if found.is_foreign:
        raise found.disagreement()
    issued, carried = found.issued, found.carried
    newest = max(carried.epoch or 0, carried.rebuilding or 0)
    if newest > (issued or 0) and not await ledger.failed_over_since(newest):
        raise Fenced(
            f"The stock carries epoch {newest}, the ledger's newest is {issued or 'none'}: the ledger is an older copy "
            "or not this stock's. Nothing was changed; look at FLOODWAY_POSTGRES_DSN. If the ledger is right, "
            "`floodway stock rebuild --take-over`."
        )


async def _pages(books: Snapshot, now_ms: int, since_ms: int, sweeps: dict[str, _Sweep]) -> AsyncIterator[Page]:
    """All that the stock must remember, in the order in which it takes it. `sweeps` is filled in by pool."""
    for kept in await books.promotions():
        if kept.swept is not None:
            sweeps[promo_pool(kept.promotion.promotion_id)] = _Sweep(kept.promotion, [])
        yield Page(promotions=(kept,))
    async for pools in _swept(books.balances(), sweeps):
        yield Page(pools=pools)
    async for bought in books.bought():
        yield Page(bought=bought)
    async for holds in books.holds():
        yield Page(holds=[_expired_if_due(hold, now_ms) for hold in holds])
    async for decisions in books.decisions(since_ms):
        yield Page(decisions=decisions)
    async for ends in books.ends(since_ms):
        yield Page(ends=ends)
    async for refs in books.refs():
        yield Page(refs=refs)


async def _swept(balances: AsyncIterator[list[Balance]], sweeps: dict[str, _Sweep]) -> AsyncIterator[list[Pool]]:
    """The pools, with all that is free of closed promotions in main; it is noted in `sweeps`.

    The old stock swept what was free there. What it had taken or given back before that, and nobody had booked, is
    missing from or left over in the books, and comes anew where the promotion has closed: given back once more, units
    go to main, which had them by the sweep already. So main gives them up first, though it may come to owe some.
    """
    main: Pool | None = None  # of the SKU at hand, whose other pools follow
    async for page in balances:
        pools = []
        for balance in page:
            pool = Pool(*balance)
            if pool.pool == MAIN:
                pools += [main] if main is not None else []
                main = pool
            elif pool.free and pool.pool in sweeps:
                assert main is not None, f"{pool} came from no main"
                assert main.sku == pool.sku, f"{pool} came from no main"
                sweeps[pool.pool].units.append((pool.sku, pool.free))
                main = main._replace(free=main.free + pool.free)
                pools.append(pool._replace(free=0))
            else:
                pools.append(pool)
        yield pools
    if main is not None:
        yield [main]


def _expired_if_due(hold: KeptHold, now_ms: int) -> KeptHold:
    """The old stock may have expired it and sold its units again: alive, a payment would sell them twice."""
    if hold.ended is None and hold.due_ms < now_ms + CLOCKS_APART_MS:
        return hold._replace(ended=End.EXPIRED)
    return hold
