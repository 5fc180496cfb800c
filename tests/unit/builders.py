"""What unit tests build with: messages, chunks, stores in memory, and trouble on the way to those stores."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeVar, cast
from uuid import UUID

import msgspec

from streams.clock import ManualClock
from streams.core.decode import Undecodable
from streams.core.intent import Intent, intent
from streams.core.stock import Promotion
from streams.errors import Unavailable
from streams.instants import to_datetime
from streams.intake.pipeline import Intake
from streams.messages import Decision, Line, OrderChanged, Report, ReportType, Submission
from streams.parts import Parts
from streams.receiving import receive
from streams.settings import Settings
from streams.stores.ledger_fake import FakeLedger
from streams.stores.log_fake import FakeLog
from streams.stores.stock_fake import FakeStock
from streams.topics import ALL, CHANGED, DECIDED, REPORTED, SUBMITTED

T = TypeVar("T")

NOW_MS = 1_790_000_000_000
NOW = to_datetime(NOW_MS)
PARTITIONS = 2
RETENTION_S = 7_200.0
SETTINGS = Settings(retry_max_delay_s=0.001, hold_ttl_s=1_800.0, dedupe_retention_s=RETENTION_S)

Lines = Sequence[tuple[str, int, int]]
Books = dict[tuple[str, str], tuple[int, int, int]]


def submission(
    submission_id: str = "s-1",
    *,
    lines: Lines = (("TEA", 2, 450),),
    channel: str = "web",
    buyer_id: str = "ann",
    promotion_id: str | None = None,
    submitted_at: datetime = NOW,
) -> Submission:
    """A submission of two TEA unless told otherwise."""
    made = tuple(Line(*line) for line in lines)
    return Submission(submission_id, channel, buyer_id, made, "EUR", submitted_at, promotion_id=promotion_id)


def intent_of(made: Submission, *, partition: int = 0, offset: int = 0) -> Intent:
    """A submission as if read from a record."""
    found = intent(made, None, partition, offset)
    assert not isinstance(found, Undecodable)
    return found


def report(
    order_id: UUID, event_id: str, kind: ReportType = ReportType.PAYMENT_SUCCEEDED, *, source: str = "pay"
) -> Report:
    """A payment, unless told otherwise."""
    return Report(event_id, source, kind, order_id, NOW + timedelta(minutes=5))


def promotion(
    name: str = "p1", quota: Sequence[tuple[str, int]] = (("TEA", 5),), *, limit: int = 0, hours: float = 1.0
) -> Promotion:
    """A promotion open from now on."""
    return Promotion(name, NOW_MS, NOW_MS + int(hours * 3_600_000), limit, tuple(quota))


@dataclass(frozen=True)
class FakeRecord:
    """One raw record."""

    offset: int
    value: bytes | None
    timestamp: int = NOW_MS
    key: bytes | None = b"key"
    headers: tuple[tuple[str, bytes | None], ...] = ()


class FakeChunk:
    """Records of one partition, which say when they were acknowledged."""

    def __init__(
        self, records: Sequence[FakeRecord], *, topic: str = SUBMITTED.name, partition: int = 0, trouble: Any = None
    ) -> None:
        self.topic, self.partition, self.records = topic, partition, records
        self.done = asyncio.Event()
        self._trouble: Trouble | None = trouble

    def acknowledge(self) -> bool:
        """Note it, and in which order with the calls to the stores."""
        if self._trouble is not None:
            self._trouble.calls.append("acknowledge")
        self.done.set()
        return True


def chunk(
    *messages: Submission | Report | bytes | None, partition: int = 0, first: int = 0, trouble: "Trouble | None" = None
) -> FakeChunk:
    """A chunk of messages at consecutive offsets; bytes stand as they are."""
    values = [m if m is None or isinstance(m, bytes) else msgspec.json.encode(m) for m in messages]
    records = [FakeRecord(first + i, value) for i, value in enumerate(values)]
    topic = REPORTED.name if any(isinstance(m, Report) for m in messages) else SUBMITTED.name
    return FakeChunk(records, topic=topic, partition=partition, trouble=trouble)


class Crash(Exception):
    """The process dies at this point. No error that anybody expects."""


class Hit(NamedTuple):
    """An error, and whether the call has done its work when it is met."""

    when: Literal["before", "after"]
    error: Exception


Plan = Callable[[int, str], Hit | None]


class Trouble:
    """Meets calls to the stores with errors: `plan` is asked with each call's number, from 1 on, and its name."""

    def __init__(self, plan: Plan = lambda number, name: None) -> None:
        self._plan = plan
        self.calls: list[str] = []

    async def meet(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """The result of a call, or the error planned for it."""
        self.calls.append(name)
        hit = self._plan(len(self.calls), name)
        if hit is None:
            return await call()
        if hit.when == "after":
            await call()
        raise hit.error


def at_call(number: int, when: Literal["before", "after"] = "before") -> Trouble:
    """A crash at the n-th call to any store."""
    return Trouble(lambda n, name: Hit(when, Crash(f"{when} call {n}, {name}")) if n == number else None)


def outages(
    names: Sequence[str],
    times: int = 2,
    when: Literal["before", "after"] = "before",
    error: type[Exception] = Unavailable,
) -> Trouble:
    """An outage of so many calls for each of the named ones."""
    left = dict.fromkeys(names, times)

    def plan(_: int, name: str) -> Hit | None:
        if left.get(name, 0) == 0:
            return None
        left[name] -= 1
        return Hit(when, error(f"{name} is down"))

    return Trouble(plan)


class _Troubled:
    """Stands before a store; its calls go by way of the trouble."""

    def __init__(self, name: str, store: object, trouble: Trouble) -> None:
        self._name, self._store, self._trouble = name, store, trouble

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._store, method)
        if not inspect.iscoroutinefunction(call):
            return call

        async def troubled(*args: Any, **named: Any) -> Any:
            return await self._trouble.meet(f"{self._name}.{method}", lambda: call(*args, **named))

        return troubled


