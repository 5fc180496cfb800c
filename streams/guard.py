"""Calls under the right epoch, tried again until they go through.

`Fenced` says that the stock that a process goes by is no more: either the ledger has issued a new epoch meanwhile (then
that is read), or the stock has lost its memory and is rebuilt. Nothing is decided until then; orders wait in Kafka.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from streams.agreement import is_foreign
from streams.errors import Fenced
from streams.retry import until_available
from streams.stores.ledger import Ledger
from streams.stores.stock import Stock
from streams.stores.stock_checks import fenced
from streams.telemetry import FENCED
from streams.waiting import waiting

T = TypeVar("T")
Recover = Callable[[], Awaitable[object]]
"""Returns when ledger and stock agree again, whoever brought that about; raises `Fenced` when it takes a person."""

PAUSE_S = 0.05

logger = logging.getLogger(__name__)


class StockGuard:
    """Keeps the epoch. One for each process. Without `recover` a lost stock is waited for.

    With `stock`, which every worker gives, no epoch is gone by before it is known that this is the ledger's stock.
    """

    def __init__(
        self, ledger: Ledger, *, max_delay_s: float, recover: Recover | None = None, stock: Stock | None = None
    ) -> None:
        self._ledger, self._stock = ledger, stock
        self._max_delay_s = max_delay_s
        self._recover = recover
        self._epoch: int | None = None
        self._renewing = asyncio.Lock()

    async def call(self, what: str, call: Callable[[int], Awaitable[T]]) -> T:
        """The result of `call(epoch)`, all of it tried again under the new epoch when stock or ledger is past it.

        Waits as long as a store is unavailable or the stock is lost.
        """
        while True:
            epoch = await self._current()
            try:
                return await until_available(what, partial(call, epoch), max_delay_s=self._max_delay_s)
            except Fenced as error:
                logger.error("%s: %s", what, error)
                FENCED.inc()
                await self._renew(epoch)

    async def _current(self) -> int:
        while (epoch := self._epoch) is None:
            issued = await self._issued()
            if issued is None:
                logger.error("The ledger has issued no epoch yet; run `floodway init`.")
                await asyncio.sleep(self._max_delay_s)
            elif await self._is_ours():
                self._epoch = issued
            else:
                async with waiting():
                    await self._recovered()
        return epoch

    async def _renew(self, fenced: int) -> None:
        """Find an epoch to go on under, after a call under `fenced` was refused. Several calls may be at once."""
        async with waiting(), self._renewing:
            if self._epoch not in (fenced, None):
                return
            issued = await self._issued()
            # Before anything is looked at again: the same epoch under which everything was refused is of no use.
            self._epoch = issued if issued != fenced and await self._is_ours() else None
            if self._epoch is None:
                await self._recovered()

    async def _recovered(self) -> None:
        if self._recover is None:
            await asyncio.sleep(self._max_delay_s)
            return
        try:
            await until_available("recover", self._recover, max_delay_s=self._max_delay_s)
            await asyncio.sleep(min(PAUSE_S, self._max_delay_s))
        except Fenced as error:
            logger.error("recover: %s", error)
            await asyncio.sleep(self._max_delay_s)

    async def _is_ours(self) -> bool:
        """Whether the stock is not another installation's; under an epoch of the same number it would answer."""
        stock = self._stock
        if stock is None:
            return True
        foreign = await until_available(
            "whose stock", lambda: is_foreign(self._ledger, stock), max_delay_s=self._max_delay_s
        )
        if foreign:
            logger.error("%s", fenced(None, 0, "foreign"))
        return not foreign

    async def _issued(self) -> int | None:
        return await until_available("epoch", self._ledger.epoch, max_delay_s=self._max_delay_s)
