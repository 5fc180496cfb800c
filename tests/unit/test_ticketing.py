"""The life of a ticket, for any course of events: one a cause, escalated in order, damped, closed when it is over."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from streams.core.rules import Finding, Rule, read_rules
from streams.core.ticketing import (
    FORGET_AFTER,
    MOST_DAMPED,
    REST_ACKNOWLEDGED,
    REST_BY_HAND,
    Kept,
    acknowledged,
    advance,
    clear_for,
    closed,
)
from streams.messages import TicketEvent

START = datetime(2026, 11, 11, tzinfo=UTC)
RULE: Rule = read_rules(
    """
[rules.late]
check = "orders_unprocessed"
after = "2h"
escalate = ["30m", "2h"]
clear_after = "2m"
headline = "$subject is late"
detail = "$count for $lasting: $examples"
cause = "c"
fix = "f"
""",
    "rules.toml",
)["late"]
OPENED, REOPENED, ESCALATED = TicketEvent.OPENED, TicketEvent.REOPENED, TicketEvent.ESCALATED
ACKNOWLEDGED, CLOSED = TicketEvent.ACKNOWLEDGED, TicketEvent.CLOSED
LOOK = timedelta(seconds=30)

History = list[tuple[datetime, TicketEvent, Kept]]

courses = st.lists(
    st.tuples(
        st.integers(1, 7_200),  # seconds since the one before
        st.sampled_from(["there", "there", "there", "gone", "gone", "ack", "close"]),
        st.integers(1, 12),  # so many looks in a row
    ),
    max_size=30,
)


def run(course: list[tuple[int, str, int]]) -> tuple[History, Kept | None, datetime]:
    """What became of a ticket, as it is at the end, and when that is."""
    now, kept, told = START, None, []
    for seconds, what, times in course:
        for _ in range(times if what in {"there", "gone"} else 1):
            now += timedelta(seconds=seconds)
            event = None
            if what == "ack":
                kept, event = (None, None) if kept is None else acknowledged(kept, "ann", now)
            elif what == "close":
                kept, event = (None, None) if kept is None else closed(kept, "ann", now)
            else:
                found = Finding("web", 3, now - timedelta(hours=3)) if what == "there" else None
                kept, event = advance(RULE, kept, found, now)
            if event is not None:
                assert kept is not None
                told.append((now, event, kept))
    return told, kept, now


@given(courses)
def test_a_cause_never_has_two_open_tickets(course: list[tuple[int, str, int]]) -> None:
    """It is opened when it is not open, and all else happens while it is."""
    is_open = False
    for _, event, kept in run(course)[0]:
        assert (event in {OPENED, REOPENED}) != is_open
        is_open = event is not CLOSED
        assert kept.is_open == is_open


@given(courses)
def test_levels_only_grow_and_each_is_told_once(course: list[tuple[int, str, int]]) -> None:
    """While it is open a ticket escalates to each level at most once, never back, and only when it is that old."""
    level = 0
    for at, event, kept in run(course)[0]:
        if event in {OPENED, REOPENED}:
            assert kept.level == (0 if event is OPENED else level)
        elif event is ESCALATED:
            assert level < kept.level <= len(RULE.escalate_s)
            assert at - kept.opened_at >= timedelta(seconds=RULE.escalate_s[kept.level - 1])
        else:
            assert kept.level == level
        level = kept.level


@given(courses)
def test_it_closes_by_itself_only_after_its_cause_was_gone_for_a_while(course: list[tuple[int, str, int]]) -> None:
    """Between the look that missed the cause first and the closing lies what damps it, unless a person closed it."""
    for at, event, kept in run(course)[0]:
        if event is CLOSED and kept.closed_by is None:
            assert kept.clear_since is not None
            assert at - kept.clear_since >= clear_for(RULE, kept) >= timedelta(seconds=RULE.clear_s)


@given(courses)
def test_in_the_end_it_says_what_is_so(course: list[tuple[int, str, int]]) -> None:
    """Looked at for long enough, a cause that stays has an open ticket, and one that is gone has none."""
    _, kept, now = run(course)
    pause = timedelta(minutes=10)
    looks = int((FORGET_AFTER + REST_BY_HAND) / pause)
    there = gone = kept
    for number in range(1, looks):
        there, _ = advance(RULE, there, Finding("web", 1), now + number * pause)
        gone, _ = advance(RULE, gone, None, now + number * pause)
    assert there is not None
    assert there.is_open
    assert there.level == len(RULE.escalate_s)
    assert gone is None or not gone.is_open


def test_what_comes_and_goes_is_told_a_few_times_a_day() -> None:
    """A cause that is there at every other look for a day has one ticket, opened once and escalated twice."""
    told, kept, _ = run([(30, "there" if number % 2 else "gone", 1) for number in range(2_880)])
    assert [event for _, event, _ in told] == [OPENED, ESCALATED, ESCALATED]
    assert kept is not None


def test_what_comes_back_again_and_again_is_damped_more_each_time() -> None:
    """Gone for three minutes and back, all day: it is told of a handful of times, not 480."""
    told, kept, _ = run([(30, "there" if number % 12 < 6 else "gone", 1) for number in range(2_880)])
    assert [event for _, event, _ in told].count(REOPENED) == 1  # then three minutes are too short
    assert kept is not None
    assert kept.openings == 2
    assert clear_for(RULE, kept._replace(openings=99)) == timedelta(seconds=RULE.clear_s * MOST_DAMPED)


def test_while_somebody_sees_to_it_nobody_else_is_called() -> None:
    """Acknowledged it does not escalate; four hours later it does."""
    opened, _ = advance(RULE, None, Finding("web", 1), START)
    assert opened is not None
    kept, event = acknowledged(opened, "ann", START + LOOK)
    assert event is ACKNOWLEDGED
    assert kept is not None
    assert advance(RULE, kept, Finding("web", 1), START + REST_ACKNOWLEDGED)[1] is None
    after, event = advance(RULE, kept, Finding("web", 2), START + LOOK + REST_ACKNOWLEDGED)
    assert (event, after and after.level, after and after.affected) == (ESCALATED, 2, 2)


def test_a_ticket_closed_by_hand_rests_and_comes_back() -> None:
    """For an hour nobody is bothered; if the cause is still there, they are."""
    opened, _ = advance(RULE, None, Finding("web", 1), START)
    assert opened is not None
    kept, _ = closed(opened, "ann", START)
    assert advance(RULE, kept, Finding("web", 1), START + REST_BY_HAND - LOOK) == (kept, None)
    again, event = advance(RULE, kept, Finding("web", 1), START + REST_BY_HAND)
    assert (event, again and again.closed_by) == (REOPENED, None)


def test_two_repeats_of_an_event_have_one_id() -> None:
    """What is told twice can be told apart from what happened twice."""
    one, _ = advance(RULE, None, Finding("web", 3, START - timedelta(hours=3), ("a", "b")), START)
    assert one is not None
    assert one.told(OPENED, START) == one.told(OPENED, START)
    assert one.told(OPENED, START).id != one.told(OPENED, START + LOOK).id
    assert one.ticket_id == "late:web"
    assert (one.subject, one.detail) == ("web is late", "3 for 3 h: a, b")
