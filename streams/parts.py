"""What the running pipeline works with; made in one place, `agents.bootstrap`, or from fakes in tests."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from streams.breakers import Breakers
from streams.clock import Clock
from streams.settings import Settings
from streams.stores.ledger import Ledger
from streams.stores.log import Log
from streams.stores.stock import Stock


@dataclass(frozen=True, slots=True)
class Parts:
    """The stores, the clock and the settings; `recover` rebuilds a lost stock, None leaves that to people.

    `breakers` are those around the stores, None where there are none.
    """

    stock: Stock
    ledger: Ledger
    log: Log
    clock: Clock
    settings: Settings
    recover: Callable[[], Awaitable[object]] | None = None
    breakers: Breakers | None = None

    async def let_in(self) -> None:
        """Wait while a breaker is open: nothing new should be begun then."""
        if self.breakers is not None:
            await self.breakers.let_in()
