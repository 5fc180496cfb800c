"""From what stock and ledger say to the one decision: each case of `answer`."""

from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from builders import NOW, NOW_MS, intent_of, submission

from streams.core.books import StoredDecision
from streams.core.decide import REASON_OF, Answer, answer, booking
from streams.core.intent import Intent
from streams.core.stock import Code, Verdict
from streams.messages import DecidedLine, Outcome, Reason

HELD_MS = NOW_MS + 1_800_000
TOKEN = "0/1"
LATER_MS = NOW_MS + 90_000
SUBMISSION = submission(lines=(("TEA", 2, 450), ("CUP", 1, 990), ("TEA", 1, 450)))
INTENT = intent_of(SUBMISSION, partition=3, offset=7)
LINES = (DecidedLine("TEA", "main", 3), DecidedLine("CUP", "main", 1))


def verdict(
    intent: Intent = INTENT,
    code: Code = Code.ACCEPTED,
    *,
    replay: bool = False,
    conflict: bool = False,
    at_ms: int = NOW_MS,
    order_id: UUID | None = None,
) -> Verdict:
    """What the stock says of an intent."""
    held_ms = at_ms + 1_800_000 if code is Code.ACCEPTED else 0
    return Verdict(code, replay, conflict, (order_id or intent.order_id).bytes, at_ms, held_ms)


def stored(intent: Intent = INTENT, reason: Reason | None = None, *, offset: int = 7) -> StoredDecision:
    """What the ledger has of an intent decided at NOW, read first at an offset."""
    return StoredDecision(
        order_id=intent.order_id,
        fingerprint=intent.fingerprint,
        outcome=Outcome.REJECTED if reason else Outcome.ACCEPTED,
        reason=reason,
        decided_at=NOW,
        held_until=None if reason else NOW + timedelta(minutes=30),
        trace_id="trace of the first" if reason is None else None,
        partition=3,
        offset=offset,
    )


def decide(found: Verdict, known: StoredDecision | None = None, *, repeats: Intent | None = None) -> Answer:
    """The answer to INTENT."""
    return answer(INTENT, found, known, repeats=repeats, token=TOKEN, now_ms=LATER_MS)


def test_a_fresh_acceptance() -> None:
    """The decision says what is held, where and until when, and echoes the submission."""
    found = decide(verdict())
    assert (found.give_back, found.conflict) == (None, None)
    made = found.decision
    assert (made.outcome, made.reason, made.replay) == (Outcome.ACCEPTED, None, False)
    assert (made.order_id, made.submission_id, made.channel) == (INTENT.order_id, "s-1", "web")
    assert (made.lines, made.total, made.currency) == (LINES, 3 * 450 + 990, "EUR")
    assert (made.decided_at, made.held_until) == (NOW, NOW + timedelta(minutes=30))
    assert (made.submitted_at, made.trace_id, made.read_token) == (NOW, INTENT.trace_id, TOKEN)


@pytest.mark.parametrize("code", sorted(set(Code) - {Code.ACCEPTED}))
def test_a_fresh_rejection(code: Code) -> None:
    """Each refusal of the stock is announced with its own reason, and holds nothing."""
    found = decide(verdict(code=code))
    made = found.decision
    assert (made.outcome, made.reason, made.lines, made.held_until) == (Outcome.REJECTED, REASON_OF[code], (), None)
    assert (found.give_back, found.conflict, made.replay) == (None, None, False)
    assert made.reason is not None
    assert made.reason.value == code.name.lower()


def test_a_repeat_in_the_batch_is_a_replay() -> None:
    """The second of two in one batch gets the first one's decision again, marked so; there is nothing to give back."""
    before = msgspec.structs.replace(INTENT, trace_id="trace of the first", offset=6)
    found = decide(verdict(replay=True), repeats=before)
    first = decide(verdict())
    assert found.decision.replay
    assert found.decision.trace_id == "trace of the first"
    assert (found.decision.order_id, found.decision.decided_at) == (first.decision.order_id, first.decision.decided_at)
    assert found.give_back is None


def test_a_redelivered_record_is_no_replay() -> None:
    """The same record read again (partition and offset) gets the answer that its first reader may not have given."""
    found = decide(verdict(replay=True), stored(offset=7))
    assert not found.decision.replay
    assert found.decision.outcome is Outcome.ACCEPTED
    assert found.decision.lines == LINES
    assert found.give_back is None


@pytest.mark.parametrize("offset", [6, 8])
def test_a_later_repeat_is_a_replay(offset: int) -> None:
    """Another record with the same key and body gets the first decision, with the first one's trace, as a replay."""
    found = decide(verdict(replay=True), stored(offset=offset))
    assert found.decision.replay
    assert (found.decision.order_id, found.decision.decided_at) == (INTENT.order_id, NOW)
    assert found.decision.trace_id == "trace of the first"
    assert (found.give_back, found.conflict) == (None, None)


def test_a_repeated_rejection_is_rejected_again() -> None:
    """The first answer stands even when there would be stock by now."""
    found = decide(verdict(code=Code.OUT_OF_STOCK, replay=True), stored(reason=Reason.OUT_OF_STOCK, offset=1))
    made = found.decision
    assert (made.outcome, made.reason, made.replay) == (Outcome.REJECTED, Reason.OUT_OF_STOCK, True)
    assert (made.lines, made.held_until, made.trace_id) == ((), None, INTENT.trace_id)
    assert found.give_back is None


