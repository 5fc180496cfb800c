"""`floodway init`: make servers of one's own ready."""

import asyncio
import math
import time
from typing import TYPE_CHECKING

from infra.cli.context import out, print_json, settings
from streams.errors import Refused, Unavailable
from streams.settings import Settings

if TYPE_CHECKING:
    from agents.bootstrap import Prepared

TRY_AGAIN_S = 1.0
WAIT_MAX_S = 600.0


async def init(*, wait_s: float = 0.0, json: bool = False) -> None:
    """Create what is missing: the ledger's schema, the topics, the stock's epoch. Safe to repeat.

    `floodway up` does this by itself; servers of your own need it once, and again after each new version.

    Parameters
    ----------
    wait_s
        How many seconds to wait for servers that do not answer yet, at most 600.
    json
        Print one JSON object.

    """
    from agents.bootstrap import prepare  # noqa: PLC0415 - asyncpg and aiokafka take a moment to import

    if not (math.isfinite(wait_s) and 0 <= wait_s <= WAIT_MAX_S):
        raise Refused(f"--wait-s {wait_s:g} must be between 0 and {WAIT_MAX_S:g}.")
    done = await (wait_and_prepare(settings(), wait_s) if wait_s else prepare(settings()))
    if json:
        print_json({"epoch": done.epoch, "migrations": done.migrations, "topics": done.topics})
        return
    out.print(f"migrations applied  {', '.join(done.migrations) or 'none'}")
    out.print(f"topics created      {', '.join(done.topics) or 'none'}")
    out.print(f"epoch               {done.epoch}")


async def wait_and_prepare(using: Settings, wait_s: float) -> "Prepared":
    """Prepare, and again while a server does not answer. Raises the last `Unavailable` when the time is over."""
    from agents.bootstrap import prepare  # noqa: PLC0415

    deadline = time.monotonic() + wait_s
    while True:
        try:
            return await prepare(using)
        except Unavailable:
            if time.monotonic() + TRY_AGAIN_S > deadline:
                raise
        await asyncio.sleep(TRY_AGAIN_S)
