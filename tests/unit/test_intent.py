"""A submission with all that is computed from it once."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from builders import intent_of, submission
from hypothesis import given
from hypothesis import strategies as st

from streams.core.decode import Undecodable
from streams.core.identity import fingerprint, idempotency_key
from streams.core.intent import intent
from streams.core.stock import MAIN, Reservation
from streams.messages import MAX_LINES, MAX_QTY, MAX_UNIT_PRICE, Line
from streams.stores.stock import MAX_ORDER_UNITS

LINES = st.lists(
    st.builds(Line, st.sampled_from(["TEA", "CUP", "POT"]), st.integers(1, MAX_QTY), st.integers(0, MAX_UNIT_PRICE)),
    min_size=1,
    max_size=MAX_LINES,
)


def test_repeated_skus_add_up() -> None:
    """Each SKU stands once, in the order of first mention, and the total is over all lines at their own prices."""
    found = intent_of(submission(lines=(("TEA", 2, 450), ("CUP", 1, 990), ("TEA", 3, 400))))
    assert (found.quantities, found.total) == ((("TEA", 5), ("CUP", 1)), 2 * 450 + 990 + 3 * 400)


@given(LINES)
def test_adding_up_loses_nothing(lines: list[Line]) -> None:
    """Units by SKU and the total are the plain sums over the lines, whatever their order."""
    found = intent_of(submission(lines=tuple((line.sku, line.qty, line.unit_price) for line in lines)))
    quantities = found.quantities
    assert found.submission.lines == tuple(lines)
    assert dict(quantities) == {sku: sum(i.qty for i in lines if i.sku == sku) for sku in {i.sku for i in lines}}
    assert len(quantities) == len({line.sku for line in lines})
    assert found.total == sum(line.qty * line.unit_price for line in lines)


def test_the_largest_sums_stay_exact() -> None:
    """An order at all bounds at once stays below 2**53, and its units below what the stock takes."""
    found = intent_of(submission(lines=(("TEA", MAX_QTY, MAX_UNIT_PRICE),) * MAX_LINES))
    assert found.quantities == (("TEA", MAX_LINES * MAX_QTY),)
    assert MAX_LINES * MAX_QTY <= MAX_ORDER_UNITS
    assert found.total == MAX_LINES * MAX_QTY * MAX_UNIT_PRICE < 2**53


def test_an_intent_carries_what_the_stock_needs() -> None:
    """Its reservation has key, fingerprint, id, buyer, promotion and the quantities added up."""
    made = submission(lines=(("TEA", 2, 450), ("TEA", 1, 450)), promotion_id="p1")
    found = intent_of(made, partition=3, offset=7)
    key = idempotency_key("web", "s-1")
    assert found.reservation == Reservation(key, fingerprint(made), found.order_id.bytes, "ann", "p1", (("TEA", 3),))
    assert (found.submission_key, found.partition, found.offset, found.total) == (("web", "s-1"), 3, 7, 1350)
    assert found.submission == made


def test_an_order_draws_from_one_pool() -> None:
    """Its promotion's, or main."""
    assert intent_of(submission()).pool == MAIN
    assert intent_of(submission(promotion_id="p1")).pool == "promo:p1"


def test_the_trace_is_the_producers_or_the_orders_own() -> None:
    """Without a trace from outside the order's id serves, as 32 hex digits."""
    assert intent_of(submission()).trace_id == intent_of(submission()).order_id.hex
    found = intent(submission(), "4bf92f3577b34da6a3ce929d0e0e4736", 0, 0)
    assert not isinstance(found, Undecodable)
    assert found.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("moment", "valid"),
    [
        (datetime(1999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), False),
        (datetime(2000, 1, 1, tzinfo=UTC), True),
        (datetime(2099, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), True),
        (datetime(2100, 1, 1, tzinfo=UTC), False),
        (datetime(2100, 1, 1, 7, tzinfo=timezone(timedelta(hours=8))), True),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), False),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))), False),
    ],
)
def test_times_outside_of_the_century_are_refused(moment: datetime, *, valid: bool) -> None:
    """2000 to 2100 by UTC; the ends of what a datetime can say raise nothing."""
    found = intent(submission(submitted_at=moment), None, 0, 0)
    assert isinstance(found, Undecodable) is not valid
    if isinstance(found, Undecodable):
        assert found.field == "$.submitted_at"
