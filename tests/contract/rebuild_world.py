"""A shop's day on any stock and ledger, by the pipeline's own code; and all that a stock knows, in one shape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from redis.asyncio import Redis

from streams.clock import ManualClock
from streams.core.books import Action, Movement
from streams.core.stock import End, MoveResult, Promotion
from streams.errors import Refused, UnknownThing
from streams.guard import StockGuard
from streams.instants import to_datetime
from streams.intake.decode import decode
from streams.intake.persist import persist
from streams.intake.reserve import reserve
from streams.lifecycle import Lifecycle
from streams.messages import Line, Report, ReportType, Submission
from streams.parts import Parts
from streams.promotions import close_promotion, open_promotion
from streams.rebuild import ensure_stock
from streams.receiving import receive
from streams.settings import Settings
from streams.stores.ledger import Ledger
from streams.stores.log_fake import FakeLog
from streams.stores.stock import Stock
from streams.stores.stock_fake import FakeStock
from streams.stores.stock_redis import RedisStock
from streams.topics import ALL, REPORTED, SUBMITTED

TTL_S = 5.0
SETTINGS = Settings(retry_max_delay_s=0.001, hold_ttl_s=TTL_S, dedupe_retention_s=7_200.0)
RETENTION_S = SETTINGS.dedupe_retention_s
NOW_MS = 1_790_000_000_000

Known = dict[str, Any]


@dataclass(frozen=True)
class _Record:
    offset: int
    value: bytes
    timestamp: int = NOW_MS
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True)
class _Chunk:
    topic: str
    records: list[_Record]
    partition: int = 0

    def acknowledge(self) -> bool:
        return True


@dataclass
class Shop:
    """Goods, promotions, orders; every action is written to the ledger before the next."""

    stock: Stock
    ledger: Ledger
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_MS))
    order_ids: list[UUID] = field(default_factory=list)
    asked: list[Submission] = field(default_factory=list)
    events: int = 0

    def __post_init__(self) -> None:
        log = FakeLog({topic.name: 1 for topic in ALL})
        self.parts = Parts(self.stock, self.ledger, log, self.clock, SETTINGS)
        self.lifecycle = Lifecycle(self.parts)
        self.guard = StockGuard(self.ledger, max_delay_s=0.001)

    async def submit(self, *submissions: Submission) -> list[UUID]:
        """Decide some, durably; returns the order ids of all that were accepted so far, these at the end."""
        batch = decode(self._chunk(SUBMITTED.name, submissions))
        assert not batch.dead
        await reserve(batch, self.stock, self.guard, self.clock, hold_ttl_s=TTL_S)
        bounds: dict[str, Any] = {"hold_ttl_s": TTL_S, "max_delay_s": 0.001}
        await persist(batch, self.ledger, self.stock, self.guard, self.clock, **bounds)
        self.asked += submissions
        self.order_ids += [d.order_id for d in batch.decisions if d.lines and d.order_id not in self.order_ids]
        return self.order_ids

    async def report(self, kind: ReportType, *order_ids: UUID) -> None:
        """Payments or cancellations, each an event of its own."""
        reports = []
        for order_id in order_ids:
            self.events += 1
            reports.append(Report(f"e-{self.events}", "psp", kind, order_id, to_datetime(self.clock.now_ms())))
        await self.lifecycle.take(self._chunk(REPORTED.name, reports))

    async def expire(self, seconds: float) -> None:
        """Time goes by, and is up for some."""
        self.clock.advance(seconds)
        while await self.lifecycle.expire_due():
            pass

    async def receive(self, ref: str, *items: tuple[str, int]) -> None:
        """Goods come in; other goods under a reference that was used are refused."""
        try:
            await receive(self.parts, ref, items)
        except Refused:
            return

    async def move(self, ref: str, sku: str, source: str, target: str, qty: int) -> None:
        """Units change pools, and that is booked."""
        epoch = await self.ledger.epoch()
        assert epoch is not None
        try:
            moved = await self.stock.move(epoch, ref, sku, source, target, qty)
        except (Refused, UnknownThing):
            return
        if moved is MoveResult.MOVED:
            at = to_datetime(self.clock.now_ms())
            ways = ((source, -qty), (target, qty))
            try:
                await self.ledger.record_movements([Movement(ref, Action.MOVE, sku, p, n, 0, 0, at) for p, n in ways])
            except Refused:
                return  # the same reference again, which moved nothing this time

    async def open(self, name: str, limit: int, *quota: tuple[str, int]) -> None:
        """A promotion opens, if there is enough for it."""
        now_ms = self.clock.now_ms()
        try:
            await open_promotion(self.parts, Promotion(name, now_ms, now_ms + 3_600_000, limit, quota))
        except Refused:
            return

    async def close(self, name: str) -> None:
        """A promotion closes, if there is one."""
        try:
            await close_promotion(self.parts, name)
        except UnknownThing:
            return

    def submission(
        self, name: str, *lines: tuple[str, int], promotion: str | None = None, buyer: str = "ann"
    ) -> Submission:
        """A submission made now."""
        at = to_datetime(self.clock.now_ms()) - timedelta(milliseconds=7)
        made = tuple(Line(sku, qty, 100) for sku, qty in lines)
        return Submission(name, "web", buyer, made, "EUR", at, promotion_id=promotion)

    def _chunk(self, topic: str, messages: Sequence[Submission | Report]) -> _Chunk:
        self.events += len(messages)
        return _Chunk(topic, [_Record(self.events + n, msgspec.json.encode(m)) for n, m in enumerate(messages)])


async def begin(stock: Stock, ledger: Ledger) -> Shop:
    """A shop with goods and a promotion."""
    shop = Shop(stock, ledger)
    await ensure_stock(ledger, stock, shop.clock, retention_s=RETENTION_S, reason="first")
    await shop.receive("first", ("A", 12), ("B", 10), ("C", 0))
    await shop.open("p", 4, ("B", 4), ("A", 5))
    return shop


class Kind:
    """Stocks and an empty ledger, all in memory or all real."""

    def __init__(self, make: Callable[[], Stock], url: str | None, clear: Callable[[], Any]) -> None:
        self.make, self.url, self._clear = make, url, clear

    async def ledger(self) -> Ledger:
        """Empty, without an epoch."""
        found: Ledger = await self._clear()
        return found


async def known(stock: Stock, url: str | None = None) -> Known:
    """All that a stock knows: what its calls could ever read, whichever generation or batch it stands in."""
    if isinstance(stock, FakeStock):
        return _of_fake(stock)
    assert isinstance(stock, RedisStock)
    assert url is not None
    client = Redis.from_url(url, protocol=2)
    try:
        return await _of_redis(client, stock._prefix)
    finally:
        await client.aclose()


async def _of_redis(client: Redis, prefix: bytes) -> Known:
    names = ["free", "on_hand", "sold", "holds", "unsettled", "promos", "bought", "refs"]
    names += ["seen:0", "seen:1", "ended:0", "ended:1"]
    hashes: dict[str, Any] = {name: await client.hgetall(prefix + name.encode()) for name in names}
    for name in ("sold", "bought"):
        hashes[name] = {key: units for key, units in hashes[name].items() if units != b"0"}
    now, before = ("1", "0") if await client.hget(prefix + b"meta", "generation") == b"1" else ("0", "1")
    for name in ("seen", "ended"):
        hashes[name] = hashes.pop(f"{name}:{before}") | hashes.pop(f"{name}:{now}")
    # What was put back is booked or an open claim; of a booked one nobody asks again, an open one is done anew.
    hashes["ended"] = {key: value for key, value in hashes["ended"].items() if value not in (b"s", b"S")}
    # The script that closes a promotion packs its terms in a way of its own: what they say counts.
    hashes["promos"] = {key: msgspec.msgpack.decode(value) for key, value in hashes["promos"].items()}
    # A move that could not be is not booked, so nobody knows of it after a rebuild; it has moved nothing.
    hashes["refs"] = {key: value for key, value in hashes["refs"].items() if value != b"not_enough"}
    due = set()
    batches: Any = await client.zrange(prefix + b"due", 0, -1, withscores=True)
    for member, score in batches:
        for at in range(8, len(member), 16):
            if (hold := hashes["holds"].get(member[at : at + 16])) and hold[8:16] == member[:8]:
                assert int(score) == int.from_bytes(member[:8])
                due.add((int(score), member[at : at + 16]))
    assert len(due) == len(hashes["holds"]), "every live hold has its deadline"
    return {**hashes, "due": due}


def _of_fake(stock: FakeStock) -> Known:
    holds = {order_id: tuple(hold) for order_id, hold in stock._holds.items()}
    return {
        "free": dict(stock._free),
        "held": {place: units for place, units in stock._held.items() if units},
        "sold": {place: units for place, units in stock._sold.items() if units},
        "seen": stock._seen[1] | stock._seen[0],
        "ended": {
            order_id: ended if ended.end.value in "eE" else ended.end
            for order_id, ended in (stock._ended[1] | stock._ended[0]).items()
            if ended.end not in (End.RESTOCKED, End.RESTOCKED_TO_MAIN)
        },
        "holds": holds,
        "unsettled": dict(stock._unsettled),
        "promotions": dict(stock._promotions),
        "swept": dict(stock._swept),
        "bought": {owner: units for owner, units in stock._bought.items() if units},
        "received": set(stock._received),
        "moved": {ref: moved for ref, moved in stock._moved.items() if moved is MoveResult.MOVED},
    }
