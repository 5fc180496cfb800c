"""The queue of submissions under review in memory, over what a fake log was given."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from streams.chunks import Record
from streams.stores.log import Headers
from streams.stores.log_fake import FakeLog
from streams.stores.review import ReviewQueue
from streams.topics import REVIEW


class _Read(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class FakeReview(ReviewQueue):
    """See `ReviewQueue`."""

    def __init__(self, log: FakeLog) -> None:
        self._log = log
        self.decided: dict[int, int] = {}
        """Offsets that were said to be done, by partition."""

    async def waiting(self, partitions: frozenset[int]) -> AsyncIterator[tuple[int, Sequence[Record]]]:
        """See `ReviewQueue`."""
        for partition in sorted(partitions):
            entries = list(self._log.appended[REVIEW.name, partition])
            found: list[Record] = [
                _Read(offset, entry.timestamp_ms, entry.key, entry.value, entry.headers)
                for offset, entry in enumerate(entries)
            ]
            waiting = found[self.decided.get(partition, 0) :]
            if waiting:
                yield partition, waiting

    async def done(self, offsets: Mapping[int, int]) -> None:
        """See `ReviewQueue`."""
        self.decided.update(offsets)

    @property
    def lag(self) -> int:
        """How many wait."""
        put_in = sum(len(entries) for (topic, _), entries in self._log.appended.items() if topic == REVIEW.name)
        return put_in - sum(self.decided.values())
