"""The book of offsets: what may be committed after which acknowledgements."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.transport.offsets import OffsetTracker, Partition, Ticket

A: Partition = ("orders", 0)
B: Partition = ("orders", 1)


def test_nothing_is_committable_before_the_first_acknowledgement() -> None:
    """A chunk handed over is not a chunk done."""
    tracker = OffsetTracker()
    tracker.delivered(A, 0, 10, 10)
    assert tracker.committable(A) is None
    assert tracker.partitions() == []


def test_commit_never_passes_an_unacknowledged_head() -> None:
    """faust-streaming #606: acknowledging the second chunk first must not commit past the first."""
    tracker = OffsetTracker()
    first, second, third = (tracker.delivered(A, n, n + 10, 10) for n in (0, 10, 20))
    assert tracker.acked(second)
    assert tracker.committable(A) is None
    assert tracker.acked(first)
    assert tracker.committable(A) == 20
    assert tracker.acked(third)
    assert tracker.committable(A) == 30
    assert tracker.records == 0


def test_gaps_between_offsets_do_not_stall() -> None:
    """Compaction and transaction markers leave holes; a chunk starts behind one and commits all the same."""
    tracker = OffsetTracker()
    tickets = [tracker.delivered(A, first, end) for first, end in ((3, 9), (14, 15), (100, 230))]
    for ticket in tickets:
        assert tracker.acked(ticket)
    assert tracker.committable(A) == 230


def test_an_acknowledgement_of_an_earlier_assignment_is_ignored() -> None:
    """A ticket from before a revoke commits nothing, even when the same offsets were handed over again."""
    tracker = OffsetTracker()
    old = tracker.delivered(A, 0, 10, 10)
    other = tracker.delivered(B, 0, 10, 10)
    assert tracker.revoked([A]) == [old]
    new = tracker.delivered(A, 0, 10, 10)
    assert not tracker.acked(old)
    assert tracker.committable(A) is None
    assert tracker.chunks(A) == 1
    assert tracker.acked(new)
    assert tracker.committable(A) == 10
    assert tracker.acked(other)
    assert tracker.committable(B) == 10


def test_a_second_acknowledgement_changes_nothing() -> None:
    """Acknowledging twice is told apart, and does not count twice."""
    tracker = OffsetTracker()
    ticket = tracker.delivered(A, 0, 10, 10)
    assert tracker.acked(ticket)
    assert not tracker.acked(ticket)
    assert tracker.records == 0


@pytest.mark.parametrize(("first", "end"), [(10, 10), (12, 10), (-1, 3)])
def test_an_impossible_chunk_is_a_broken_invariant(first: int, end: int) -> None:
    """Empty and negative ranges stop the worker rather than spoil the book."""
    with pytest.raises(AssertionError):
        OffsetTracker().delivered(A, first, end)


def test_reading_backwards_without_a_seek_is_a_broken_invariant() -> None:
    """Offsets that were handed over cannot be handed over again in the same assignment."""
    tracker = OffsetTracker()
    tracker.delivered(A, 0, 10)
    with pytest.raises(AssertionError, match="went back"):
        tracker.delivered(A, 9, 12)


class NaiveBook:
    """The same book, written to be obviously right: a list of everything that ever happened in this assignment."""

    def __init__(self) -> None:
        self.given: dict[Partition, list[tuple[Ticket, bool]]] = {A: [], B: []}

    def ack(self, ticket: Ticket) -> bool:
        """True when it is of this assignment and was not acknowledged yet."""
        rows = self.given[ticket.tp]
        for row, (known, acked) in enumerate(rows):
            if known is ticket and not acked:
                rows[row] = (known, True)
                return True
        return False

    def prefix(self, tp: Partition) -> int:
        """How many chunks from the start are all acknowledged."""
        return next((n for n, (_, acked) in enumerate(self.given[tp]) if not acked), len(self.given[tp]))


steps = st.lists(
    st.tuples(
        st.sampled_from(["deliver", "ack", "ack", "revoke"]),
        st.sampled_from([A, B]),
        st.integers(0, 5),
        st.integers(1, 50),
        st.integers(0, 1000),
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=300, deadline=None)
def test_the_book_agrees_with_a_naive_one(script: list[tuple[str, Partition, int, int, int]]) -> None:
    """For any order of hand-over, acknowledgement and revoke, with gaps, the committable offset is the naive one's,
    never goes back within an assignment, and what is retained is what is not committable.
    """
    tracker, naive = OffsetTracker(), NaiveBook()
    ever: list[Ticket] = []
    position = {A: 0, B: 0}
    last: dict[Partition, int | None] = {A: None, B: None}
    for action, tp, gap, length, pick in script:
        if action == "deliver":
            first = position[tp] + gap
            position[tp] = first + length
            ticket = tracker.delivered(tp, first, first + length, length)
            naive.given[tp].append((ticket, False))
            ever.append(ticket)
        elif action == "ack" and ever:
            ticket = ever[pick % len(ever)]
            assert tracker.acked(ticket) == naive.ack(ticket)
        elif action == "revoke":
            tracker.revoked([tp])
            naive.given[tp], last[tp] = [], None
            position[tp] = max(0, position[tp] - pick)  # the next owner's committed offset may lie behind
        for each in (A, B):
            prefix = naive.prefix(each)
            expected = naive.given[each][prefix - 1][0].next_offset if prefix else None
            assert tracker.committable(each) == expected
            assert tracker.chunks(each) == len(naive.given[each]) - prefix
            before = last[each]
            assert before is None or (expected is not None and expected >= before)
            last[each] = expected
        open_records = sum(t.records for tp2 in (A, B) for t, _ in naive.given[tp2][naive.prefix(tp2) :])
        assert tracker.records == open_records