def troubled(name: str, store: T, trouble: Trouble) -> T:
    """A store whose calls, noted as `name.method`, meet the trouble."""
    return cast("T", _Troubled(name, store, trouble))


@dataclass
class World:
    """Stores that outlive the processes working with them."""

    stock: FakeStock = field(default_factory=lambda: FakeStock(dedupe_retention_s=RETENTION_S))
    ledger: FakeLedger = field(default_factory=FakeLedger)
    log: FakeLog = field(default_factory=lambda: FakeLog({topic.name: PARTITIONS for topic in ALL}))
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_MS))

    def parts(self, trouble: Trouble | None = None, settings: Settings = SETTINGS) -> Parts:
        """What one process works with."""
        if trouble is None:
            return Parts(self.stock, self.ledger, self.log, self.clock, settings)
        return Parts(
            troubled("stock", self.stock, trouble),
            troubled("ledger", self.ledger, trouble),
            troubled("log", self.log, trouble),
            self.clock,
            settings,
        )

    def decisions(self) -> list[Decision]:
        """All that was announced, partition by partition."""
        return [msgspec.json.decode(value, type=Decision) for value in self.log.values(DECIDED.name)]

    def changes(self) -> list[OrderChanged]:
        """All changes announced, partition by partition; each order's in order."""
        return [msgspec.json.decode(value, type=OrderChanged) for value in self.log.values(CHANGED.name)]

    async def books(self) -> Books:
        """Free, held and sold by SKU and pool, without empty pools; asserts that stock and ledger say the same."""
        pools = {(p.sku, p.pool): (p.free, p.held, p.sold) async for p in self.stock.pools()}
        balances = {(b.sku, b.pool): (b.free, b.held, b.sold) async for b in self.ledger.balances()}
        pools, balances = _filled(pools), _filled(balances)
        assert pools == balances
        held: dict[tuple[str, str], int] = {}
        async for hold in self.stock.holds():
            for sku, units in hold.quantities:
                held[sku, hold.pool] = held.get((sku, hold.pool), 0) + units
        assert held == {place: held for place, (_, held, _) in pools.items() if held}
        return pools


def _filled(books: Books) -> Books:
    return {place: accounts for place, accounts in books.items() if any(accounts)}


async def world(shelf: Mapping[str, int] | None = None) -> World:
    """A new installation with goods on the shelf: ten TEA, unless told otherwise."""
    made = World()
    await made.stock.install_epoch(await made.ledger.issue_epoch("first"))
    await receive(made.parts(), "opening", ({"TEA": 10} if shelf is None else shelf).items())
    return made


async def take_in(parts: Parts, chunks: Sequence[FakeChunk]) -> BaseException | None:
    """Feed chunks to a new intake until all are acknowledged, or until it has ended; returns the error of that."""
    intake = Intake(parts)
    work = asyncio.create_task(intake.run())

    async def feed() -> None:
        for one in chunks:
            await intake.take(one)
        for one in chunks:
            await one.done.wait()

    feeding = asyncio.create_task(feed())
    await asyncio.wait({work, feeding}, return_when=asyncio.FIRST_COMPLETED)
    ended = work.exception() if work.done() else None
    work.cancel()
    feeding.cancel()
    _, fed = await asyncio.gather(work, feeding, return_exceptions=True)
    if isinstance(fed, Exception):
        raise fed
    return ended


async def accepted(made: World, *submissions: Submission) -> list[UUID]:
    """Take submissions in, expect all to be accepted, and return their order ids."""
    assert await take_in(made.parts(), [chunk(*submissions)]) is None
    stored = await made.ledger.lookup([(s.channel, s.submission_id) for s in submissions])
    assert all(decision.reason is None for decision in stored.values())
    return [stored[s.channel, s.submission_id].order_id for s in submissions]
