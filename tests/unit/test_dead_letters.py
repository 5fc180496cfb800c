"""Dead letters: what a replay gets back, and when so many of them stop a worker."""

import pytest
from builders import FakeChunk, FakeRecord, chunk, take_in, world
from hypothesis import given
from hypothesis import strategies as st

from streams import dead_letters
from streams.core.decode import Undecodable
from streams.dead_letters import CAP_WINDOW_RECORDS, DeadLetterCap, original_headers
from streams.errors import TooManyDeadLetters
from streams.lifecycle import Lifecycle
from streams.topics import DEAD_LETTER_HEADER, REPORTED, REPORTED_DLQ, SUBMITTED_DLQ

HEADERS = st.lists(st.tuples(st.sampled_from(["a", "traceparent", DEAD_LETTER_HEADER]), st.none() | st.binary()))


@given(HEADERS)
def test_a_replay_has_the_headers_of_the_original(headers: list[tuple[str, bytes | None]]) -> None:
    """Also those of an original that was a dead letter itself, or bore the same name by chance."""
    original = FakeRecord(7, b"v", headers=tuple(headers))
    dead = dead_letters.bury(chunk(b"x"), original, Undecodable("not_json", "detail"))
    entry = dead_letters.entry(dead, failed_at_ms=1)
    buried = FakeRecord(0, entry.value, headers=entry.headers)
    assert original_headers(buried) == tuple(headers)
    assert original_headers(FakeRecord(0, b"v")) == ()


CHUNKS = st.lists(
    st.tuples(st.integers(1, 400), st.floats(0, 1)).map(lambda c: (c[0], round(c[0] * c[1]))), max_size=60
)


@given(CHUNKS | CHUNKS.map(lambda chunks: [(records, records) for records, _ in chunks]))
def test_the_cap_stops_when_the_last_full_window_is_nearly_all_bad(chunks: list[tuple[int, int]]) -> None:
    """And only then. The window is the fewest of the last chunks that make a thousand records."""
    cap = DeadLetterCap(0.9)
    for count in range(1, len(chunks) + 1):
        records = dead = 0
        for size, bad in reversed(chunks[:count]):
            records, dead = records + size, dead + bad
            if records >= CAP_WINDOW_RECORDS:
                break
        if records >= CAP_WINDOW_RECORDS and dead > 0.9 * records:
            with pytest.raises(TooManyDeadLetters):
                cap.count(*chunks[count - 1])
            return
        cap.count(*chunks[count - 1])


def test_a_few_bad_messages_stop_nobody() -> None:
    """One less than the window, all bad, passes; so does a share at the cap; the next one over it does not."""
    cap = DeadLetterCap(0.9)
    cap.count(CAP_WINDOW_RECORDS - 1, CAP_WINDOW_RECORDS - 1)
    with pytest.raises(TooManyDeadLetters, match=r"floodway dlq list.*FLOODWAY_DEAD_LETTER_MAX_SHARE=1"):
        cap.count(1, 1)
    DeadLetterCap(0.9).count(2_000, 1_800)
    with pytest.raises(TooManyDeadLetters):
        DeadLetterCap(0.9).count(2_000, 1_801)
    DeadLetterCap(1.0).count(2_000, 2_000)


async def test_a_worker_that_finds_all_bad_buries_and_acknowledges_nothing_of_it() -> None:
    """The chunk stays in Kafka for a worker that can read it."""
    made = await world()
    bad = chunk(*([b"{"] * CAP_WINDOW_RECORDS))
    with pytest.raises(TooManyDeadLetters):
        await take_in(made.parts(), [bad])
    assert made.log.values(SUBMITTED_DLQ.name) == []
    assert not bad.done.is_set()
    reports = FakeChunk(bad.records, topic=REPORTED.name)
    with pytest.raises(TooManyDeadLetters):
        await Lifecycle(made.parts()).take(reports)
    assert made.log.values(REPORTED_DLQ.name) == []
    assert not reports.done.is_set()
