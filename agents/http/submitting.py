"""Orders in: one, or a batch of lines. 202 is said of an order only when all in-sync replicas have it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from http import HTTPStatus
from os import urandom
from urllib.parse import quote

import msgspec
from msgspec import Struct

from agents.http import problems
from agents.http.appender import Appender, Confirmed
from agents.http.idempotency import Keys
from agents.http.limits import Rates
from agents.http.messages import CLOSE, JSON, NDJSON, Answer, Request, check_size
from agents.http.problems import Refusal
from agents.http.settings import HttpSettings
from streams.clock import Clock
from streams.core.decode import MessageDecoder, Undecodable, instant_out_of_range, trace_id
from streams.core.identity import idempotency_key, order_id
from streams.messages import MAX_MESSAGE_BYTES, Submission
from streams.stores.log import Entry, Headers
from streams.stores.partitioner import partition_of

LINES_AT_ONCE = 500
"""So many lines are read before others get their turn: some 10 ms."""

_decoder = MessageDecoder(Submission)
_encode = msgspec.json.Encoder().encode


class Taken(Struct, frozen=True):
    """An order that is safe in Kafka. `order` is its name until it has been decided, and for ever: GET it there."""

    order: str
    trace_id: str


class LineTaken(Struct, frozen=True):
    """A line of a batch that is safe in Kafka."""

    line: int
    order: str
    status: int = 202


class LineRefused(Struct, frozen=True, omit_defaults=True):
    """A line of a batch that is not, or of which that is not known; 503 is worth a repeat of the line."""

    line: int
    status: int
    type: str
    title: str
    detail: str
    field: str | None = None
    fix: str | None = None


class Submitting:
    """What POST does."""

    def __init__(self, appender: Appender, keys: Keys, rates: Rates, clock: Clock, settings: HttpSettings) -> None:
        self._appender, self._keys, self._rates = appender, keys, rates
        self._clock, self._settings = clock, settings

    async def one(self, request: Request) -> Answer:
        """`POST /v1/orders`."""
        request.query()
        request.check_type(JSON)
        value = await request.body(max_bytes=MAX_MESSAGE_BYTES, pause_s=self._settings.body_timeout_s)
        found = read(value)
        if isinstance(found, Undecodable):
            raise problems.of_undecodable(found)
        trace, headers = _trace(request, found)
        name = f"{found.channel}:{found.submission_id}"

        async def take() -> Answer:
            if self._appender.is_full:
                raise problems.come_again("busy", "more orders wait for Kafka than may; nothing was taken")
            failure = await self._appender.append(Entry(name.encode(), value, self._clock.now_ms(), headers))
            if failure is not None:
                raise _unconfirmed()
            return Answer(HTTPStatus.ACCEPTED, _encode(Taken(name, trace)), headers=_links(name))

        return await self._keys.once(request, value, take)

    async def batch(self, request: Request) -> Answer:
        """`POST /v1/orders:batch`: each line by itself, 200 when all were taken, else 207."""
        request.query()
        request.check_type(NDJSON)
        if b"idempotency-key" in request.headers:
            raise problems.bad_parameter(
                "Idempotency-Key",
                "a batch has no key: each line's submission_id is its own",
                "leave it out; to repeat a batch is harmless",
            )
        batch = _Batch(self._appender, self._clock, request)
        try:
            async with asyncio.timeout(self._settings.batch_timeout_s):
                end = await self._read(request, batch)
                answer = await batch.answer(end)
        except TimeoutError:
            raise problems.come_again(
                "unavailable", "the batch took too long; some lines may have been taken, repeat it whole"
            ) from None
        self._rates.charge(request.caller, batch.lines)
        return answer

    async def _read(self, request: Request, batch: "_Batch") -> Refusal | None:
        """Read the lines as they arrive; returns what broke off the reading, once a line was read."""
        settings = self._settings
        partitions = await self._appender.partitions()
        try:
            async for lines in _lines(request, settings):
                await self._appender.room()
                batch.take(lines, partitions)
                check_lines(batch.lines, settings.batch_max_orders)
        except Refusal as broken_off:
            if batch.is_empty:
                raise
            return broken_off
        if batch.is_empty:
            raise problems.of_undecodable(Undecodable("empty", "the batch has no line", fix="send one order a line"))
        return None


class _Batch:
    """Lines of one batch, and what became of each."""

    def __init__(self, appender: Appender, clock: Clock, request: Request) -> None:
        self._appender, self._clock = appender, clock
        self._headers: Headers = ()
        parent = request.headers.get(b"traceparent")
        if parent is not None and trace_id([("traceparent", parent)]) is not None:
            self._headers = (("traceparent", parent),)  # without one each order's trace is its own id
        self._results: list[bytes] = []
        self._numbers: list[int] = []
        self._pending: list[tuple[Confirmed, list[int]]] = []
        self.lines = 0

    @property
    def is_empty(self) -> bool:
        """Whether no line had anything in it."""
        return not self._results

    def take(self, lines: list[bytes], partitions: int) -> None:
        """Check lines and hand over the good ones."""
        now_ms, headers, results = self._clock.now_ms(), self._headers, self._results
        lanes: dict[int, tuple[list[Entry], list[int]]] = defaultdict(lambda: ([], []))
        for raw in lines:
            self.lines += 1
            line = raw.strip()
            if not line:
                continue
            found = read(line)
            if isinstance(found, Undecodable):
                results.append(_refused(self.lines, problems.of_undecodable(found)))
            else:
                name = f"{found.channel}:{found.submission_id}"
                key = name.encode()
                entries, places = lanes[partition_of(key, partitions)]
                entries.append(Entry(key, line, now_ms, headers))
                places.append(len(results))
                results.append(b'{"line":%d,"order":%b,"status":202}\n' % (self.lines, _encode(name)))
            self._numbers.append(self.lines)
        for partition, (entries, places) in lanes.items():
            self._pending.append((self._appender.put(partition, entries), places))

    async def answer(self, end: Refusal | None) -> Answer:
        """The results of all lines, once all are known; `end` stands behind them."""
        all_taken = end is None
        taken = 0
        for confirmed, places in self._pending:
            if await asyncio.shield(confirmed) is None:
                taken += len(places)
            else:
                for place in places:
                    self._results[place] = _refused(self._numbers[place], _unconfirmed())
        all_taken = end is None and taken == len(self._results)
        headers = {b"floodway-taken": b"%d" % taken, b"floodway-not-taken": b"%d" % (len(self._results) - taken)}
        if end is not None:
            self._results.append(_refused(self.lines + 1, end))
            headers |= end.headers
        status = HTTPStatus.OK if all_taken else HTTPStatus.MULTI_STATUS
        return Answer(status, b"".join(self._results), NDJSON, headers)


def read(value: bytes) -> Submission | Undecodable:
    """The submission in these bytes, or why there is none: exactly what intake would find, so none becomes a dead
    letter.
    """
    found = _decoder.decode(value)
    if isinstance(found, Undecodable):
        return found
    return instant_out_of_range(found.submitted_at.timestamp(), "$.submitted_at") or found


def check_lines(lines: int, most: int) -> None:
    """Raise `Refusal` for a batch with too many lines; those before it were taken."""
    if lines > most:
        detail, fix = f"the batch has more than {most} lines", "send what has no result in another batch"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail, fix=fix, headers=CLOSE)


async def _lines(request: Request, settings: HttpSettings) -> AsyncIterator[list[bytes]]:
    """Whole lines, some hundred at a time. One that never ends is cut off once it is too long for an order."""
    rest = b""
    async for piece in request.pieces(max_bytes=settings.batch_max_bytes, pause_s=settings.body_timeout_s):
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        for at in range(0, len(lines), LINES_AT_ONCE):
            yield lines[at : at + LINES_AT_ONCE]
            await asyncio.sleep(0)
        check_size(len(rest), 2 * MAX_MESSAGE_BYTES)
    if rest:
        yield [rest]


def _trace(request: Request, found: Submission) -> tuple[str, Headers]:
    """Trace id and Kafka headers. One that is made is the one intake would give: the order's own id."""
    given = request.headers.get(b"traceparent")
    if given is not None:
        trace = trace_id([("traceparent", given)])
        if trace is not None:
            return trace, (("traceparent", given),)
    key = idempotency_key(found.channel, found.submission_id)
    trace = order_id(key, round(found.submitted_at.timestamp() * 1_000_000) // 1000).hex
    return trace, (("traceparent", f"00-{trace}-{urandom(8).hex()}-01".encode()),)


def _links(name: str) -> dict[bytes, bytes]:
    return {b"location": f"/v1/orders/{quote(name, safe=':')}".encode()}


def _unconfirmed() -> Refusal:
    return problems.come_again(
        "unavailable",
        "Kafka did not confirm the order; repeat it as it is, it is taken once whatever became of this try",
    )


def _refused(line: int, refusal: Refusal) -> bytes:
    p = refusal.problem
    return _encode(LineRefused(line, p.status, p.type, p.title, p.detail, p.field, p.fix)) + b"\n"
