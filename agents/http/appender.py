"""Orders of many requests into Kafka together: what comes while a partition is busy goes with its next append."""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.errors import FloodwayError
from streams.stores.log import Entry, Log
from streams.stores.partitioner import partition_of
from streams.topics import SUBMITTED

PARTITIONS_FOR_S = 5.0
"""How long the number of partitions is taken for current; Kafka's clients think in minutes."""
APPEND_BYTES = 4_000_000
"""One append stops to take more at this size, so that it can be confirmed in time."""
RECORD_BYTES = 128
"""What a record takes beside its value, about."""

Confirmed = asyncio.Future[FloodwayError | None]
"""None once all in-sync replicas have the records; else why that is not known."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Lane:
    """One partition: what waits for it, and the task that appends."""

    waiting: "deque[tuple[Sequence[Entry], int, Confirmed]]" = field(default_factory=deque)
    task: "asyncio.Task[None] | None" = None


class Appender:
    """Appends submissions. `backlog_bytes` are handed over and not confirmed."""

    def __init__(self, log: Log, *, max_bytes: int) -> None:
        self._log, self._max_bytes = log, max_bytes
        self._lanes: dict[int, _Lane] = defaultdict(_Lane)
        self._partitions, self._known_until = 0, 0.0
        self._asking: asyncio.Task[None] | None = None
        self._less = asyncio.Event()
        self.backlog_bytes = 0

    async def partitions(self) -> int:
        """How many partitions the topic has; once known, asked for again beside the work.

        Raises `UnknownThing` or `LogUnavailable`.
        """
        loop = asyncio.get_running_loop()
        if not self._partitions:
            self._partitions = await self._log.partitions(SUBMITTED.name)
        elif loop.time() >= self._known_until and (self._asking is None or self._asking.done()):
            self._asking = loop.create_task(self._ask(), name="partitions")
        else:
            return self._partitions
        self._known_until = loop.time() + PARTITIONS_FOR_S
        return self._partitions

    @property
    def is_full(self) -> bool:
        """Whether more should wait."""
        return self.backlog_bytes >= self._max_bytes

    async def room(self) -> None:
        """Wait until there is room."""
        while self.is_full:
            self._less.clear()
            await self._less.wait()

    async def append(self, entry: Entry) -> FloodwayError | None:
        """Append one record to the partition of its key; returns when it is confirmed, or why it is not."""
        assert entry.key is not None, "submissions have keys"
        return await asyncio.shield(self.put(partition_of(entry.key, await self.partitions()), [entry]))

    def put(self, partition: int, entries: Sequence[Entry]) -> Confirmed:
        """Hand over records of one partition, in order."""
        lane = self._lanes[partition]
        confirmed: Confirmed = asyncio.get_running_loop().create_future()
        size = sum([len(entry.value or b"") + RECORD_BYTES for entry in entries])
        lane.waiting.append((entries, size, confirmed))
        self.backlog_bytes += size
        if lane.task is None:
            lane.task = asyncio.create_task(self._drain(partition, lane), name=f"append {partition}")
        return confirmed

    async def flush(self) -> None:
        """Wait until nothing is under way any more."""
        while tasks := [lane.task for lane in self._lanes.values() if lane.task is not None]:
            await asyncio.wait(tasks)

    async def _ask(self) -> None:
        try:
            self._partitions = await self._log.partitions(SUBMITTED.name)
        except FloodwayError as error:
            logger.warning("partitions: %s", error)

    async def _drain(self, partition: int, lane: _Lane) -> None:
        try:
            while lane.waiting:
                taken: list[Confirmed] = []
                entries: list[Entry] = []
                size = 0
                while lane.waiting and size < APPEND_BYTES:
                    some, bytes_, confirmed = lane.waiting.popleft()
                    entries += some
                    size += bytes_
                    taken.append(confirmed)
                found = await self._try(partition, entries)
                self.backlog_bytes -= size
                self._less.set()
                for confirmed in taken:
                    if not confirmed.done():
                        confirmed.set_result(found)
        finally:
            lane.task = None

    async def _try(self, partition: int, entries: list[Entry]) -> FloodwayError | None:
        try:
            await self._log.append(SUBMITTED.name, partition, entries)
        except FloodwayError as error:
            logger.warning("append to partition %d: %s", partition, error)
            return error
        except Exception as error:
            logger.exception("append to partition %d", partition)
            return FloodwayError(f"append failed: {error!r}")
        return None
