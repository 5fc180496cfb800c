"""Calls to the stock with the right epoch, tried again until they go through.

When the stock carries another epoch than ours, either the ledger has issued a new one meanwhile (then it is read
again) or the stock was lost: then nothing is decided, orders wait in Kafka, and we ask again until it was rebuilt.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from streams.errors import Fenced
from streams.retry import until_available
from streams.stores.ledger import Ledger

T = TypeVar("T")

logger = logging.getLogger(__name__)


class StockGuard:
    """Keeps the epoch. One for each process."""

    def __init__(self, ledger: Ledger, *, max_delay_s: float) -> None:
        self._ledger = ledger
        self._max_delay_s = max_delay_s
        self._epoch: int | None = None

    async def call(self, what: str, call: Callable[[int], Awaitable[T]]) -> T:
        """The result of `call(epoch)`. Waits as long as the stock is unavailable or carries another epoch."""
        while True:
            epoch = await self._current()
            try:
                return await until_available(what, partial(call, epoch), max_delay_s=self._max_delay_s)
            except Fenced as error:
                logger.error("%s: %s", what, error)
                self._epoch = None
                await asyncio.sleep(self._max_delay_s)

    async def _current(self) -> int:
        while self._epoch is None:
            self._epoch = await until_available("epoch", self._ledger.epoch, max_delay_s=self._max_delay_s)
            if self._epoch is None:
                logger.error("The ledger has issued no epoch yet; run `floodway init`.")
                await asyncio.sleep(self._max_delay_s)
        return self._epoch
