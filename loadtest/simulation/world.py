"""The servers of one run, and the way to them: stores in memory that outlive the processes, each behind the network."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from loadtest.simulation.brief import Brief
from loadtest.simulation.kafka import Topic
from loadtest.simulation.loop import SimulatedLoop, SimulatedProcess
from loadtest.simulation.network import Network, listed, run_at_once
from loadtest.simulation.plan import Plan
from loadtest.simulation.sessions import RebuildLock, snapshot
from loadtest.simulation.trace import Trace
from streams.breakers import Breakers, guarded
from streams.core.books import Balance
from streams.errors import LedgerUnavailable, LogUnavailable, StockUnavailable, Unavailable
from streams.parts import Parts
from streams.rebuild import ensure_stock
from streams.settings import Settings
from streams.stores.ledger import Ledger, Snapshot
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
SCARCE_SHELF = {"HOT": 5, "TEA": 12, "CUP": 4}
"""What was received at the beginning."""


_DULL = frozenset({"carried", "epoch", "installation", "partitions"})
"""Calls that say little in a trace."""

_OF_REBUILDS = frozenset({"issue_epoch", "begin_rebuild", "refill", "install_epoch"})


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
    """What outlives every process. `stock` is what answers now; another may by and by."""

    def __init__(self, loop: SimulatedLoop, network: Network, plan: Plan, trace: Trace) -> None:
        self.loop, self.network, self.plan, self.trace = loop, network, plan, trace
        self.clock = SimulatedClock(loop)
        self.ledger = FakeLedger()
        self.rebuild_lock = RebuildLock(self.ledger)
        self.log = FakeLog({topic.name: plan.partitions for topic in ALL})
        self.review = FakeReview(self.log)
        self.on_rebuild: Callable[[SimulatedProcess, str], None] = lambda _process, _step: None
        """Told of each step of a rebuild that has been served; "begins" comes before the stock is emptied."""
        self.on_act: Callable[[SimulatedProcess, str], None] = lambda _process, _method: None
        """Told what the stock has done for a process, which it has yet to book."""
        self.stock = FakeStock(dedupe_retention_s=plan.retention_s)
        self.cut_off: dict[str, FakeStock] = {}
        """What single processes, by name, take for the stock: primaries of before, on their side of the network."""
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

    def stock_is_sound(self) -> bool:
        """Whether the stock that answers now is the one that the ledger goes by."""
        carried = run_at_once(self.stock.carried())
        return not carried.restarted and carried.epoch == run_at_once(self.ledger.epoch())

    def stock_is_outdated(self) -> bool:
        """Whether it carries an epoch before the ledger's, and would answer whoever still goes by that."""
        carried = run_at_once(self.stock.carried())
        return not carried.restarted and carried.epoch is not None and not self.stock_is_sound()

    def stock_for(self, process: SimulatedProcess) -> FakeStock:
        """The stock that answers a process."""
        return self.cut_off.get(process.name, self.stock)

    def stores(self, process: SimulatedProcess, watcher: Watcher) -> tuple[Stock, Ledger, Log]:
        """The stores as one process sees them."""
        remote = Remote(self, process, watcher)
        return (
            cast("Stock", _RemoteStore(remote, "stock", lambda: self.stock_for(process), StockUnavailable)),
            cast("Ledger", _RemoteLedger(remote, "ledger", lambda: self.ledger, LedgerUnavailable)),
            cast("Log", _RemoteLog(remote, "log", lambda: self.log, LogUnavailable)),
        )

    def parts(self, process: SimulatedProcess, watcher: Watcher, skew_ms: int = 0) -> Parts:
        """What one process works with, wired as `agents.bootstrap` does it."""
        stock, ledger, log = self.stores(process, watcher)
        breakers = Breakers.of(self.settings, now_s=self.loop.time)
        stock, ledger, log = (
            guarded(stock, breakers.stock),
            guarded(ledger, breakers.ledger),
            guarded(log, breakers.log),
        )
        clock = SimulatedClock(self.loop, skew_ms)
        recover = partial(ensure_stock, ledger, stock, clock, retention_s=self.plan.retention_s, reason="lost")
        return Parts(stock, ledger, log, clock, self.settings, recover, breakers)


