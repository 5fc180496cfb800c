"""Stage two: one script call decides the whole batch, and remembers what it decided."""

from streams.clock import Clock
from streams.guard import StockGuard
from streams.intake.batch import Batch
from streams.stores.stock import Stock


async def reserve(batch: Batch, stock: Stock, guard: StockGuard, clock: Clock, *, hold_ttl_s: float) -> None:
    """Fill in the verdicts. A second try meets the first one's memory and gets the same verdicts."""
    if not batch.intents:
        return
    reservations = [intent.reservation for intent in batch.intents]
    hold_ttl_ms = int(hold_ttl_s * 1000)

    async def call(epoch: int) -> None:
        now_ms = clock.now_ms()
        batch.verdicts = await stock.reserve(epoch, reservations, now_ms=now_ms, held_until_ms=now_ms + hold_ttl_ms)

    await guard.call("reserve", call)
    assert len(batch.verdicts) == len(batch.intents)
