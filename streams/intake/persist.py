"""Stage three: decisions become durable, one transaction a batch; what the ledger knew before wins."""

from streams.clock import Clock
from streams.core.books import StoredDecision
from streams.core.decide import answer, booking, first_answer
from streams.core.identity import SubmissionKey
from streams.core.stock import End
from streams.core.transfers import given_back_late
from streams.guard import StockGuard
from streams.instants import to_datetime
from streams.intake.batch import Batch
from streams.intake.reserve import Recall, reserve_under
from streams.retry import until_available
from streams.stores.ledger import Ledger
from streams.stores.stock import Stock
from streams.timing import timed

_TO_MAIN = (End.RELEASED_TO_MAIN, End.EXPIRED_TO_MAIN)


@timed("persist")
async def persist(
    batch: Batch,
    ledger: Ledger,
    stock: Stock,
    guard: StockGuard,
    clock: Clock,
    *,
    hold_ttl_s: float,
    max_delay_s: float,
    recall: Recall | None = None,
) -> None:
    """Fill in the answers, each durable. Holds taken for what the ledger had decided before are given back.

    Verdicts of a stock that has been rebuilt since can no longer be written: the new one is asked again first.
    """
    if not batch.intents:
        return

    async def call(epoch: int) -> tuple[dict[SubmissionKey, int], dict[SubmissionKey, StoredDecision], str]:
        if batch.epoch != epoch:
            await reserve_under(epoch, batch, stock, clock, hold_ttl_s=hold_ttl_s, recall=recall)
        stored = await _known(batch, ledger)
        owners = _owners(batch, stored)
        bookings = [booking(batch.intents[i], batch.verdicts[i]) for i in owners.values()]
        persisted = await ledger.persist(bookings, epoch)
        stored.update(persisted.stored)
        return owners, stored, persisted.token

    owners, stored, token = await guard.call("persist", call)
    _answer(batch, owners, stored, token=token, now_ms=clock.now_ms())
    if batch.give_back:
        await _give_back(batch, ledger, stock, guard, clock)
    if batch.conflicts:
        await until_available("conflicts", lambda: ledger.record_conflicts(batch.conflicts), max_delay_s=max_delay_s)


async def _known(batch: Batch, ledger: Ledger) -> dict[SubmissionKey, StoredDecision]:
    """What the ledger says of keys that Redis remembers. A verdict that is new needs no look-up: COPY tells."""
    replays = {i.submission_key for i, v in zip(batch.intents, batch.verdicts, strict=True) if v.replay}
    if not replays:
        return {}
    replays.difference_update(batch.decided)
    keys = replays.difference(
        i.submission_key for i, v in zip(batch.intents, batch.verdicts, strict=True) if not v.replay
    )
    found = await ledger.lookup(list(keys)) if keys else {}
    return found | batch.decided


def _owners(batch: Batch, stored: dict[SubmissionKey, StoredDecision]) -> dict[SubmissionKey, int]:
    """Which intent's verdict is to be written for each key: the new ones, and remembered ones that were never written.

    The latter is what a worker leaves that died between reserve and persist.
    """
    owners: dict[SubmissionKey, int] = {}
    for i, (intent, verdict) in enumerate(zip(batch.intents, batch.verdicts, strict=True)):
        key = intent.submission_key
        if key not in stored and (not verdict.replay or (not verdict.conflict and key not in owners)):
            owners[key] = i
    return owners


def _answer(
    batch: Batch,
    owners: dict[SubmissionKey, int],
    stored: dict[SubmissionKey, StoredDecision],
    *,
    token: str,
    now_ms: int,
) -> None:
    for i, (intent, verdict) in enumerate(zip(batch.intents, batch.verdicts, strict=True)):
        key = intent.submission_key
        owner = owners.get(key, i)
        before = stored.get(key)
        if owner == i and before is None and not verdict.conflict:
            batch.decisions.append(first_answer(intent, verdict, token=token))
            continue
        repeats = None if owner == i else batch.intents[owner]
        found = answer(intent, verdict, before, repeats=repeats, token=token, now_ms=now_ms)
        batch.decisions.append(found.decision)
        if found.give_back is not None:
            batch.give_back.append(found.give_back)
        if found.conflict is not None:
            batch.conflicts.append(found.conflict)


async def _give_back(batch: Batch, ledger: Ledger, stock: Stock, guard: StockGuard, clock: Clock) -> None:
    """Release holds that are not the ledger's, in the stock that took them, whatever epoch that is under by now."""

    async def call(epoch: int) -> None:
        # A stock that was rebuilt has none of them: what it holds under these ids is what the ledger knows, and stays.
        # One that was taken over after a failover has them still, and nobody else would give them back in time.
        if epoch != batch.epoch and not await ledger.failed_over_since(batch.epoch):
            return
        ends = await stock.release(epoch, batch.give_back)
        swept = {one for one, end in zip(batch.give_back, ends, strict=True) if end in _TO_MAIN}
        if swept:
            await _book_swept(batch, swept, epoch, ledger, clock)
        # Had its time been up meanwhile, the keeper would wait for ever to see this hold in the ledger.
        await stock.settle(epoch, batch.give_back)

    await guard.call("give back", call)


async def _book_swept(batch: Batch, order_ids: set[bytes], epoch: int, ledger: Ledger, clock: Clock) -> None:
    """Their promotion closed while they were held, so their units were not swept with the rest, but are in main now."""
    at = to_datetime(clock.now_ms())
    records = {record.promotion.promotion_id: record for record in await ledger.promotions()}
    for intent, verdict in zip(batch.intents, batch.verdicts, strict=True):
        record = records.get(intent.reservation.promotion_id or "")
        if verdict.order_id in order_ids and record is not None:
            promotion_id, held_until_ms = record.promotion.promotion_id, verdict.held_until_ms
            moved = given_back_late(promotion_id, verdict.order_id, held_until_ms, intent.quantities, at)
            await ledger.save_promotion(record, moved, epoch=epoch)
