"""A server for the few who look at a process: GET, one answer, and the connection is closed. See decision 0029.

It runs on the loop that does the work, so that it answers only as long as that turns. What a client may cost is
bounded: its head's size, its time, and how many there are at once.
"""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

from streams.errors import SettingsError

MAX_HEAD_BYTES = 8_192
TIMEOUT_S = 10.0
"""For all of a request, its answer included: Prometheus' own default."""
MAX_CLIENTS = 32
PORTS_TRIED = 16
"""A port that is taken may be that of another worker on this machine: the next ones are tried."""

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

logger = logging.getLogger(__name__)


class Asked(NamedTuple):
    """What a handler is given: the query's fields (the last of each name) and the headers, names in small letters."""

    query: Mapping[str, str]
    headers: Mapping[str, str]


class Answer(NamedTuple):
    """What a handler gives back."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = {}


Handler = Callable[[Asked], Awaitable[Answer]]


class Server:
    """Answers for some paths. Make it with `start`, end it with `close`."""

    def __init__(self, routes: Mapping[str, Handler]) -> None:
        self._routes = routes
        self._clients: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self.host, self.port = "", 0

    @classmethod
    async def start(cls, routes: Mapping[str, Handler], host: str, port: int) -> Self:
        """Listen on this port, or one of the next that is free; on any free one for port 0. Raises `SettingsError`."""
        made = cls(routes)
        for candidate in range(port, min(port + PORTS_TRIED, 65_536)) if port else (0,):
            try:
                made._listening = await asyncio.start_server(made._accept, host, candidate, limit=MAX_HEAD_BYTES)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and candidate < port + PORTS_TRIED - 1:
                    continue
                raise SettingsError(
                    f"{host}:{candidate} cannot be listened on: {error.strerror or error}; set another port."
                ) from error
            made.host, made.port = host, made._listening.sockets[0].getsockname()[1]
            return made
        raise SettingsError(f"None of the ports {port} to {port + PORTS_TRIED - 1} on {host} is free; set another.")

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def close(self) -> None:
        """Listen no more, and drop who is still there."""
        if self._listening is not None:
            self._listening.close()
        for client in list(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            writer.close()
            return
        client = asyncio.create_task(self._serve(reader, writer), name="observed")
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer, with_body = await self._answer(reader)
                writer.write(_head(answer) + (answer.body if with_body else b""))
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(Exception):
                await asyncio.wait_for(writer.wait_closed(), 1.0)

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[Answer, bool]:
        """The answer, and whether it is sent with its body."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head[:-4].split("\r\n")
            method, target, version = line.split(" ")
            if not version.startswith("HTTP/1."):
                raise ValueError(version)
            asked = _asked(target, fields)
            path = urlsplit(target).path
        except asyncio.LimitOverrunError:
            return problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too large"), True
        except ValueError:
            return problem(HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1 request"), True
        handler = self._routes.get(path)
        if handler is None:
            return problem(HTTPStatus.NOT_FOUND, f"there is {', '.join(self._routes)}"), method != "HEAD"
        if method not in {"GET", "HEAD"}:
            return problem(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is done here", {"Allow": "GET, HEAD"}), True
        try:
            return await handler(asked), method == "GET"
        except Exception:
            logger.exception("GET %s", path)
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "see this process' log"), method == "GET"


def problem(status: HTTPStatus, words: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer for people that says what is wrong."""
    return Answer(status, f"{status.phrase}: {words}\n".encode(), TEXT, headers or {})


def _asked(target: str, fields: list[str]) -> Asked:
    headers = {}
    for field in fields:
        name, colon, value = field.partition(":")
        if not colon:
            raise ValueError(field)
        headers[name.strip().lower()] = value.strip()
    return Asked(dict(parse_qsl(urlsplit(target).query)), headers)


def _head(answer: Answer) -> bytes:
    fields = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
