"""Remarks of operators, which explain a delay to the buyer: into Kafka like any report, so with the same promise."""

import asyncio
import logging
from datetime import datetime
from hashlib import blake2b
from http import HTTPStatus
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from agents.http import problems
from agents.http.idempotency import Keys
from agents.http.ledger import Find
from agents.http.messages import JSON, Answer, Request
from agents.http.problems import Refusal
from agents.http.reading import named, unknown_order
from agents.http.settings import HttpSettings
from streams.clock import Clock
from streams.core.decode import Undecodable
from streams.core.remarks import remark
from streams.errors import FloodwayError
from streams.instants import to_datetime
from streams.messages import LongText, Outcome
from streams.stores.log import Entry, Log
from streams.stores.partitioner import partition_of
from streams.topics import REPORTED

MAX_BODY_BYTES = 4_096

_encode = msgspec.json.Encoder().encode
logger = logging.getLogger(__name__)


class RemarkAsked(Struct, frozen=True):
    """What the buyer should read, on one line."""

    text: LongText


class Remarked(Struct, frozen=True):
    """A remark that is safe in Kafka, who made it and when; moments later it stands in the order's timeline."""

    order_id: UUID
    event_id: str
    author: str
    at: datetime


_decode = msgspec.json.Decoder(RemarkAsked).decode


class Remarking:
    """What POST does to an order."""

    def __init__(self, log: Log, find: Find, keys: Keys, clock: Clock, settings: HttpSettings) -> None:
        self._log, self._find, self._keys = log, find, keys
        self._clock, self._settings = clock, settings

    async def remark(self, request: Request) -> Answer:
        """`POST /v1/orders/{order}/remarks`."""
        request.query()
        request.check_type(JSON)
        body = await request.body(max_bytes=MAX_BODY_BYTES, pause_s=self._settings.body_timeout_s)
        try:
            text = _decode(body).text
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            fix = 'send {"text": "…"}, up to 256 characters on one line'
            raise Refusal(HTTPStatus.BAD_REQUEST, "invalid_field", str(error), field="$.text", fix=fix) from error
        found = await self._find(named(request), token=None)
        if found is None:
            raise unknown_order()
        if found[1].outcome is not Outcome.ACCEPTED:
            raise Refusal(HTTPStatus.CONFLICT, "rejected_order", "this order was rejected: there is nothing to follow")
        order_id = found[1].order_id

        async def take() -> Answer:
            return await self._take(order_id, request, text)

        return await self._keys.once(request, order_id.bytes + body, take)

    async def _take(self, order_id: UUID, request: Request, text: str) -> Answer:
        author, at = request.caller.name, to_datetime(self._clock.now_ms())
        event_id = _event_id(request, order_id)
        value = remark(order_id, author, text, at, event_id)
        if isinstance(value, Undecodable):
            raise problems.of_undecodable(value)
        key = str(order_id).encode()
        try:
            async with asyncio.timeout(self._settings.append_timeout_s):
                partition = partition_of(key, await self._log.partitions(REPORTED.name))
                await self._log.append(REPORTED.name, partition, [Entry(key, value, self._clock.now_ms())])
        except (FloodwayError, TimeoutError) as error:
            logger.warning("a remark was not confirmed: %s", error)
            raise problems.come_again("unavailable", "Kafka did not confirm the remark; it may stand there") from error
        return Answer(HTTPStatus.ACCEPTED, _encode(Remarked(order_id, event_id, author, at)))


def _event_id(request: Request, order_id: UUID) -> str:
    """Under an idempotency key always the same, so that the order has the remark once even if the key is forgotten."""
    given = request.headers.get(b"idempotency-key")
    if given is None:
        return uuid4().hex
    return blake2b(
        request.caller.name.encode() + b"\n" + given.strip(b' "') + order_id.bytes, digest_size=16
    ).hexdigest()