def test_a_conflict_with_a_decision_on_its_way() -> None:
    """The stock knows the key with another body, the ledger not yet: rejected, with the first order's id."""
    first = intent_of(submission(lines=(("TEA", 9, 1),)))
    found = decide(verdict(replay=True, conflict=True, order_id=first.order_id))
    made = found.decision
    assert (made.outcome, made.reason) == (Outcome.REJECTED, Reason.CONFLICTING_REPEAT)
    assert (made.order_id, made.lines, made.held_until) == (first.order_id, (), None)
    assert found.give_back is None
    assert found.conflict is not None
    assert (found.conflict.channel, found.conflict.submission_id) == ("web", "s-1")
    assert (found.conflict.fingerprint, found.conflict.partition, found.conflict.offset) == (INTENT.fingerprint, 3, 7)


def test_a_conflict_with_a_stored_decision() -> None:
    """The ledger's fingerprint differs: rejected with the stored order's id, and kept for those who ask."""
    first = intent_of(submission(lines=(("TEA", 9, 1),), submitted_at=NOW - timedelta(hours=1)))
    found = decide(verdict(replay=True, conflict=True, order_id=first.order_id), stored(first))
    assert found.decision.reason is Reason.CONFLICTING_REPEAT
    assert found.decision.order_id == first.order_id != INTENT.order_id
    assert found.conflict is not None
    assert found.give_back is None


def test_a_late_duplicate_gives_its_hold_back() -> None:
    """Redis forgot and took a second hold; the ledger's decision is announced, and the surplus hold returned."""
    found = decide(verdict(at_ms=LATER_MS), stored(offset=1))
    assert found.give_back == INTENT.order_id.bytes
    assert found.decision.replay
    assert (found.decision.decided_at, found.decision.held_until) == (NOW, NOW + timedelta(minutes=30))


def test_a_late_duplicate_with_a_new_time_gives_its_own_hold_back() -> None:
    """Sent with another time it has another id: that one is given back, the first one is announced."""
    first = intent_of(submission(submitted_at=NOW - timedelta(days=3)))
    known = stored(first, offset=1)._replace(fingerprint=INTENT.fingerprint)
    found = decide(verdict(at_ms=LATER_MS), known)
    assert found.give_back == INTENT.order_id.bytes
    assert found.decision.order_id == first.order_id


def test_a_late_duplicate_that_was_refused_has_nothing_to_give_back() -> None:
    """The ledger wins: it was accepted once, and is so again, though there is no stock now."""
    found = decide(verdict(code=Code.OUT_OF_STOCK, at_ms=LATER_MS), stored(offset=1))
    assert (found.decision.outcome, found.decision.reason) == (Outcome.ACCEPTED, None)
    assert found.give_back is None


def test_a_late_duplicate_of_a_rejection_stays_rejected() -> None:
    """The ledger wins the other way round too: what was refused once is not sold by accident."""
    found = decide(verdict(at_ms=LATER_MS), stored(reason=Reason.BUYER_LIMIT, offset=1))
    assert (found.decision.outcome, found.decision.reason) == (Outcome.REJECTED, Reason.BUYER_LIMIT)
    assert found.give_back == INTENT.order_id.bytes


def test_a_late_conflict_gives_its_hold_back() -> None:
    """A forgotten key with another body is a conflict by the ledger, and the hold it took is returned."""
    first = intent_of(submission(lines=(("TEA", 9, 1),)))
    found = decide(verdict(at_ms=LATER_MS), stored(first, offset=1))
    assert found.decision.reason is Reason.CONFLICTING_REPEAT
    assert found.give_back == INTENT.order_id.bytes
    assert found.conflict is not None


def test_the_first_body_is_no_conflict_when_redis_remembers_the_second() -> None:
    """Redis forgot the first and met the second body first; the ledger knows better."""
    found = decide(verdict(replay=True, conflict=True), stored(offset=1))
    assert (found.decision.outcome, found.decision.reason) == (Outcome.ACCEPTED, None)
    assert (found.give_back, found.conflict) == (None, None)


def test_a_record_that_stands_twice_in_a_batch_is_no_repeat() -> None:
    """After a rebalance a batch may hold the old reader's chunk and the new one's: both say the same."""
    again = intent_of(SUBMISSION, partition=3, offset=7)
    other = intent_of(SUBMISSION, partition=3, offset=8)
    for known in (None, stored()):
        assert decide(verdict(replay=True), known, repeats=again).decision.replay is False
        assert decide(verdict(replay=True), known, repeats=other).decision.replay is True


def test_a_hold_found_alive_is_not_given_back() -> None:
    """A verdict that is new, but on the very hold that the ledger knows, is the same instance."""
    assert decide(verdict(replay=False), stored(offset=1)).give_back is None


@pytest.mark.parametrize("code", list(Code))
def test_a_booking_says_what_the_verdict_says(code: Code) -> None:
    """Reason and times are the verdict's, all else the submission's."""
    made = booking(INTENT, verdict(code=code))
    accepted = code is Code.ACCEPTED
    assert (made.intent, made.order_id, made.key) == (INTENT, INTENT.order_id, ("web", "s-1"))
    assert (made.reason is None) == accepted
    assert (made.decided_at_ms, made.held_until_ms) == (NOW_MS, HELD_MS if accepted else 0)


def test_a_booking_takes_the_verdicts_order_id() -> None:
    """A repeat with a new time books the order under the id that the stock holds it by."""
    first = intent_of(submission(submitted_at=NOW - timedelta(minutes=1)))
    assert booking(INTENT, verdict(replay=True, order_id=first.order_id)).order_id == first.order_id
