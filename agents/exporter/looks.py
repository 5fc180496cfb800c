"""What the exporter knows: the newest look at each source, taken again and again, forgotten when a source is away."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time

from agents.bootstrap import close, connect, connect_ledger, connect_stock
from agents.exporter.scraping import Scraper, Told
from agents.exporter.settings import ExporterSettings
from agents.exporter.shelves import Shelf, add_up
from agents.roles import READS, group
from streams.agreement import agreed_epoch
from streams.errors import Fenced, FloodwayError
from streams.settings import Settings
from streams.stocktake import take_stock
from streams.stores.kafka_access import access
from streams.stores.ledger_postgres import PostgresLedger
from streams.stores.outside_kafka import Followed, Lags, LagWatch
from streams.stores.outside_postgres import LedgerLook, LedgerWatch
from streams.stores.outside_redis import StockLook, StockWatch
from streams.stores.review_kafka import DECIDED_GROUP
from streams.stores.stock_redis import RedisStock
from streams.topics import REPORTED_DLQ, REVIEW, SUBMITTED_DLQ

REVIEWED: Followed = (DECIDED_GROUP, REVIEW.name)
LETTERS = (SUBMITTED_DLQ.name, REPORTED_DLQ.name)
RATE_S = 15.0
"""Rates are those of so many seconds."""

logger = logging.getLogger(__name__)


FOLLOWED: tuple[Followed, ...] = (
    *((group(role), topic) for role, topics in READS.items() for topic in topics),
    REVIEWED,
)


@dataclass(slots=True)
class Rate:
    """How fast a count grows, over the last looks."""

    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, at_s: float, count: int) -> None:
        """Take a count in."""
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()  # offsets were put back, or the topic is new
        self._seen.append((at_s, count))
        while len(self._seen) > 2 and self._seen[0][0] < at_s - RATE_S:
            self._seen.popleft()

    @property
    def per_s(self) -> float:
        """Of the time looked at; 0 before the second look."""
        (from_s, first), (to_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (to_s - from_s) if to_s > from_s else 0.0


@dataclass(slots=True)
class Epochs:
    """What both stores carry, and whether orders can be decided."""

    stock: int | None
    ledger: int | None
    agree: bool


@dataclass(slots=True)
class Books:
    """The last stocktake: differences by kind, and when it ended."""

    differences: dict[str, int]
    at_s: float


class Looks:
    """Looks at everything, each source in its own time, until `close`. What could not be looked at is None."""

    def __init__(self, settings: Settings, exporter: ExporterSettings, status_dir: Path) -> None:
        self._settings, self._exporter = settings, exporter
        self._lag_watch = LagWatch(access(settings), FOLLOWED, LETTERS)
        self._stock_watch = StockWatch.connect(settings.redis_url, timeout_s=exporter.timeout_s)
        self._scraper = Scraper(exporter.targets(), status_dir, exporter.timeout_s)
        self._ledger_watch: LedgerWatch | None = None
        self._stock: RedisStock | None = None
        self._ledger: PostgresLedger | None = None
        self._cpu: tuple[float, float] | None = None
        self.timeout_s = exporter.timeout_s
        self.up: dict[str, bool] = {}
        self.looked_at_s = monotonic()
        self.lags: Lags | None = None
        self.lags_at_s = 0.0
        self.arriving: dict[str, Rate] = {}
        self.committing: dict[Followed, Rate] = {}
        self.moved_at_s: dict[Followed, tuple[int, float]] = {}
        self.stock: StockLook | None = None
        self.redis_cpu_ratio: float | None = None
        self.ledger: LedgerLook | None = None
        self.epochs: Epochs | None = None
        self.shelves: list[Shelf] | None = None
        self.books: Books | None = None
        self.workers: list[Told] = []
        self.stage_s: dict[str, float] = {}

    async def connect(self) -> None:
        """Make what connects when it first looks."""
        settings, timeout_s = self._settings, self._exporter.timeout_s
        self._ledger_watch = await LedgerWatch.connect(
            settings.postgres_dsn, settings.postgres_replica_dsn, timeout_s=timeout_s
        )
        self._ledger = await connect_ledger(settings, at_once=False)
        self._stock = await connect_stock(settings)

    async def run(self, after_look: Callable[[], object]) -> None:
        """Look until cancelled; `after_look` is called whenever lag, stores and workers were looked at."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._often(after_look), name="often")
            stock_s, books_s = self._exporter.stock_interval_s, self._exporter.books_interval_s
            tasks.create_task(self._again("shelves", self._look_at_shelves, stock_s), name="shelves")
            tasks.create_task(self._again("books", self._look_at_books, books_s), name="books")

    async def close(self) -> None:
        """Give connections back."""
        for one in (self._lag_watch, self._stock_watch, self._ledger_watch, self._ledger, self._stock):
            if one is not None:
                await one.close()

    async def _often(self, after_look: Callable[[], object]) -> None:
        while True:
            due = monotonic() + self._exporter.interval_s
            await asyncio.gather(
                self._try("kafka", self._look_at_kafka, "lags"),
                self._try("redis", self._look_at_redis, "stock", "redis_cpu_ratio"),
                self._try("postgres", self._look_at_postgres, "ledger"),
                self._look_at_workers(),
            )
            await self._try("epoch", self._look_at_epochs, "epochs")
            self.looked_at_s = monotonic()
            after_look()
            await asyncio.sleep(max(0.1, due - monotonic()))

    async def _again(self, what: str, look: Callable[[], Awaitable[None]], interval_s: float) -> None:
        while True:
            await self._try(what, look, what)
            await asyncio.sleep(interval_s)

    async def _try(self, source: str, look: Callable[[], Awaitable[None]], *forgotten: str) -> None:
        """Look; a source that does not answer is down, and what it had told is forgotten."""
        was_up = self.up.get(source, True)
        try:
            await look()
            self.up[source] = True
        except (FloodwayError, TimeoutError) as error:
            self.up[source] = False
            for name in forgotten:
                setattr(self, name, None)
            if was_up:
                logger.warning("%s: %s", source, error or "did not answer in time")

    async def _look_at_kafka(self) -> None:
        lags = await self._lag_watch.look()
        now_s = monotonic()
        for key, places in lags.groups.items():
            committed = sum(place.read_to for place in places.values())
            self.committing.setdefault(key, Rate()).add(now_s, committed)
            self.arriving.setdefault(key[1], Rate()).add(now_s, sum(place.end for place in places.values()))
            before, since_s = self.moved_at_s.get(key, (-1, now_s))
            if before != committed or not any(place.lag for place in places.values()):
                since_s = now_s
            self.moved_at_s[key] = committed, since_s
        self.lags, self.lags_at_s = lags, time()

    async def _look_at_redis(self) -> None:
        look, now_s = await self._stock_watch.look(), monotonic()
        self.redis_cpu_ratio = None
        if self._cpu is not None and look.cpu_s >= self._cpu[1]:
            self.redis_cpu_ratio = (look.cpu_s - self._cpu[1]) / max(0.001, now_s - self._cpu[0])
        self._cpu = now_s, look.cpu_s
        self.stock = look

    async def _look_at_postgres(self) -> None:
        assert self._ledger_watch is not None
        async with asyncio.timeout(2 * self._exporter.timeout_s):
            self.ledger = await self._ledger_watch.look()

    async def _look_at_workers(self) -> None:
        self.workers = await self._scraper.look()
        self.stage_s = self._scraper.stage_s(self.workers)

    async def _look_at_epochs(self) -> None:
        if not (self.up.get("redis") and self.up.get("postgres")):
            self.epochs = None
            return
        assert self._stock is not None
        assert self._ledger is not None
        async with asyncio.timeout(2 * self._exporter.timeout_s):
            agreed = await agreed_epoch(self._ledger, self._stock)
            self.epochs = Epochs(await self._stock.epoch(), await self._ledger.epoch(), agreed is not None)

    async def _look_at_shelves(self) -> None:
        assert self._stock is not None
        self.shelves = await add_up(self._stock, self._exporter.low_units)

    async def _look_at_books(self) -> None:
        parts = await connect(self._settings)
        try:
            found = await take_stock(parts)
        except Fenced:
            return  # rebuilt meanwhile: the epochs tell of it
        finally:
            await close(parts)
        kinds = dict.fromkeys(("pool", "lost_hold", "leaked_hold"), 0)
        for difference in found.differences:
            kinds[difference.kind] += 1
        self.books = Books(kinds, time())
