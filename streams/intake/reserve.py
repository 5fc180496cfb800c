"""Stage two: one script call decides the whole batch, and remembers what it decided."""

from collections.abc import Awaitable, Callable

from streams.clock import Clock
from streams.core.decide import remembered
from streams.core.stock import Verdict
from streams.guard import StockGuard
from streams.intake.batch import Batch
from streams.stores.stock import Stock
from streams.timing import timed

Recall = Callable[[Batch], Awaitable[None]]
"""Fills in what the ledger has decided long ago."""


@timed("reserve")
async def reserve(
    batch: Batch,
    stock: Stock,
    guard: StockGuard,
    clock: Clock,
    *,
    hold_ttl_s: float,
    ready: Callable[[int], Awaitable[None]] | None = None,
    recall: Recall | None = None,
) -> None:
    """Fill in the verdicts. A second try meets the first one's memory and gets the same verdicts.

    `ready` is awaited with the epoch before the stock is asked under it; `recall` see streams/intake/recall.py.
    """
    if not batch.intents:
        return

    async def call(epoch: int) -> None:
        if ready is not None:
            await ready(epoch)
        await reserve_under(epoch, batch, stock, clock, hold_ttl_s=hold_ttl_s, recall=recall)

    await guard.call("reserve", call)


async def reserve_under(
    epoch: int, batch: Batch, stock: Stock, clock: Clock, *, hold_ttl_s: float, recall: Recall | None = None
) -> None:
    """Fill in the verdicts of the stock of this epoch; for what is decided in the ledger, those of the ledger."""
    if recall is not None:  # each time anew: it may have taken until now to get here
        await recall(batch)
    decided = batch.decided
    asked = [intent for intent in batch.intents if intent.submission_key not in decided] if decided else batch.intents
    now_ms = clock.now_ms()
    held_until_ms = now_ms + int(hold_ttl_s * 1000)
    verdicts: list[Verdict] = []
    if asked:
        reservations = [intent.reservation for intent in asked]
        verdicts = await stock.reserve(epoch, reservations, now_ms=now_ms, held_until_ms=held_until_ms)
        assert len(verdicts) == len(asked)
    if decided:
        new = iter(verdicts)
        verdicts = [
            next(new) if (stored := decided.get(intent.submission_key)) is None else remembered(intent, stored)
            for intent in batch.intents
        ]
    batch.verdicts, batch.epoch = verdicts, epoch
