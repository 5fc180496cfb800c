"""Values become rows without losing anything."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from streams.core.books import Action, PromotionState, State
from streams.core.stock import added_up
from streams.messages import Outcome, Reason
from streams.stores.ledger_codes import ACTIONS, STATE_OF, STATES, VERDICTS, outcome_of
from streams.stores.ledger_rows import decode_timestamp, encode_timestamp
from streams.stores.ledger_rules import overtaken_by

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=ZONES))  # noqa: DTZ001  # zones are drawn
def test_an_instant_survives_to_the_microsecond(moment: datetime) -> None:
    """Any zone, before and after 2000: the same instant, in UTC."""
    back = decode_timestamp(encode_timestamp(moment))
    assert back == moment
    assert back.tzinfo is UTC


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 9))))
def test_lines_add_up(lines: list[tuple[str, int]]) -> None:
    """Each SKU once, in the order of first appearance, and no unit more or less."""
    found = added_up(lines)
    assert list(found) == list(dict.fromkeys(sku for sku, _ in lines))
    assert all(qty == sum(q for s, q in lines if s == sku) for sku, qty in found.items())


def test_codes_are_one_to_one_and_complete() -> None:
    """Every word has a code of its own and every code leads back."""
    assert {outcome_of(VERDICTS[reason]) for reason in Reason} == {(Outcome.REJECTED, reason) for reason in Reason}
    assert outcome_of(VERDICTS[None]) == (Outcome.ACCEPTED, None)
    assert {STATE_OF[STATES[state]] for state in State} == set(State)
    assert len({ACTIONS[action] for action in Action}) == len(Action)


def test_a_promotion_is_overtaken_by_what_comes_after() -> None:
    """Closed by nothing, open by closing and closed; failed and opening may follow each other."""
    assert overtaken_by(PromotionState.CLOSED) == []
    assert overtaken_by(PromotionState.OPEN) == [PromotionState.CLOSING, PromotionState.CLOSED]
    assert overtaken_by(PromotionState.FAILED) == overtaken_by(PromotionState.OPENING)
