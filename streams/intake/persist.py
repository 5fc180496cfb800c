"""Stage three: decisions become durable, one transaction a batch; what the ledger knew before wins."""

from streams.clock import Clock
from streams.core.books import StoredDecision
from streams.core.decide import answer, booking, first_answer
from streams.core.identity import SubmissionKey
from streams.guard import StockGuard
from streams.intake.batch import Batch
from streams.retry import until_available
from streams.stores.ledger import Ledger
from streams.stores.stock import Stock


async def persist(
    batch: Batch, ledger: Ledger, stock: Stock, guard: StockGuard, clock: Clock, *, max_delay_s: float
) -> None:
    """Fill in the answers, each durable. Holds taken for what the ledger had decided before are given back."""
    if not batch.intents:
        return
    stored = await _known(batch, ledger, max_delay_s)
    owners = _owners(batch, stored)
    bookings = [booking(batch.intents[i], batch.verdicts[i]) for i in owners.values()]
    persisted = await until_available("persist", lambda: ledger.persist(bookings), max_delay_s=max_delay_s)
    stored.update(persisted.stored)
    _answer(batch, owners, stored, token=persisted.token, now_ms=clock.now_ms())
    if batch.give_back:
        await _give_back(batch.give_back, stock, guard)
    if batch.conflicts:
        await until_available("conflicts", lambda: ledger.record_conflicts(batch.conflicts), max_delay_s=max_delay_s)


async def _known(batch: Batch, ledger: Ledger, max_delay_s: float) -> dict[SubmissionKey, StoredDecision]:
    """What the ledger says of keys that Redis remembers. A verdict that is new needs no look-up: COPY tells."""
    replays = {i.submission_key for i, v in zip(batch.intents, batch.verdicts, strict=True) if v.replay}
    if not replays:
        return {}
    keys = replays.difference(
        i.submission_key for i, v in zip(batch.intents, batch.verdicts, strict=True) if not v.replay
    )
    if not keys:
        return {}
    return await until_available("lookup", lambda: ledger.lookup(list(keys)), max_delay_s=max_delay_s)


def _owners(batch: Batch, stored: dict[SubmissionKey, StoredDecision]) -> dict[SubmissionKey, int]:
    """Which intent's verdict is to be written for each key: the new ones, and remembered ones that were never written.

    The latter is what a worker leaves that died between reserve and persist.
    """
    owners: dict[SubmissionKey, int] = {}
    for i, (intent, verdict) in enumerate(zip(batch.intents, batch.verdicts, strict=True)):
        key = intent.submission_key
        if not verdict.replay or (not verdict.conflict and key not in stored and key not in owners):
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


async def _give_back(surplus: list[bytes], stock: Stock, guard: StockGuard) -> None:
    await guard.call("give back", lambda epoch: stock.release(epoch, surplus))
    # Had its time been up meanwhile, the keeper would wait for ever to see this hold in the ledger.
    await guard.call("give back", lambda epoch: stock.settle(epoch, surplus))
