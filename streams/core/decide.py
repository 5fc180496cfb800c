"""From what the stock and the ledger say to the one decision on a submission. Pure.

The stock decides, the ledger remembers. Where both remember and differ, the ledger wins: it outlives Redis' memory.
"""

from typing import NamedTuple
from uuid import UUID

from msgspec.structs import replace

from streams.core.books import Booking, Conflict, StoredDecision
from streams.core.intent import Intent
from streams.core.stock import Code, Verdict
from streams.instants import to_datetime, to_ms
from streams.messages import DecidedLine, Decision, Outcome, Reason
from streams.uuids import uuid_of

REASON_OF = {
    Code.ACCEPTED: None,
    Code.OUT_OF_STOCK: Reason.OUT_OF_STOCK,
    Code.UNKNOWN_SKU: Reason.UNKNOWN_SKU,
    Code.UNKNOWN_PROMOTION: Reason.UNKNOWN_PROMOTION,
    Code.PROMOTION_NOT_OPEN: Reason.PROMOTION_NOT_OPEN,
    Code.PROMOTION_CLOSED: Reason.PROMOTION_CLOSED,
    Code.NOT_IN_PROMOTION: Reason.NOT_IN_PROMOTION,
    Code.BUYER_LIMIT: Reason.BUYER_LIMIT,
}
assert REASON_OF.keys() == set(Code), "each refusal of the stock has a reason to announce"


CODE_OF = {reason: code for code, reason in REASON_OF.items()}


class Answer(NamedTuple):
    """What to announce for one submission.

    `give_back` is the id of a hold that must be released, because the ledger knew an earlier decision.
    """

    decision: Decision
    give_back: bytes | None = None
    conflict: Conflict | None = None


def remembered(intent: Intent, stored: StoredDecision) -> Verdict:
    """What the stock would say of a submission whose key it has not forgotten."""
    held_until_ms = 0 if stored.held_until is None else to_ms(stored.held_until)
    conflict = stored.fingerprint != intent.fingerprint
    decided_at_ms = to_ms(stored.decided_at)
    return Verdict(CODE_OF[stored.reason], True, conflict, stored.order_id.bytes, decided_at_ms, held_until_ms)


def booking(intent: Intent, verdict: Verdict) -> Booking:
    """The ledger's entry for a verdict: the submission in hand has the body that the verdict was made on."""
    code, _, _, _, decided_at_ms, held_until_ms = verdict
    return Booking(intent, _uuid_of(intent, verdict), REASON_OF[code], decided_at_ms, held_until_ms)


def answer(
    intent: Intent, verdict: Verdict, stored: StoredDecision | None, *, repeats: Intent | None, token: str, now_ms: int
) -> Answer:
    """The decision to announce.

    `stored` is what the ledger knew of this key before; None when it has just been written, or when the verdict is a
    conflict with a decision that is still on its way to the ledger. `repeats` is the intent of this very batch that
    answered the key first, if another one did.
    """
    # The same record read again is no repeat: its first reader may have died before announcing. Read again after a
    # rebalance, it may even stand twice in one batch.
    if repeats is not None and (repeats.partition, repeats.offset) == (intent.partition, intent.offset):
        repeats = None
    if stored is None:
        if verdict.conflict:
            return _conflict(intent, _uuid_of(intent, verdict), now_ms, token)
        first = first_answer(intent, verdict, token=token)
        return Answer(first if repeats is None else replace(first, trace_id=repeats.trace_id, replay=True))
    surplus = None
    if verdict.code is Code.ACCEPTED and not verdict.conflict and not _same_instance(verdict, stored):
        surplus = verdict.order_id
    if stored.fingerprint != intent.fingerprint:
        found = _conflict(intent, stored.order_id, now_ms, token)
        return found._replace(give_back=surplus)
    redelivered = (stored.partition, stored.offset) == (intent.partition, intent.offset)
    return Answer(_from_stored(intent, stored, replay=repeats is not None or not redelivered, token=token), surplus)


def _same_instance(verdict: Verdict, stored: StoredDecision) -> bool:
    """Whether both speak of one decision, not of two that were made on the same key at different times."""
    return verdict.order_id == stored.order_id.bytes and verdict.decided_at_ms == to_ms(stored.decided_at)


def first_answer(intent: Intent, verdict: Verdict, *, token: str) -> Decision:
    """The decision to announce for the first submission of its key, just written to the ledger. Most answers are."""
    channel, submission_id = intent.submission_key
    code, _, _, _, decided_at_ms, held_until_ms = verdict
    accepted = code is Code.ACCEPTED
    return Decision(  # by position: twice as fast as by name, and this is once an order
        _uuid_of(intent, verdict),
        submission_id,
        channel,
        Outcome.ACCEPTED if accepted else Outcome.REJECTED,
        to_datetime(decided_at_ms),
        intent.submitted_at,
        intent.trace_id,
        intent.currency,
        intent.total,
        REASON_OF[code],
        False,
        _lines(intent) if accepted else (),
        to_datetime(held_until_ms) if accepted else None,
        intent.reservation.promotion_id,
        token,
    )


def _from_stored(intent: Intent, stored: StoredDecision, *, replay: bool, token: str) -> Decision:
    channel, submission_id = intent.submission_key
    return Decision(
        order_id=stored.order_id,
        submission_id=submission_id,
        channel=channel,
        outcome=stored.outcome,
        decided_at=stored.decided_at,
        submitted_at=intent.submitted_at,
        trace_id=stored.trace_id or intent.trace_id,
        currency=intent.currency,
        total=intent.total,
        reason=stored.reason,
        replay=replay,
        lines=_lines(intent) if stored.outcome is Outcome.ACCEPTED else (),
        held_until=stored.held_until,
        promotion_id=intent.reservation.promotion_id,
        read_token=token,
    )


def _conflict(intent: Intent, order_id: UUID, now_ms: int, token: str) -> Answer:
    channel, submission_id = intent.submission_key
    decision = Decision(
        order_id=order_id,
        submission_id=submission_id,
        channel=channel,
        outcome=Outcome.REJECTED,
        decided_at=to_datetime(now_ms),
        submitted_at=intent.submitted_at,
        trace_id=intent.trace_id,
        currency=intent.currency,
        total=intent.total,
        reason=Reason.CONFLICTING_REPEAT,
        promotion_id=intent.reservation.promotion_id,
        read_token=token,
    )
    seen_at = to_datetime(now_ms)
    kept = Conflict(channel, submission_id, intent.fingerprint, intent.partition, intent.offset, seen_at)
    return Answer(decision, conflict=kept)


def _lines(intent: Intent) -> tuple[DecidedLine, ...]:
    pool, quantities = intent.pool, intent.reservation.quantities
    if len(quantities) == 1:
        return (DecidedLine(quantities[0][0], pool, quantities[0][1]),)
    return tuple([DecidedLine(sku, pool, qty) for sku, qty in quantities])


def _uuid_of(intent: Intent, verdict: Verdict) -> UUID:
    """The verdict's order id; the common case reuses the object that the intent made."""
    return intent.order_id if verdict.order_id == intent.reservation.order_id else uuid_of(verdict.order_id)
