"""Looks at workers and exporter over HTTP, for who runs beside them."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

import aiohttp
import msgspec

from agents.exporter.scraping import Scraper, read
from agents.ops.course import Course, Point
from agents.ops.view import View
from agents.ops.window import Look

TIMEOUT_S = 2.0
"""Who takes longer is not there, as far as this look goes."""


class _Past(msgspec.Struct):
    """What of the exporter's /ops.json tells how it went."""

    points: list[Point] = []


@dataclass(slots=True)
class Reader:
    """Reads all workers that the scraper finds and one exporter, each time it is asked to."""

    scraper: Scraper
    exporter_url: str
    course: Course = field(default_factory=Course)

    async def look(self) -> View:
        """How it stands now."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            workers, exporter = await asyncio.gather(self.scraper.look(), read(session, self.exporter_url))
        return self.course.add(Look(monotonic(), workers, exporter), datetime.now(UTC))

    async def remember(self) -> None:
        """Begin with the minutes that the exporter has seen, if there is one."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self.exporter_url}/ops.json") as answer,
            ):
                past = msgspec.json.decode(await answer.read(), type=_Past)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError):
            return
        self.course.remember(past.points)
