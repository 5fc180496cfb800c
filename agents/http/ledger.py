"""The ledger as the front uses it: connected in the background, since orders are taken without it too."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from agents.bootstrap import connect_ledger
from agents.http.reading import too_late
from streams.core.books import StoredDecision
from streams.core.identity import SubmissionKey
from streams.errors import Unavailable
from streams.finding import Which, find
from streams.retry import until_available
from streams.settings import Settings
from streams.stores.ledger import Ledger
from streams.stores.ledger_postgres import PostgresLedger
from streams.story import Story, tell
from streams.why import Why, why

T = TypeVar("T")

CONNECT_WAIT_S = 2.0
"""A process that has just started lets its readers wait for so long."""

logger = logging.getLogger(__name__)


class Find(Protocol):
    """Finds the decision on an order; see `streams.finding.find`."""

    def __call__(self, which: Which, *, token: str | None) -> Awaitable[tuple[SubmissionKey, StoredDecision] | None]:
        """See `streams.finding.find`."""
        ...


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
        return await self._ask(lambda ledger: tell(ledger, which, token=token))

    async def why(self, which: Which, *, token: str | None) -> Why:
        """See `streams.why.why`. Raises `Refusal`, and `UnknownThing` for an order that is none."""
        now = datetime.now(UTC)
        return await self._ask(lambda ledger: why(ledger, which, now=now, token=token))

    async def find(self, which: Which, *, token: str | None) -> tuple[SubmissionKey, StoredDecision] | None:
        """See `streams.finding.find`. Raises `Refusal`."""
        return await self._ask(lambda ledger: find(ledger, which, token=token))

    async def _ask(self, ask: Callable[[Ledger], Awaitable[T]]) -> T:
        if self._ledger is None:
            try:
                async with asyncio.timeout(CONNECT_WAIT_S):
                    await self._connected.wait()
            except TimeoutError:
                raise too_late() from None
        assert self._ledger is not None, "connected"
        try:
            return await ask(self._ledger)
        except Unavailable as error:
            logger.warning("%s", error)
            raise too_late() from error

    async def close(self) -> None:
        """Give connections back."""
        if self._ledger is not None:
            await self._ledger.close()
