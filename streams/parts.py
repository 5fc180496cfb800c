"""What the running pipeline works with; made in one place, `agents.bootstrap`, or from fakes in tests."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from streams.clock import Clock
from streams.settings import Settings
from streams.stores.ledger import Ledger
from streams.stores.log import Log
from streams.stores.stock import Stock


@dataclass(frozen=True, slots=True)
class Parts:
    """The stores, the clock and the settings; `recover` rebuilds a lost stock, None leaves that to people."""

    stock: Stock
    ledger: Ledger
    log: Log
    clock: Clock
    settings: Settings
    recover: Callable[[], Awaitable[object]] | None = None
