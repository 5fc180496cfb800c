"""Who waits for news of an order, and the news: one reader of both topics a process, without a consumer group.

News is only that something has happened, and how far the ledger was then; what has happened is read from the ledger,
once for all who ask. So a watcher's queue holds one entry, the newest, and cannot overflow; news that is lost (a broker
away, a reader started anew) costs a moment, since everybody looks by himself now and then.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import msgspec
from msgspec import Struct

from streams.chunks import Record
from streams.errors import FloodwayError
from streams.finding import Which
from streams.stores.kafka_access import KafkaAccess
from streams.stores.reader_kafka import TopicReader
from streams.topics import CHANGED, DECIDED

AGAIN_S = 1.0

logger = logging.getLogger(__name__)


class News(Struct, frozen=True, gc=False):
    """What decisions and changes have in common."""

    order_id: UUID
    channel: str
    submission_id: str
    read_token: str | None = None


class Watcher:
    """Waits for news of one order."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self.token: str | None = None
        """How far the ledger must be read to see the last news."""

    def wake(self, token: str | None) -> None:
        """Tell it."""
        self.token = token or self.token
        self._news.set()

    async def wait(self, timeout_s: float) -> bool:
        """Whether there was news in time, or before the call and after the last one."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


class Watching:
    """All watchers of this process. `run` feeds it."""

    def __init__(self) -> None:
        self._watchers: dict[Which, set[Watcher]] = defaultdict(set)
        self._named = 0
        """How many wait under a submission's name: only then a record must be decoded to know whom it concerns."""
        self._decoder = msgspec.json.Decoder(News)

    @contextmanager
    def watch(self, which: Which) -> Iterator[Watcher]:
        """A watcher for the time of the block."""
        watcher = Watcher()
        self._watchers[which].add(watcher)
        named = isinstance(which, tuple)
        self._named += named
        try:
            yield watcher
        finally:
            self._named -= named
            self._watchers[which].discard(watcher)
            if not self._watchers[which]:
                del self._watchers[which]

    def tell(self, record: Record) -> None:
        """Wake those whom a record concerns."""
        if not self._watchers:
            return
        if not self._named:
            try:
                known = UUID((record.key or b"").decode("ascii")) in self._watchers
            except ValueError:
                return
            if not known:
                return
        try:
            news = self._decoder.decode(record.value or b"")
        except msgspec.DecodeError:
            return  # somebody else's
        for which in (news.order_id, (news.channel, news.submission_id)):
            for watcher in self._watchers.get(which, ()):
                watcher.wake(news.read_token)

    def wake_all(self) -> None:
        """Let everybody look: there may be news that nobody heard, or we are about to end."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.wake(None)

    async def run(self, brokers: KafkaAccess, topic: str) -> None:
        """Read a topic from its end until cancelled; begin anew after a failure."""
        while True:
            try:
                reader = await TopicReader.open(brokers, topic, start="end")
                try:
                    self.wake_all()
                    while True:
                        for records in (await reader.next(timeout_s=1.0)).values():
                            for record in records:
                                self.tell(record)
                finally:
                    await reader.close()
            except FloodwayError as error:
                logger.warning("news of %s: %s", topic, error)
            except Exception:
                logger.exception("news of %s", topic)
            await asyncio.sleep(AGAIN_S)


TOPICS = (DECIDED.name, CHANGED.name)
"""What is read."""
