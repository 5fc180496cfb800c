"""Stage two: one script call decides the whole batch, and remembers what it decided."""

from collections.abc import Awaitable, Callable

from streams.clock import Clock
from streams.guard import StockGuard
from streams.intake.batch import Batch
from streams.stores.stock import Stock


async def reserve(
    batch: Batch,
    stock: Stock,
    guard: StockGuard,
    clock: Clock,
    *,
    hold_ttl_s: float,
    ready: Callable[[int], Awaitable[None]] | None = None,
) -> None:
    """Fill in the verdicts. A second try meets the first one's memory and gets the same verdicts.

    `ready` is awaited with the epoch before the stock is asked under it.
    """
    if not batch.intents:
        return

    async def call(epoch: int) -> None:
        if ready is not None:
            await ready(epoch)
        await reserve_under(epoch, batch, stock, clock, hold_ttl_s=hold_ttl_s)

    await guard.call("reserve", call)


async def reserve_under(epoch: int, batch: Batch, stock: Stock, clock: Clock, *, hold_ttl_s: float) -> None:
    """Fill in the verdicts of the stock of this epoch."""
    reservations = [intent.reservation for intent in batch.intents]
    now_ms = clock.now_ms()
    held_until_ms = now_ms + int(hold_ttl_s * 1000)
    batch.verdicts = await stock.reserve(epoch, reservations, now_ms=now_ms, held_until_ms=held_until_ms)
    batch.epoch = epoch
    assert len(batch.verdicts) == len(batch.intents)
