"""The stages of intake, called one by one on ready batches, with stores that only record what they were asked.

The one place where measurements touch the stages: they are called as the pipeline calls them, and what a stage hands
to its store is taken from the store, so what lies between may change.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from loadtest.bench.orders import Order
from streams.chunks import Chunk
from streams.clock import SystemClock
from streams.core.books import Booking, Persisted, StoredDecision
from streams.core.identity import SubmissionKey
from streams.core.stock import Code, Reservation, Verdict
from streams.guard import StockGuard
from streams.intake.announce import announce
from streams.intake.batch import Batch
from streams.intake.decode import decode
from streams.intake.persist import persist
from streams.intake.reserve import reserve
from streams.stores.ledger import Ledger
from streams.stores.ledger_copy import copy_of
from streams.stores.log import Entry, Log
from streams.stores.stock import Stock
from streams.topics import SUBMITTED

HOLD_TTL_S = 1_800.0
MAX_DELAY_S = 1.0


class RawRecord(NamedTuple):
    """One record as the consumer gives it."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(slots=True)
class RawChunk:
    """Records of one partition that count how often they were acknowledged."""

    partition: int
    records: Sequence[RawRecord]
    topic: str = SUBMITTED.name
    acknowledged: int = 0

    def acknowledge(self) -> bool:
        """Count it."""
        self.acknowledged += 1
        return True


class RecordingStock:
    """Accepts every order at once, as an endless stock would."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Reservation]] = []

    async def reserve(
        self, epoch: int, batch: Sequence[Reservation], *, now_ms: int, held_until_ms: int
    ) -> list[Verdict]:
        """See `Stock`."""
        self.asked.append(batch)
        return [Verdict(Code.ACCEPTED, False, False, r.order_id, now_ms, held_until_ms) for r in batch]


class RecordingLedger:
    """Remembers what it was given, and knows of nothing."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Booking]] = []

    async def epoch(self) -> int:
        """See `Ledger`."""
        return 1

    async def persist(self, batch: Sequence[Booking], epoch: int) -> Persisted:
        """See `Ledger`."""
        self.asked.append(batch)
        return Persisted("0/16B3748", {})

    async def lookup(self, keys: Sequence[SubmissionKey]) -> dict[SubmissionKey, StoredDecision]:
        """See `Ledger`."""
        return {}


class RecordingLog:
    """Keeps entries in memory."""

    def __init__(self, partitions: int = 12) -> None:
        self._partitions = partitions
        self.asked: list[Sequence[Entry]] = []

    async def append(self, topic: str, partition: int, entries: Sequence[Entry]) -> None:
        """See `Log`."""
        self.asked.append(entries)

    async def partitions(self, topic: str) -> int:
        """See `Log`."""
        return self._partitions


@dataclass(slots=True)
class Stages:
    """The stages with their stores; those not given only record."""

    stock: RecordingStock | Stock = field(default_factory=RecordingStock)
    ledger: RecordingLedger | Ledger = field(default_factory=RecordingLedger)
    log: RecordingLog | Log = field(default_factory=RecordingLog)
    clock: SystemClock = field(default_factory=SystemClock)
    _kept: StockGuard | None = None

    async def reserve(self, batch: Batch) -> None:
        """Stage two."""
        await reserve(batch, cast("Stock", self.stock), self._guard(), self.clock, hold_ttl_s=HOLD_TTL_S)

    async def persist(self, batch: Batch) -> None:
        """Stage three."""
        ledger, stock = cast("Ledger", self.ledger), cast("Stock", self.stock)
        await persist(batch, ledger, stock, self._guard(), self.clock, hold_ttl_s=HOLD_TTL_S, max_delay_s=MAX_DELAY_S)

    async def announce(self, batch: Batch) -> None:
        """Stage four."""
        await announce(batch, cast("Log", self.log), self.clock, max_delay_s=MAX_DELAY_S)

    def _guard(self) -> StockGuard:
        if self._kept is None:
            self._kept = StockGuard(cast("Ledger", self.ledger), max_delay_s=MAX_DELAY_S)
        return self._kept


def chunks(orders: Sequence[Order], size: int, *, partitions: int = 12) -> list[RawChunk]:
    """The orders as chunks of at most `size` records, of one partition after the other."""
    now_ms = SystemClock().now_ms()
    return [
        RawChunk(
            (first // size) % partitions,
            [RawRecord(first + i, now_ms, o.key, o.value) for i, o in enumerate(orders[first : first + size])],
        )
        for first in range(0, len(orders), size)
    ]


def decoded(orders: Sequence[Order], size: int) -> list[Batch]:
    """The orders as batches that have passed stage one."""
    made = [decode(cast("Chunk", chunk)) for chunk in chunks(orders, size)]
    assert not any(batch.dead for batch in made), "an order of ours is no valid submission"
    return made


async def reservations(orders: Sequence[Order], size: int) -> list[Sequence[Reservation]]:
    """What stage two asks of the stock for these orders, batch by batch."""
    stock = RecordingStock()
    for batch in decoded(orders, size):
        await Stages(stock=stock).reserve(batch)
    return stock.asked


async def bookings(orders: Sequence[Order], size: int) -> list[Sequence[Booking]]:
    """What stage three asks of the ledger for these orders, all accepted, batch by batch."""
    stages = Stages(ledger=(ledger := RecordingLedger()))
    for batch in decoded(orders, size):
        await stages.reserve(batch)
        await stages.persist(batch)
    return ledger.asked


async def answered(orders: Sequence[Order], size: int) -> list[Batch]:
    """The orders as batches that have passed stage three, all accepted."""
    stages, made = Stages(), decoded(orders, size)
    for batch in made:
        await stages.reserve(batch)
        await stages.persist(batch)
    return made


def copied(batch: Sequence[Booking]) -> int:
    """Pack the bookings as the ledger copies them into its tables; returns the bytes."""
    return len(copy_of(batch))
