"""The ledger as the front uses it: connected in the background, since orders are taken without it too."""

import asyncio
import logging

from agents.bootstrap import connect_ledger
from agents.http.reading import too_late
from streams.errors import Unavailable
from streams.retry import until_available
from streams.settings import Settings
from streams.stores.ledger_postgres import PostgresLedger
from streams.story import Story, Which, tell

CONNECT_WAIT_S = 2.0
"""A process that has just started lets its readers wait for so long."""

logger = logging.getLogger(__name__)


class Stories:
    """Reads stories; 503 while Postgres is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger: PostgresLedger | None = None
        self._connected = asyncio.Event()

    async def connect(self) -> None:
        """Connect; returns when that is done."""
        self._ledger = await until_available(
            "ledger", lambda: connect_ledger(self._settings), max_delay_s=self._settings.retry_max_delay_s
        )
        self._connected.set()

    async def tell(self, which: Which, *, token: str | None) -> Story | None:
        """See `streams.story.tell`. Raises `Refusal`."""
        if self._ledger is None:
            try:
                async with asyncio.timeout(CONNECT_WAIT_S):
                    await self._connected.wait()
            except TimeoutError:
                raise too_late() from None
        assert self._ledger is not None, "connected"
        try:
            return await tell(self._ledger, which, token=token)
        except Unavailable as error:
            logger.warning("%s", error)
            raise too_late() from error

    async def close(self) -> None:
        """Give connections back."""
        if self._ledger is not None:
            await self._ledger.close()
