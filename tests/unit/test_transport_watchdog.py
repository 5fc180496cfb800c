"""When a worker counts as standing still, and when it does not."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.transport.watchdog import Partition, StallWatch, Standing
from streams.waiting import last_wait_s, note_wait, waiting

TP = ("t", 0)
IDLE = Standing(read_to=10, acknowledged_to=10, chunks_in_work=0, end=10)
STUCK_IN_WORK = Standing(read_to=10, acknowledged_to=5, chunks_in_work=1, end=10)
STUCK_UNREAD = Standing(read_to=10, acknowledged_to=10, chunks_in_work=0, end=99)


def looks(
    watch: StallWatch,
    standings: dict[Partition, Standing] | None,
    until_s: int,
    *,
    flowing: bool = True,
    excused_at_s: float = -math.inf,
    from_s: int = 0,
) -> int | None:
    """The second at which the watch first complains, when it looks every second."""
    for now_s in range(from_s, until_s):
        if watch.look(now_s, standings, flowing=flowing, excused_at_s=excused_at_s):
            return now_s
    return None


def test_nothing_to_do_is_no_stall() -> None:
    """An idle partition may be idle for ever; so may a worker without partitions."""
    assert looks(StallWatch(10, 0), {TP: IDLE}, 1_000) is None
    assert looks(StallWatch(10, 0), {}, 1_000) is None


@pytest.mark.parametrize("standing", [STUCK_IN_WORK, STUCK_UNREAD])
def test_records_that_wait_while_nothing_moves_are_a_stall(standing: Standing) -> None:
    """Handed over and never acknowledged, or in Kafka and never read; told after the timeout, not before."""
    assert looks(StallWatch(10, 0), {TP: standing}, 100) == 11
    assert looks(StallWatch(10, 0), {TP: standing, ("t", 1): IDLE}, 100) == 11


def test_idle_time_does_not_count() -> None:
    """The first record after a quiet hour has the whole timeout."""
    watch = StallWatch(10, 0)
    assert looks(watch, {TP: IDLE}, 3_600) is None
    assert looks(watch, {TP: STUCK_IN_WORK}, 3_700, from_s=3_600) == 3_611


def test_a_thread_that_does_not_answer_and_a_rebalance_that_does_not_end() -> None:
    """The one after the timeout, the other after two, for a group waits for its slowest member."""
    assert looks(StallWatch(10, 0), None, 100) == 11
    assert looks(StallWatch(10, 0), {}, 100, flowing=False) == 21


def test_waiting_for_a_dependency_is_no_stall() -> None:
    """Nor is the time right after it: what was held up has the whole timeout again."""
    watch = StallWatch(10, 0)
    for now_s in range(1_000):
        assert watch.look(now_s, {TP: STUCK_IN_WORK}, flowing=True, excused_at_s=now_s - 3) is None
    assert looks(watch, {TP: STUCK_IN_WORK}, 1_100, from_s=1_000, excused_at_s=996.0) == 1_006


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=60))
def test_a_partition_that_moves_in_time_never_stalls(steps: list[tuple[int, int]]) -> None:
    """Whatever it reads and acknowledges, as long as something changes within the timeout."""
    watch, now_s, read_to = StallWatch(10, 0), 0, 0
    for seconds, records in steps:
        now_s += seconds
        read_to += records + 1
        standing = Standing(read_to, read_to - 1, 1, read_to + 5)
        assert watch.look(now_s, {TP: standing}, flowing=True, excused_at_s=-math.inf) is None


def test_a_retry_says_that_it_waits() -> None:
    """By the clock that the watch looks at."""
    before = last_wait_s()
    note_wait()
    assert last_wait_s() > before


async def test_time_spent_waiting_is_noted_all_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild may take minutes: while it lasts the process says so again and again, and no longer after."""
    monkeypatch.setattr("streams.waiting.BEAT_S", 0.01)
    async with waiting():
        await asyncio.sleep(0)
        first = last_wait_s()
        await asyncio.sleep(0.1)
        assert last_wait_s() > first
    await asyncio.sleep(0.02)
    last = last_wait_s()
    await asyncio.sleep(0.05)
    assert last_wait_s() == last
