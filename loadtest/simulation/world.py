"""The servers of one run, and the way to them: stores in memory that outlive the processes, each behind the network."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

from loadtest.simulation.brief import Brief
from loadtest.simulation.kafka import Topic
from loadtest.simulation.loop import SimulatedLoop, SimulatedProcess
from loadtest.simulation.network import Network, run_at_once
from loadtest.simulation.plan import Plan
from loadtest.simulation.trace import Trace
from streams.breakers import Breakers, guarded
from streams.errors import LedgerUnavailable, LogUnavailable, StockUnavailable, Unavailable
from streams.parts import Parts
from streams.settings import Settings
from streams.stores.ledger import Ledger
from streams.stores.ledger_fake import FakeLedger
from streams.stores.log import Entry, Log
from streams.stores.log_fake import FakeLog
from streams.stores.review_fake import FakeReview
from streams.stores.stock import Stock
from streams.stores.stock_fake import FakeStock
from streams.topics import ALL, REPORTED, SUBMITTED

T = TypeVar("T")

NOW_MS = 1_790_000_000_000
"""When a run begins."""

SHELF = {"HOT": 5, "TEA": 40, "CUP": 12}
"""What was received at the beginning."""


_DULL = frozenset({"epoch", "partitions"})
"""Calls that say little in a trace."""


class SimulatedClock:
    """One process' clock: the virtual time, and how far it is off."""

    def __init__(self, loop: SimulatedLoop, skew_ms: int = 0) -> None:
        self._loop, self._offset_ms = loop, NOW_MS + skew_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._offset_ms + int(self._loop.time() * 1000)


class Watcher(Protocol):
    """Looks on while servers work."""

    def served(self, store: str, method: str, args: tuple[Any, ...], result: Any) -> None:
        """A call has just been served, and nothing else since."""


class World:
    """What outlives every process. `stock` is what answers now, `true_stock` what has the data."""

    def __init__(self, loop: SimulatedLoop, network: Network, plan: Plan, trace: Trace) -> None:
        self.loop, self.network, self.plan, self.trace = loop, network, plan, trace
        self.clock = SimulatedClock(loop)
        self.ledger = FakeLedger()
        self.log = FakeLog({topic.name: plan.partitions for topic in ALL})
        self.review = FakeReview(self.log)
        self.true_stock = FakeStock(dedupe_retention_s=plan.retention_s)
        self.stock: FakeStock = self.true_stock
        self.submitted = Topic(SUBMITTED.name, [[] for _ in range(plan.partitions)])
        self.reported = Topic(REPORTED.name, [[] for _ in range(plan.partitions)])
        self.settings = Settings(
            retry_max_delay_s=0.5,
            hold_ttl_s=plan.hold_ttl_s,
            dedupe_retention_s=plan.retention_s,
            chunk_max_records=plan.chunk_max,
            batch_max_orders=plan.batch_max,
            expiry_batch=4,
            breaker_slow_s=1.0,
            breaker_open_s=1.0,
            review_after_s=plan.patience_s,
        )

    def parts(self, process: SimulatedProcess, watcher: Watcher, skew_ms: int = 0) -> Parts:
        """What one process works with."""
        remote = _Remote(self.network, process, watcher, self.trace)
        breakers = Breakers.of(self.settings, now_s=self.loop.time)
        return Parts(
            guarded(cast("Stock", remote.store("stock", lambda: self.stock, StockUnavailable)), breakers.stock),
            guarded(cast("Ledger", remote.store("ledger", lambda: self.ledger, LedgerUnavailable)), breakers.ledger),
            guarded(cast("Log", remote.store("log", lambda: self.log, LogUnavailable)), breakers.log),
            SimulatedClock(self.loop, skew_ms),
            self.settings,
            breakers=breakers,
        )


class _Remote:
    """Makes the stores that one process sees."""

    def __init__(self, network: Network, process: SimulatedProcess, watcher: Watcher, trace: Trace) -> None:
        self._network, self._process, self._watcher, self._trace = network, process, watcher, trace

    def store(self, name: str, server: Callable[[], object], error: type[Unavailable]) -> "_RemoteStore":
        return _RemoteStore(self, name, server, error)

    def method(
        self, store: str, server: Callable[[], object], method: str, error: type[Unavailable]
    ) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **named: Any) -> Any:
            def serve(unheard: bool) -> Any:
                given = _cut(args) if unheard and method == "append" else args
                result = run_at_once(getattr(server(), method)(*given, **named))
                if method not in _DULL:
                    self._trace.note(self._process.name, f"{store}.{method}", Brief(method, given, named, result))
                self._watcher.served(store, method, given, result)
                return result

            return await self._network.call(self._process, store, method, serve, error)

        return call


class _RemoteStore:
    """A store's methods by name, each a call over the network."""

    def __init__(self, remote: _Remote, name: str, server: Callable[[], object], error: type[Unavailable]) -> None:
        self._remote, self._name, self._server, self._error = remote, name, server, error

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        made = self._remote.method(self._name, self._server, method, self._error)
        setattr(self, method, made)
        return made


def _cut(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """An append that breaks off in the middle leaves its first half: a broker takes what arrives."""
    topic, partition, entries = args
    kept: list[Entry] = list(entries)[: (len(entries) + 1) // 2]
    return topic, partition, kept


def listed(found: AsyncIterator[T]) -> list[T]:
    """All that a fake store streams, at once."""

    async def collect() -> list[T]:
        return [one async for one in found]

    return run_at_once(collect())
