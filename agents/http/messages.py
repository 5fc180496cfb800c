"""A request as handlers see it, and their answer: as little as possible between them and the server."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from agents.http.problems import Refusal, bad_parameter
from agents.http.tokens import Caller

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

JSON = b"application/json"
NDJSON = b"application/x-ndjson"
MAX_QUERY_BYTES = 2_048


class Disconnected(Exception):
    """The client has gone; nobody is left to be answered."""


@dataclass(slots=True)
class Answer:
    """One whole answer."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: dict[bytes, bytes] = field(default_factory=dict)

    async def send(self, send: Send) -> None:
        """Write it, large bodies in pieces, so that a slow reader slows us down instead of filling our memory."""
        head = [*self.headers.items()]
        if self.status != HTTPStatus.NOT_MODIFIED:
            head.append((b"content-length", b"%d" % len(self.body)))
        if self.body:
            head.append((b"content-type", self.content_type))
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        at, size = 0, 262_144
        while len(self.body) - at > size:
            await send({"type": "http.response.body", "body": self.body[at : at + size], "more_body": True})
            at += size
        await send({"type": "http.response.body", "body": self.body[at:] if at else self.body})


@dataclass(slots=True)
class Stream:
    """An answer that goes on. `pieces` are sent as they come; it is closed when the client goes or we end."""

    pieces: AsyncGenerator[bytes, None]
    content_type: bytes


@dataclass(slots=True)
class Request:
    """One request. `path` holds the values of the route's variables."""

    method: str
    headers: Mapping[bytes, bytes]
    query_string: bytes
    receive: Receive
    caller: Caller
    path: Mapping[str, str]

    def query(self, *allowed: str) -> dict[str, str]:
        """The query's parameters. Raises `Refusal` for one that is none of the allowed, or stands twice."""
        if not self.query_string:
            return {}
        if len(self.query_string) > MAX_QUERY_BYTES:
            raise Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "too_large", "the query is too long")
        found: dict[str, str] = {}
        for name, value in parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True):
            if name not in allowed:
                raise bad_parameter(
                    name, f"there is no parameter {name!r} here", f"use {' or '.join(allowed) or 'none'}"
                )
            if name in found:
                raise bad_parameter(name, f"{name!r} stands twice", "give it once")
            found[name] = value
        return found

    def content_type(self) -> bytes:
        """The media type of the body, without its parameters, in small letters."""
        return self.headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()

    def check_type(self, wanted: bytes) -> None:
        """Raise `Refusal` unless the body is of the type wanted, as it is."""
        if self.content_type() != wanted:
            said = self.content_type().decode("latin-1") or "nothing"
            fix = f"send Content-Type: {wanted.decode()}"
            raise _unsupported(f"the content type says {said!r}", "Content-Type", fix)
        if self.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise _unsupported("the body is encoded", "Content-Encoding", "send it without Content-Encoding")

    async def body(self, *, max_bytes: int, pause_s: float) -> bytes:
        """The whole body. Raises `Refusal` for one that is too large or stands still."""
        first = await self._next(pause_s)
        if not first.get("more_body", False):
            body: bytes = first.get("body", b"")
            check_size(len(body), max_bytes)
            return body
        pieces = [first.get("body", b"")]
        size = len(pieces[0])
        self._check_length(max_bytes)
        async for piece in self._rest(pause_s):
            size += len(piece)
            check_size(size, max_bytes)
            pieces.append(piece)
        return b"".join(pieces)

    async def pieces(self, *, max_bytes: int, pause_s: float) -> AsyncIterator[bytes]:
        """The body as it arrives, up to the limit. One that tells of its length is refused unread; see `body`."""
        self._check_length(max_bytes)
        size = 0
        async for piece in self._rest(pause_s):
            size += len(piece)
            yield piece if size <= max_bytes else piece[: max_bytes - size]
            check_size(size, max_bytes)

    async def _rest(self, pause_s: float) -> AsyncIterator[bytes]:
        while True:
            message = await self._next(pause_s)
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    async def _next(self, pause_s: float) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(pause_s):
                message = await self.receive()
        except TimeoutError:
            raise Refusal(
                HTTPStatus.REQUEST_TIMEOUT, "too_slow", f"no byte of the body came for {pause_s:g} s", headers=CLOSE
            ) from None
        if message["type"] == "http.disconnect":
            raise Disconnected
        return message

    def _check_length(self, max_bytes: int) -> None:
        told = self.headers.get(b"content-length", b"")
        if told.isdigit():
            check_size(int(told), max_bytes)


CLOSE = {b"connection": b"close"}


def check_size(size: int, max_bytes: int) -> None:
    """Raise `Refusal` for a body over the limit; the connection is closed rather than read to the end."""
    if size > max_bytes:
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"the body has more than {max_bytes} bytes",
            fix=f"send no more than {max_bytes} bytes",
            headers=CLOSE,
        )


def segments(raw_path: bytes) -> list[str] | None:
    """The parts of a path, each decoded by itself, so that an encoded slash is no separator; None for no UTF-8."""
    try:
        return [unquote_to_bytes(part).decode() for part in raw_path.removeprefix(b"/").split(b"/")]
    except UnicodeDecodeError:
        return None


def _unsupported(detail: str, field: str, fix: str) -> Refusal:
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail, field=field, fix=fix)
