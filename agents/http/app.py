"""The front as an ASGI application: who may do what, which handler, and every failure as a problem.

Raw ASGI, since what stands between server and handler is paid by every order (decision 0023).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from time import perf_counter
from typing import Any, NamedTuple

from agents.http import problems
from agents.http.limits import Gate, Rates
from agents.http.messages import Answer, Disconnected, Receive, Request, Scope, Send, Stream, segments
from agents.http.observed import NO_ROUTE, Requests
from agents.http.problems import Refusal, come_again
from agents.http.settings import HttpSettings
from agents.http.tokens import Caller, Right, Tokens, demand
from streams.errors import FloodwayError, Unavailable

MAX_PATH_BYTES = 1_024
METHODS = frozenset({"GET", "HEAD", "POST"})

Handler = Callable[[Request], Awaitable[Answer | Stream]]

logger = logging.getLogger(__name__)


class Route(NamedTuple):
    """What is done for a path. `right` is what a caller must have; None lets everybody in, unmetered.

    A `patient` one takes its time by itself, and stands outside the gate and the clock of ordinary requests. What is
    `for_buyers` is open to who has a link to the order in the path, too.
    """

    handler: Handler
    right: Right | None
    patient: bool = False
    for_buyers: bool = False


Routes = Mapping[str, Mapping[str, Route]]
"""By path (a part in braces is a variable), then by method."""

_NOBODY = Caller("", frozenset(), 1.0)


class Front:
    """The application."""

    def __init__(
        self, routes: Routes, tokens: Tokens, rates: Rates, settings: HttpSettings, requests: Requests
    ) -> None:
        self._requests = requests
        self._names = {id(route): path for path, methods in routes.items() for route in methods.values()}
        self._tokens, self._rates, self._settings = tokens, rates, settings
        self._gate = Gate(settings.concurrency_max, "requests")
        requests.in_hand = lambda: self._gate.inside
        self._fixed = {path: methods for path, methods in routes.items() if "{" not in path}
        self._variable = [(path[1:].split("/"), methods) for path, methods in routes.items() if "{" in path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        began, name = perf_counter(), NO_ROUTE
        try:
            route, path = self._route(scope)
            name = self._names[id(route)]
            answer = await self._handled(route, path, scope, receive)
        except Refusal as refusal:
            answer = _problem(refusal)
        except Disconnected:
            return
        except Unavailable as error:
            logger.warning("%s", error)
            answer = _problem(come_again("unavailable", "something behind this server does not answer; try again"))
        except FloodwayError as error:
            logger.error("%s", error)
            answer = _problem(come_again("unavailable", "something behind this server refuses; its operator must act"))
        except Exception:
            logger.exception("%s %s", scope["method"], scope["path"])
            answer = _problem(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "defect", "see this server's log"))
        status = HTTPStatus.OK if isinstance(answer, Stream) else answer.status
        seconds = perf_counter() - began
        self._requests.count(name, _method(scope), int(status), seconds)
        if isinstance(answer, Stream):
            if scope["method"] == "HEAD":
                await answer.pieces.aclose()
                await Answer(HTTPStatus.OK, headers={b"content-type": answer.content_type}).send(send)
            else:
                await _stream(answer, receive, send)
        else:
            await answer.send(send)

    async def _handled(self, route: Route, path: Mapping[str, str], scope: Scope, receive: Receive) -> Answer | Stream:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        caller = _NOBODY
        if route.right is not None:
            caller = self._tokens.caller(headers)
            demand(caller, route.right, path["order"] if route.for_buyers else None)
            self._rates.take(caller)
        request = Request(scope["method"], headers, scope["query_string"], receive, caller, path)
        if route.patient:
            return await route.handler(request)
        with self._gate.enter():
            try:
                async with asyncio.timeout(self._settings.request_timeout_s):
                    return await route.handler(request)
            except TimeoutError:
                raise come_again("unavailable", "this took too long; repeat it as it is") from None

    def _route(self, scope: Scope) -> tuple[Route, Mapping[str, str]]:
        raw: bytes = scope["raw_path"]
        methods = self._fixed.get(raw.decode("ascii", "replace"))
        path: dict[str, str] = {}
        if methods is None:
            parts = segments(raw) if len(raw) <= MAX_PATH_BYTES else None
            methods, path = self._matched(parts or [])
        if methods is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "not_found", "there is no such path; see /openapi.json")
        method: str = scope["method"]
        found = methods.get("GET" if method == "HEAD" else method)
        if found is None:
            allowed = b", ".join(name.encode() for name in methods)
            raise Refusal(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "method_not_allowed",
                f"{method} is not done here",
                headers={b"allow": allowed},
            )
        return found, path

    def _matched(self, parts: list[str]) -> tuple[Mapping[str, Route] | None, dict[str, str]]:
        for pattern, methods in self._variable:
            if len(pattern) == len(parts):
                path = {p[1:-1]: part for p, part in zip(pattern, parts, strict=True) if p[0] == "{"}
                if all(part if p[0] == "{" else p == part for p, part in zip(pattern, parts, strict=True)):
                    return methods, path
        return None, {}


def _method(scope: Scope) -> str:
    """Of those that there are: a client may write any word."""
    method: str = scope["method"]
    return method if method in METHODS else "other"


def _problem(refusal: Refusal) -> Answer:
    problem = refusal.problem
    return Answer(problem.status, problems.encode(problem), problems.CONTENT_TYPE, dict(refusal.headers))


async def _stream(answer: Stream, receive: Receive, send: Send) -> None:
    """Send pieces until they end or the client goes."""
    headers = [(b"content-type", answer.content_type), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def write() -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            async for piece in answer.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except Refusal as refusal:  # the ledger went away amid the stream; its reader comes again
            logger.warning("a stream ended: %s", refusal)
        await send({"type": "http.response.body", "body": b""})

    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(gone()), asyncio.create_task(write())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(found, Exception):
                logger.error("a stream failed: %r", found)
        await answer.pieces.aclose()  # its gates open again
