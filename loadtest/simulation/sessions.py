"""What processes keep open at the ledger: the right to rebuild the stock, and snapshots.

Both live in a session of the server's. The lock goes with its session: when the process closes it, when it dies, and
when the server loses it, which the process does not notice.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from loadtest.simulation.loop import SimulatedProcess
from loadtest.simulation.network import listed, run_at_once
from streams.core.books import Balance
from streams.core.memory import KeptDecision, KeptEnd, KeptHold, KeptPromotion, KeptRef, KeptUnits
from streams.stores.ledger import Ledger, Snapshot

T = TypeVar("T")


class Call(Protocol):
    """One call to the ledger, over the network; with `connected`, on a connection that stands."""

    def __call__(self, method: str, serve: Callable[[], T], *, connected: bool = False) -> Awaitable[T]:
        """What `serve` returns."""


@dataclass(slots=True, eq=False)
class _Session:
    process: SimulatedProcess
    lock: AbstractAsyncContextManager[bool]
    closed: bool = False


class RebuildLock:
    """The ledger's own lock, held by sessions."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._holder: _Session | None = None

    @property
    def held(self) -> bool:
        """Whether a living process has it."""
        return self._holder is not None and self._holder.process.alive

    def lose(self) -> None:
        """The server has lost the holder's session; the holder goes on as if it had not."""
        if self._holder is not None:
            run_at_once(self._holder.lock.__aexit__(None, None, None))
            self._holder = None

    @asynccontextmanager
    async def session(self, process: SimulatedProcess, call: Call) -> AsyncIterator[bool]:
        """See `Ledger.rebuilding`."""
        session = _Session(process, self._ledger.rebuilding())
        try:
            yield await call("rebuilding", lambda: self._take(session))
        finally:
            session.closed = True  # what was sent and comes late finds nobody
            if self._holder is session:
                self.lose()

    def _take(self, session: _Session) -> bool:
        if not self.held:
            self.lose()
        if session.closed:
            return False
        mine = run_at_once(session.lock.__aenter__())
        if mine:
            self._holder = session
        else:
            run_at_once(session.lock.__aexit__(None, None, None))
        return mine


@asynccontextmanager
async def snapshot(ledger: Ledger, call: Call) -> AsyncIterator[Snapshot]:
    """See `Ledger.snapshot`: the moment is that at which the server hears of it."""
    yield _RemoteSnapshot(await call("snapshot", lambda: run_at_once(ledger.snapshot().__aenter__())), call)


class _RemoteSnapshot(Snapshot):
    """Page by page over the network."""

    def __init__(self, books: Snapshot, call: Call) -> None:
        self._books, self._call = books, call

    async def promotions(self) -> list[KeptPromotion]:
        return await self._call("snapshot.promotions", lambda: run_at_once(self._books.promotions()), connected=True)

    def balances(self) -> AsyncIterator[list[Balance]]:
        return self._pages("balances", self._books.balances())

    def bought(self) -> AsyncIterator[list[KeptUnits]]:
        return self._pages("bought", self._books.bought())

    def holds(self) -> AsyncIterator[list[KeptHold]]:
        return self._pages("holds", self._books.holds())

    def decisions(self, since_ms: int) -> AsyncIterator[list[KeptDecision]]:
        return self._pages("decisions", self._books.decisions(since_ms))

    def ends(self, since_ms: int) -> AsyncIterator[list[KeptEnd]]:
        return self._pages("ends", self._books.ends(since_ms))

    def refs(self) -> AsyncIterator[list[KeptRef]]:
        return self._pages("refs", self._books.refs())

    async def _pages(self, name: str, found: AsyncIterator[Any]) -> AsyncIterator[Any]:
        for page in listed(found):
            yield await self._call(f"snapshot.{name}", lambda page=page: page, connected=True)  # type: ignore[misc]
