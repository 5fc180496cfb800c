"""Where a topic ends is found out however slow the broker is, and never guessed: records behind a guess go unread."""

from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition

from streams.errors import LogUnavailable
from streams.stores import reader_kafka
from streams.stores.reader_kafka import true_ends

HERE = TopicPartition("orders.decided.v1", 3)


class At(NamedTuple):
    """A record's place."""

    offset: int


class SlowConsumer:
    """Hands its last batch over only when it was asked so often; the broker tells the end behind the first of it."""

    def __init__(self, asked: int, clock: list[float]) -> None:
        self._left, self._clock, self._position = asked, clock, 0

    def seek(self, _: TopicPartition, offset: int) -> None:
        """Go there."""
        self._position = offset

    async def position(self, _: TopicPartition) -> int:
        """Where it is."""
        return self._position

    async def getmany(self, *_: Any, **__: Any) -> dict[TopicPartition, list[At]]:
        """Five seconds later: nothing, or the batch of offsets 10 to 895."""
        self._clock[0] += 5
        self._left -= 1
        if self._left >= 0:
            return {}
        self._position = 896
        return {HERE: [At(offset) for offset in range(10, 896)]}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass only when the consumer is asked."""
    now = [0.0]
    monkeypatch.setattr(reader_kafka, "monotonic", lambda: now[0])
    return now


async def test_a_slow_broker_is_waited_for(clock: list[float]) -> None:
    """Twenty seconds for the last batch, on a machine that is busy: all 886 records of it are in the topic."""
    found = await true_ends(SlowConsumer(4, clock), {HERE: 0}, {HERE: 11})
    assert found == {HERE: 896}


async def test_an_end_that_is_not_told_is_no_end(clock: list[float]) -> None:
    """A reader that took what was told instead would pass over 885 records, and say nothing."""
    with pytest.raises(LogUnavailable, match=r"orders\.decided\.v1-3"):
        await true_ends(SlowConsumer(10_000, clock), {HERE: 0}, {HERE: 11})
