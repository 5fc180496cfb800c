"""Who is told: a real HTTP server for webhooks and a real SMTP server, which say what they got."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import NamedTuple

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session


async def until(reached: Callable[[], object], within_s: float = 15.0) -> None:
    """Wait until something is true; fails the test when it is not in time."""
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, "gave up waiting"
        await asyncio.sleep(0.02)


class Got(NamedTuple):
    """One POST."""

    headers: dict[str, str]
    body: bytes


Answer = Callable[[Got], Awaitable[web.Response]]


class Hook:
    """A receiver of webhooks; `answer` says what it does with each."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[Got] = []
        self.answer: Answer = taken

    def ids(self) -> set[str]:
        """Of what came."""
        return {json.loads(one.body)["delivery_id"] for one in self.got}

    async def handle(self, request: web.Request) -> web.Response:
        """Note it, and answer."""
        one = Got({name.lower(): value for name, value in request.headers.items()}, await request.read())
        self.got.append(one)
        return await self.answer(one)

    async def until(self, count: int, within_s: float = 15.0) -> list[Got]:
        """What came, once there is so much."""
        await until(lambda: len(self.got) >= count, within_s)
        return self.got


async def taken(_: Got) -> web.Response:
    """All is well."""
    return web.Response(status=204)


def answering(*statuses: int, headers: dict[str, str] | None = None) -> Answer:
    """These answers one after the other, the last one for ever."""
    left = list(statuses)

    async def answer(_: Got) -> web.Response:
        return web.Response(status=left.pop(0) if len(left) > 1 else left[0], headers=headers)

    return answer


@asynccontextmanager
async def hook() -> AsyncIterator[Hook]:
    """A receiver on a free port."""
    made = Hook()
    app = web.Application()
    app.router.add_post("/hook", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield made
    finally:
        await runner.cleanup()


class Mailbox:
    """What a mail server got. `refuse` is what it says to the next recipients, first to last, before it takes any."""

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refuse: list[str] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Refuse, as long as there is something to say."""
        if self.refuse:
            return self.refuse.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep it."""
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, _class=EmailMessage, policy=default))
        self.recipients.append(envelope.rcpt_tos)
        return "250 OK"


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    """A mail server on a free port."""
    made = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(made, hostname="mail.example.com", loop=loop), "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
