"""Stage two: one script call decides the whole batch, and remembers what it decided."""

from collections.abc import Awaitable, Callable

from streams.clock import Clock
from streams.core.books import StoredDecision
from streams.core.decide import remembered
from streams.core.identity import SubmissionKey
from streams.core.intent import Intent
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
    """Fill in the verdicts of the stock of this epoch; for orders that are decided in the ledger, those of the ledger.

    A repeat that bears another time is asked of the stock all the same, for it may hold units for that: an earlier try
    took them, whose answer was lost or whose worker died. Only what it answers is given back.
    """
    if recall is not None:  # each time anew: it may have taken until now to get here
        await recall(batch)
    decided = batch.decided
    asked = [intent for intent in batch.intents if _ledgers(intent, decided) is None] if decided else batch.intents
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
            next(new) if (stored := _ledgers(intent, decided)) is None else remembered(intent, stored)
            for intent in batch.intents
        ]
    batch.verdicts, batch.epoch = verdicts, epoch


def _ledgers(intent: Intent, decided: dict[SubmissionKey, StoredDecision]) -> StoredDecision | None:
    """What the ledger has of this very order; None for a repeat, which would be another order."""
    stored = decided.get(intent.submission_key)
    return stored if stored is not None and stored.order_id == intent.order_id else None
