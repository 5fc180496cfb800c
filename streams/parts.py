"""What the running pipeline works with; made in one place, `agents.bootstrap`, or from fakes in tests."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from streams.breakers import Breakers
from streams.clock import Clock
from streams.errors import Unavailable
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

    async def ask_when_idle(self) -> NoReturn:
        """Ask Redis and Postgres now and then whether they are back, where no work does: else nobody would know."""
        assert self.breakers is not None
        calls = (self.breakers.stock, self.stock.epoch), (self.breakers.ledger, self.ledger.epoch)
        while True:
            await asyncio.sleep(self.settings.breaker_open_s)
            for breaker, call in calls:
                if breaker.forgotten:
                    with suppress(Unavailable):
                        await call()
