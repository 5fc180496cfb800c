"""Answers on orders: what was decided, what became of them, and news of them as it comes.

Reads go to the replica. A reader who passes the token of a decision or of an earlier answer sees at least that.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct

from agents.http.limits import Gate
from agents.http.links import NO_KEY, Links
from agents.http.messages import Answer, Request, Stream
from agents.http.problems import Refusal, bad_parameter, come_again
from agents.http.settings import HttpSettings
from agents.http.watching import Watcher, Watching
from streams.errors import Refused, UnknownThing
from streams.finding import Ambiguous, Which, which_order
from streams.story import Moment, Story, unseen
from streams.timeline import public, timeline
from streams.why import Why

READ_TOKEN = "floodway-read-token"  # noqa: S105 - a header's name
TOKEN_HEADER = READ_TOKEN.encode()
LOOK_AGAIN_S = 1.0
"""Who waits for a decision looks by himself so often, in case the news of it was lost."""
READS_AT_ONCE = 32
"""So many ask the ledger at a time; its connections are fewer still, and have their own queue and time-out."""
RETRY_MS = 2_000
"""A browser whose stream of events has ended comes again after so long."""
EVENT_STREAM = b"text/event-stream"

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_encode = msgspec.json.Encoder().encode


class Ask(Protocol[T_co]):
    """Asks the ledger about one order."""

    def __call__(self, which: Which, *, token: str | None) -> Awaitable[T_co]:
        """The answer."""
        ...


class Reading:
    """What GET does, and links to it."""

    def __init__(
        self,
        tell: Ask[Story | None],
        explain: Ask[Why],
        links: Links,
        watching: Watching,
        ending: asyncio.Event,
        settings: HttpSettings,
    ) -> None:
        self._tell, self._explain, self._links = tell, explain, links
        self._watching, self._ending, self._settings = watching, ending, settings
        self._reads = Gate(settings.concurrency_max, "reads")
        self._at_once = asyncio.Semaphore(READS_AT_ONCE)
        self._waiters = Gate(settings.waiters_max, "requests that wait for a decision")
        self._streams = Gate(settings.streams_max, "streams of events")

    async def order(self, request: Request) -> Answer:
        """`GET /v1/orders/{order}`; `?wait=` seconds for its decision."""
        query = request.query("wait")
        return await self._answer(request, self._wait_s(query.get("wait")), lambda story: story)

    async def timeline(self, request: Request) -> Answer:
        """`GET /v1/orders/{order}/timeline`."""
        request.query()
        return await self._answer(request, 0.0, timeline)

    async def why(self, request: Request) -> Answer:
        """`GET /v1/orders/{order}/why`. It tells how late things are now, so no answer is as good as the one before."""
        request.query()
        which, token = named(request), _token(request)
        with self._reads.enter():
            try:
                found = await self._read(self._explain, which, token)
            except UnknownThing as error:
                raise unknown_order() from error
        return Answer(HTTPStatus.OK, _encode(found), headers={b"cache-control": b"no-store"})

    async def link(self, request: Request) -> Answer:
        """`POST /v1/orders/{order}/links`: a link for its buyer."""
        request.query()
        if not self._links.has_keys:
            raise Refusal(HTTPStatus.CONFLICT, "no_link_key", "no key is set that signs them", fix=NO_KEY)
        with self._reads.enter():
            story = await self._read(self._tell, named(request), _token(request))
        if story is None:
            raise unknown_order()
        link = self._links.make(story.order_id)
        return Answer(HTTPStatus.CREATED, _encode(link), headers={b"cache-control": b"no-store"})

    async def events(self, request: Request) -> Stream:
        """`GET /v1/orders/{order}/events`: what happened, from `Last-Event-ID` on, and then what happens."""
        request.query()
        which, token = named(request), _token(request)
        last_seen = request.headers.get(b"last-event-id", b"").decode("latin-1") or None
        if self._streams.is_full:
            raise self._streams.refusal()
        # Asked once before the answer begins: what is wrong with the request or the ledger is told by its status.
        with self._reads.enter():
            story = await self._read(self._tell, which, token)
        # News names orders by id and submission: one that was found is looked after by its id, whatever it was called.
        which = which if story is None else story.order_id
        shown = public if request.caller.order is not None else iter
        return Stream(self._events(which, story, token, last_seen, shown), EVENT_STREAM)

    async def _answer(self, request: Request, wait_s: float, part: Callable[[Story], Struct]) -> Answer:
        which, token = named(request), _token(request)
        with self._reads.enter():
            story = await self._read(self._tell, which, token)
        if story is None and wait_s > 0:
            with self._waiters.enter(), self._watching.watch(which) as watcher:
                story = await self._decided(which, token, watcher, wait_s)
                token = watcher.token or token
        if story is None:
            raise unknown_order()
        tag = b'W/"%b"' % story.version.encode()
        headers = {b"etag": tag, b"cache-control": b"no-cache"}
        if token is not None:
            headers[TOKEN_HEADER] = token.encode()
        if request.headers.get(b"if-none-match") == tag:
            return Answer(HTTPStatus.NOT_MODIFIED, headers=headers)
        return Answer(HTTPStatus.OK, _encode(part(story)), headers=headers)

    async def _decided(self, which: Which, token: str | None, watcher: Watcher, wait_s: float) -> Story | None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + wait_s
        # Looked for again first: the decision may have come between the look before and the watch.
        while (
            story := await self._read(self._tell, which, watcher.token or token)
        ) is None and not self._ending.is_set():
            left_s = give_up - loop.time()
            if left_s <= 0:
                break
            await watcher.wait(min(left_s, LOOK_AGAIN_S))
        return story

    async def _events(
        self,
        which: Which,
        story: Story | None,
        token: str | None,
        last_seen: str | None,
        shown: Callable[[Iterable[Moment]], Iterable[Moment]],
    ) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.stream_max_s
        with self._streams.enter(), self._watching.watch(which) as watcher:
            yield b"retry: %d\n\n" % RETRY_MS
            while not self._ending.is_set() and loop.time() < until:
                if story is not None:
                    for moment in shown(unseen(story.moments, last_seen)):
                        yield b"id: %b\nevent: %b\ndata: %b\n\n" % (
                            moment.id.encode(),
                            moment.what.encode(),
                            _encode(moment),
                        )
                    last_seen = story.version
                if not await watcher.wait(self._settings.heartbeat_s):
                    yield b": still here\n\n"
                story = await self._read(self._tell, which, watcher.token or token)

    async def _read(self, ask: Ask[T], which: Which, token: str | None) -> T:
        try:
            async with asyncio.timeout(self._settings.request_timeout_s), self._at_once:
                return await ask(which, token=token)
        except TimeoutError:
            raise too_late() from None
        except Ambiguous as error:
            raise Refusal(HTTPStatus.CONFLICT, "several_orders", str(error), fix="name one of them") from error
        except Refused as error:
            raise bad_parameter(READ_TOKEN, str(error), "pass a read token as it was given") from error

    def _wait_s(self, text: str | None) -> float:
        if text is None:
            return 0.0
        number, point, rest = text.partition(".")
        if not (number.isdecimal() and number.isascii() and len(number) < 6 and (not point or rest.isdecimal())):
            raise bad_parameter("wait", f"{text!r} is no number of seconds", "write it as 5 or 0.5")
        return min(float(text), self._settings.wait_max_s)


def named(request: Request) -> Which:
    """The order that the path names. Raises `Refusal`."""
    try:
        return which_order(request.path["order"])
    except Refused as error:
        fix = "give an order's id, channel:submission_id, channel:number or a trace id"
        raise bad_parameter("order", str(error), fix) from error


def unknown_order() -> Refusal:
    """Nobody has decided on it yet, as far as can be seen here."""
    return Refusal(
        HTTPStatus.NOT_FOUND,
        "unknown_order",
        "no decision on this order is known; if it was submitted, one will come",
        fix="ask again with ?wait=, or look for the order among dead letters",
    )


def _token(request: Request) -> str | None:
    given = request.headers.get(TOKEN_HEADER)
    return None if given is None else given.decode("latin-1")


def too_late() -> Refusal:
    """The ledger is not connected yet, or not again."""
    return come_again("unavailable", "the ledger cannot be asked now; orders are taken all the same")
