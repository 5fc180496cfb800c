"""Every path of the front, and who may call it. The OpenAPI document tells of the same, a test compares them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from agents.http import problems
from agents.http.app import Route, Routes
from agents.http.messages import Answer, Request
from agents.http.openapi import document_text
from agents.http.reading import Reading
from agents.http.remarking import Remarking
from agents.http.submitting import Submitting
from agents.http.tokens import Right
from streams.errors import FloodwayError

READY_WITHIN_S = 2.0

logger = logging.getLogger(__name__)


class Health:
    """Whether this process lives, and whether it should get requests."""

    def __init__(self, ping: Callable[[], Awaitable[object]], ending: asyncio.Event) -> None:
        self._ping, self._ending = ping, ending
        self._pinging: asyncio.Task[bool] | None = None

    async def livez(self, request: Request) -> Answer:
        """It answers, so it lives."""
        request.query()
        return Answer(200, b'{"status":"ok"}')

    async def readyz(self, request: Request) -> Answer:
        """Ready to take orders: Kafka answers, and nobody has told us to end."""
        request.query()
        if self._ending.is_set():
            raise problems.come_again("draining", "this process is about to end; ask another")
        # One ping for all who ask, and none is given up half way: a client cut off while it connects would leak.
        if self._pinging is None or self._pinging.done():
            self._pinging = asyncio.create_task(self._answers(), name="ping")
        done, _ = await asyncio.wait([self._pinging], timeout=READY_WITHIN_S)
        if not done or not self._pinging.result():
            raise problems.come_again("unavailable", "Kafka does not answer, so orders cannot be taken")
        return Answer(200, b'{"status":"ok"}')

    async def _answers(self) -> bool:
        try:
            await self._ping()
        except FloodwayError as error:
            logger.warning("not ready: %s", error)
            return False
        return True


def routes(submitting: Submitting, reading: Reading, remarking: Remarking, health: Health) -> Routes:
    """The table."""
    text = document_text().encode()

    async def openapi(request: Request) -> Answer:
        request.query()
        return Answer(200, text)

    return {
        "/v1/orders": {"POST": Route(submitting.one, Right.WRITE)},
        "/v1/orders:batch": {"POST": Route(submitting.batch, Right.WRITE, patient=True)},
        "/v1/orders/{order}": {"GET": Route(reading.order, Right.READ, patient=True)},
        "/v1/orders/{order}/timeline": {"GET": Route(reading.timeline, Right.READ, for_buyers=True)},
        "/v1/orders/{order}/events": {"GET": Route(reading.events, Right.READ, patient=True, for_buyers=True)},
        "/v1/orders/{order}/why": {"GET": Route(reading.why, Right.READ)},
        "/v1/orders/{order}/links": {"POST": Route(reading.link, Right.READ)},
        "/v1/orders/{order}/remarks": {"POST": Route(remarking.remark, Right.REMARK)},
        "/livez": {"GET": Route(health.livez, None, patient=True)},
        "/readyz": {"GET": Route(health.readyz, None, patient=True)},
        "/openapi.json": {"GET": Route(openapi, None)},
    }