class Remote:
    """Carries one process' calls to the servers."""

    def __init__(self, world: World, process: SimulatedProcess, watcher: Watcher) -> None:
        self.world, self.process = world, process
        self._network, self._watcher, self._trace = world.network, watcher, world.trace

    def method(
        self, store: str, server: Callable[[], object], method: str, error: type[Unavailable]
    ) -> Callable[..., Awaitable[Any]]:
        """A method of a store, called over the network."""
        noted = method not in _DULL

        async def call(*args: Any, **named: Any) -> Any:
            def serve(unheard: bool) -> Any:
                given = _cut(args) if unheard and method == "append" else args
                asked = server()
                if method == "begin_rebuild" and asked is self.world.stock:
                    self.world.on_rebuild(self.process, "begins")
                result = run_at_once(getattr(asked, method)(*given, **named))
                if noted:
                    self._trace.note(self.process.name, f"{store}.{method}", Brief(method, given, named, result))
                if store == "stock" and asked is not self.world.stock:
                    self._watcher.served("stock of before", method, given, result)
                    return result
                self._watcher.served(store, method, given, result)
                if method in _OF_REBUILDS:
                    self.world.on_rebuild(self.process, method)
                elif store == "stock" and (result or method == "open_promotion"):
                    self.world.on_act(self.process, method)
                return result

            return await self._network.call(self.process, store, method, serve, error)

        return call

    def ask_ledger(self, method: str, serve: Callable[[], T], *, connected: bool = False) -> Awaitable[T]:
        """See `sessions.Call`."""

        def served(_: bool) -> T:
            result = serve()
            self._trace.note(self.process.name, f"ledger.{method}")
            self.world.on_rebuild(self.process, method)
            return result

        return self._network.call(self.process, "ledger", method, served, LedgerUnavailable, connected=connected)


class _RemoteStore:
    """A store's methods by name, each a call over the network."""

    def __init__(self, remote: Remote, name: str, server: Callable[[], object], error: type[Unavailable]) -> None:
        self._remote, self._name, self._server, self._error = remote, name, server, error

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        made = self._remote.method(self._name, self._server, method, self._error)
        setattr(self, method, made)
        return made


class _RemoteLog(_RemoteStore):
    """The log. As a client of Kafka does, it asks for a topic's partitions once and remembers them."""

    def __init__(self, remote: Remote, name: str, server: Callable[[], object], error: type[Unavailable]) -> None:
        super().__init__(remote, name, server, error)
        self._counts: dict[str, int] = {}

    async def partitions(self, topic: str) -> int:
        if topic not in self._counts:
            ask = self._remote.method(self._name, self._server, "partitions", self._error)
            self._counts[topic] = await ask(topic)
        return self._counts[topic]


class _RemoteLedger(_RemoteStore):
    """The ledger, with what is more than a call."""

    async def balances(self, skus: Sequence[str] | None = None) -> AsyncIterator[Balance]:
        books = self._remote.world.ledger
        for balance in await self._remote.ask_ledger("balances", lambda: listed(books.balances(skus))):
            yield balance

    def rebuilding(self) -> AbstractAsyncContextManager[bool]:
        remote = self._remote
        return remote.world.rebuild_lock.session(remote.process, remote.ask_ledger)

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        return snapshot(self._remote.world.ledger, self._remote.ask_ledger)


def _cut(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """An append that breaks off in the middle leaves its first half: a broker takes what arrives."""
    topic, partition, entries = args
    kept: list[Entry] = list(entries)[: (len(entries) + 1) // 2]
    return topic, partition, kept
