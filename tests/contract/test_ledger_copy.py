"""Bookings packed by hand for COPY are what PostgreSQL has afterwards, column by column."""

from datetime import datetime, timedelta, timezone

import asyncpg
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_values import EPOCH, HOLD_MS

from streams.core.books import Booking
from streams.core.decode import Undecodable
from streams.core.intent import intent
from streams.instants import to_datetime
from streams.messages import MAX_QTY, MAX_UNIT_PRICE, NAME, VISIBLE, Line, Reason, ShipTo, Submission
from streams.stores.ledger_codes import VERDICTS
from streams.stores.ledger_postgres import PostgresLedger

pytest_plugins = ["ledger_fixtures"]

NAMES = st.from_regex(NAME, fullmatch=True).map(lambda text: text[:32])
VISIBLES = st.from_regex(VISIBLE, fullmatch=True).map(lambda text: text[:64])
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=64)
ADDRESSES = st.builds(ShipTo, name=st.none() | TEXTS, city=st.none() | TEXTS, address=st.none() | TEXTS)
LINES = st.lists(
    st.builds(Line, NAMES, st.integers(1, MAX_QTY), st.integers(0, MAX_UNIT_PRICE)), min_size=1, max_size=9
)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(2000, 1, 3), datetime(2099, 12, 29), timezones=ZONES)  # noqa: DTZ001 - zones are drawn
SUBMISSIONS = st.builds(
    Submission,
    submission_id=VISIBLES,
    channel=NAMES,
    buyer_id=VISIBLES,
    lines=LINES.map(tuple),
    currency=st.from_regex(r"[A-Z]{3}", fullmatch=True),
    submitted_at=TIMES,
    channel_order_no=st.none() | TEXTS,
    promotion_id=st.none() | NAMES,
    ship_to=st.none() | ADDRESSES,
)


@st.composite
def bookings(draw: st.DrawFn) -> Booking:
    """Any valid submission, accepted or rejected, read anywhere in the log."""
    trace = draw(st.none() | st.from_regex(r"[0-9a-f]{32}", fullmatch=True))
    made = intent(draw(SUBMISSIONS), trace, draw(st.integers(0, 2**31 - 1)), draw(st.integers(0, 2**63 - 1)))
    assert not isinstance(made, Undecodable)
    reason = draw(st.none() | st.sampled_from(Reason))
    decided_at_ms = draw(st.integers(946_684_800_000, 4_102_444_800_000))
    return Booking(made, made.order_id, reason, decided_at_ms, 0 if reason else decided_at_ms + HOLD_MS)


@given(made=bookings())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_packed_by_hand_is_what_asyncpg_reads(
    postgres: PostgresLedger, admin: "asyncpg.Connection[asyncpg.Record]", made: Booking
) -> None:
    """Every column of any booking comes back as it went in: any text, any number within bounds, any zone."""
    await admin.execute("DELETE FROM decisions")
    await postgres.persist([made], EPOCH)
    row = await admin.fetchrow("SELECT * FROM decisions")
    assert row is not None
    intent = made.intent
    (channel, submission_id), asked = intent.submission_key, intent.reservation
    taken = made.reason is None
    assert dict(row) == {
        "decided_at": to_datetime(made.decided_at_ms),
        "submitted_at": intent.submitted_at,
        "log_offset": intent.offset,
        "log_partition": intent.partition,
        "verdict": VERDICTS[made.reason],
        "order_id": made.order_id,
        "fingerprint": intent.fingerprint,
        "channel": channel,
        "submission_id": submission_id,
        "trace_id": None if intent.trace_id == made.order_id.hex else intent.trace_id,
        "held_until": to_datetime(made.held_until_ms) if taken else None,
        "total": intent.total if taken else None,
        "buyer_id": asked.buyer_id if taken else None,
        "currency": intent.currency if taken else None,
        "promotion_id": asked.promotion_id if taken else None,
        "channel_order_no": intent.channel_order_no if taken else None,
        "ship_to": msgspec.json.encode(intent.ship_to).decode() if taken and intent.ship_to else None,
        "skus": [line.sku for line in intent.submission.lines] if taken else None,
        "qtys": [line.qty for line in intent.submission.lines] if taken else None,
        "unit_prices": [line.unit_price for line in intent.submission.lines] if taken else None,
    }
