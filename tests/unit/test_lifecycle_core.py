"""What reports and time do to an order, as values."""

from collections import Counter
from datetime import timedelta

import pytest
from builders import NOW, intent_of, report, submission

from streams.core import lifecycle
from streams.core.books import Action, Movement, OrderRecord, State
from streams.core.lifecycle import LATE_PAYMENT_POLICY, apply, expired, late_pools
from streams.core.stock import MAIN, End, Expired
from streams.messages import Change, DecidedLine, ReportType

PAID, CANCELLED = ReportType.PAYMENT_SUCCEEDED, ReportType.ORDER_CANCELLED
PROMO = "promo:p1"
LATER = NOW + timedelta(minutes=40)
QUANTITIES = (("TEA", 2), ("CUP", 1))
ID = intent_of(submission()).order_id


def order(state: State = State.HELD, pool: str = PROMO) -> OrderRecord:
    """An order of two SKUs from a promotion."""
    return OrderRecord(
        order_id=ID,
        channel="web",
        submission_id="s-1",
        buyer_id="ann",
        channel_order_no=None,
        currency="EUR",
        total=900,
        promotion_id="p1" if pool != MAIN else None,
        pool=pool,
        state=state,
        submitted_at=NOW,
        decided_at=NOW,
        held_until=NOW + timedelta(minutes=30),
        changed_at=NOW,
        trace_id="t",
        quantities=QUANTITIES,
    )


def outcome(kind: ReportType, end: End, state: State = State.HELD, pool: str = PROMO) -> lifecycle.Outcome:
    """What a report does, the stock having answered with `end`."""
    return apply(report(ID, "e-1", kind), order(state, pool), end, LATER)


def by_account(movements: tuple[Movement, ...]) -> dict[tuple[str, str, str], int]:
    """Units by SKU, pool and account."""
    sums: Counter[tuple[str, str, str]] = Counter()
    for m in movements:
        sums[m.sku, m.pool, "free"] += m.free
        sums[m.sku, m.pool, "held"] += m.held
        sums[m.sku, m.pool, "sold"] += m.sold
    return {place: units for place, units in sums.items() if units}


def moved(source: tuple[str, str], target: tuple[str, str]) -> dict[tuple[str, str, str], int]:
    """The order's units from one account of a pool to another."""
    return {(sku, *place): sign * qty for sku, qty in QUANTITIES for place, sign in ((source, -1), (target, +1))}


def test_a_payment_in_time_sells_what_was_held() -> None:
    """Held becomes sold in the order's own pool."""
    found = outcome(PAID, End.CONFIRMED)
    assert (found.change, found.step.state, found.step.expected) == (Change.CONFIRMED, State.CONFIRMED, (State.HELD,))
    assert by_account(found.step.movements) == moved((PROMO, "held"), (PROMO, "sold"))
    assert {m.action for m in found.step.movements} == {Action.CONFIRM}
    assert found.lines == (DecidedLine("TEA", PROMO, 2), DecidedLine("CUP", PROMO, 1))


@pytest.mark.parametrize(("end", "pool"), [(End.LATE_FROM_POOL, PROMO), (End.LATE_FROM_MAIN, MAIN)])
@pytest.mark.parametrize("state", [State.HELD, State.EXPIRED])
def test_a_late_payment_sells_from_where_the_stock_took_it(end: End, pool: str, state: State) -> None:
    """Free becomes sold, whether or not the keeper has written the expiry yet."""
    found = outcome(PAID, end, state)
    assert (found.change, found.step.state) == (Change.CONFIRMED_LATE, State.CONFIRMED)
    assert state in found.step.expected
    assert by_account(found.step.movements) == moved((pool, "free"), (pool, "sold"))
    assert {line.pool for line in found.lines} == {pool}


@pytest.mark.parametrize("end", [End.LATE_REFUSED, End.RELEASED, End.RELEASED_TO_MAIN, End.UNKNOWN])
@pytest.mark.parametrize("state", [State.HELD, State.EXPIRED, State.CANCELLED])
def test_a_payment_that_buys_nothing_is_to_be_refunded(end: End, state: State) -> None:
    """Too late and sold out, or cancelled before: nothing moves, somebody is told."""
    found = outcome(PAID, end, state)
    assert (found.change, found.step.state, found.step.movements) == (Change.REFUND_DUE, State.REFUND_DUE, ())
    assert state in found.step.expected


@pytest.mark.parametrize("end", [End.LATE_REFUSED, End.RELEASED, End.UNKNOWN])
def test_no_payment_takes_a_paid_order_back(end: End) -> None:
    """A second payment, asked of a stock that has forgotten the first, changes nothing of a confirmed order."""
    found = outcome(PAID, end, State.CONFIRMED)
    assert State.CONFIRMED not in found.step.expected
    assert found.step.movements == ()


@pytest.mark.parametrize(
    ("end", "own", "pools"),
    [
        (End.EXPIRED, PROMO, (PROMO, MAIN)),
        (End.EXPIRED, MAIN, (MAIN,)),
        (End.EXPIRED_TO_MAIN, PROMO, (PROMO, MAIN)),
        (End.RELEASED, PROMO, ()),
        (End.RELEASED_TO_MAIN, PROMO, ()),
        (End.CONFIRMED, PROMO, ()),
        (End.LATE_FROM_POOL, PROMO, ()),
        (End.LATE_FROM_MAIN, PROMO, ()),
        (End.LATE_REFUSED, PROMO, ()),
        (End.UNKNOWN, PROMO, ()),
    ],
)
def test_where_a_late_payment_may_draw_from(end: End, own: str, pools: tuple[str, ...]) -> None:
    """Own pool, else main, else nowhere. Own stands first: by its place the stock says where it sold from."""
    assert late_pools(order(pool=own), end) == pools


def test_the_policy_speaks_of_every_end_that_time_or_people_bring() -> None:
    """Only ends that are no sale need a policy; a new kind of end must be thought about here."""
    sales = {End.CONFIRMED, End.LATE_FROM_POOL, End.LATE_FROM_MAIN}
    put_back = {End.RESTOCKED, End.RESTOCKED_TO_MAIN}
    assert set(LATE_PAYMENT_POLICY) == set(End) - sales - put_back - {End.LATE_REFUSED, End.UNKNOWN}


@pytest.mark.parametrize("state", [State.CANCELLED, State.REFUND_DUE, State.CONFIRMED])
def test_an_order_that_was_settled_draws_from_nowhere(state: State) -> None:
    """Cancelled after it expired, the stock still says expired: the ledger knows that a payment is to be refunded."""
    assert late_pools(order(state), End.EXPIRED) == ()


@pytest.mark.parametrize(("end", "target"), [(End.RELEASED, PROMO), (End.RELEASED_TO_MAIN, MAIN)])
def test_a_cancelled_hold_is_free_again(end: End, target: str) -> None:
    """In its own pool, or in main once the promotion has closed."""
    found = outcome(CANCELLED, end)
    assert (found.change, found.step.state, found.step.expected) == (Change.CANCELLED, State.CANCELLED, (State.HELD,))
    assert by_account(found.step.movements) == moved((PROMO, "held"), (target, "free"))
    assert {line.pool for line in found.lines} == {target}


@pytest.mark.parametrize("end", [End.EXPIRED, End.EXPIRED_TO_MAIN, End.LATE_REFUSED])
@pytest.mark.parametrize("state", [State.HELD, State.EXPIRED])
def test_a_cancellation_after_expiry_moves_nothing(end: End, state: State) -> None:
    """The keeper writes, or has written, where the units went."""
    found = outcome(CANCELLED, end, state)
    assert (found.step.state, found.step.movements) == (State.CANCELLED, ())
    assert state in found.step.expected


@pytest.mark.parametrize("end", [End.CONFIRMED, End.LATE_FROM_POOL, End.LATE_FROM_MAIN, End.UNKNOWN, End.RELEASED])
def test_a_cancelled_sale_is_to_be_refunded(end: End) -> None:
    """Units stay sold, the money is due; so also when the stock has forgotten the sale, or speaks of a later hold."""
    found = outcome(CANCELLED, end, State.CONFIRMED)
    assert (found.change, found.step.state) == (Change.REFUND_DUE, State.REFUND_DUE)
    assert found.step.expected == (State.CONFIRMED,)
    assert found.step.movements == ()


@pytest.mark.parametrize("end", [End.RELEASED, End.RELEASED_TO_MAIN])
@pytest.mark.parametrize("state", sorted(set(State) - {State.HELD}))
def test_a_settled_orders_units_are_not_given_back(end: End, state: State) -> None:
    """A duplicate that outlived Redis' memory leaves `released` on an order whose units are sold, or free already."""
    assert outcome(CANCELLED, end, state).step.movements == ()


def test_a_repeated_cancellation_tells_again_what_came_back() -> None:
    """Written but not said before a crash: the announcement has its lines still."""
    assert outcome(CANCELLED, End.RELEASED, State.CANCELLED).lines == outcome(CANCELLED, End.RELEASED).lines != ()


@pytest.mark.parametrize(("end", "target"), [(End.EXPIRED, PROMO), (End.EXPIRED_TO_MAIN, MAIN)])
def test_an_expired_hold_is_free_again(end: End, target: str) -> None:
    """Nobody reported it: the keeper is its source, the deadline its time."""
    found = expired(Expired(ID.bytes, end, PROMO, QUANTITIES), order(), LATER)
    assert (found.change, found.step.state, found.step.expected) == (Change.EXPIRED, State.EXPIRED, (State.HELD,))
    assert by_account(found.step.movements) == moved((PROMO, "held"), (target, "free"))
    assert (found.step.source, found.step.occurred_at, found.step.at) == (
        lifecycle.KEEPER,
        order().held_until,
        LATER,
    )


def test_main_orders_return_to_main() -> None:
    """Source and target are the same pool then: one movement a SKU."""
    found = outcome(CANCELLED, End.RELEASED, pool=MAIN)
    assert len(found.step.movements) == len(QUANTITIES)
    assert by_account(found.step.movements) == moved((MAIN, "held"), (MAIN, "free"))


@pytest.mark.parametrize("kind", [PAID, CANCELLED, None])
@pytest.mark.parametrize("end", list(End))
@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("pool", [MAIN, PROMO])
def test_no_step_makes_or_loses_units(kind: ReportType | None, end: End, state: State, pool: str) -> None:
    """Whatever is asked and answered: the movements of a step sum to zero for each SKU, are the order's, and unique."""
    found = (
        expired(Expired(ID.bytes, end, pool, QUANTITIES), order(state, pool), LATER)
        if kind is None
        else outcome(kind, end, state, pool)
    )
    sums: Counter[str] = Counter()
    for m in found.step.movements:
        sums[m.sku] += m.free + m.held + m.sold
    assert not any(sums.values())
    assert {m.ref for m in found.step.movements} <= {str(ID)}
    keys = [(m.ref, m.action, m.sku, m.pool) for m in found.step.movements]
    assert len(set(keys)) == len(keys)
    assert found.step.state not in found.step.expected


def test_a_step_carries_its_cause() -> None:
    """Source and event id make it idempotent, its kind is what was reported."""
    found = outcome(PAID, End.CONFIRMED)
    assert (found.step.source, found.step.event_id, found.step.kind) == ("pay", "e-1", "payment.succeeded")
