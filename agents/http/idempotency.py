"""The header `Idempotency-Key`: a repeat gets the first answer again, one at the same time 409, another request 422.

As draft-ietf-httpapi-idempotency-key-header has it. An order needs no key to be taken once (its submission id sees to
that, for ever); the key is for clients that want the same answer to the same request, and to be told when they mix up
two. It belongs to the caller that sent it.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from http import HTTPStatus
from os import urandom

from agents.http.messages import Answer, Request
from agents.http.problems import Refusal, bad_parameter, come_again
from streams.errors import Unavailable
from streams.stores.answers import FINGERPRINT_BYTES, OWNER_BYTES, Answers, Claim

_KEY = re.compile(rb'"([!#-\[\]-~]{1,128})"|([!#-\[\]-~]{1,128})')
"""A structured header's string without its escapes; bare ones are common, so they are taken too."""

logger = logging.getLogger(__name__)


class Keys:
    """Does work once for each key."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def once(self, request: Request, body: bytes, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of `work`, or the one kept. Raises `Refusal`; what `work` raises is not kept."""
        given = request.headers.get(b"idempotency-key")
        if given is None:
            return await work()
        match = _KEY.fullmatch(given.strip())
        if match is None:
            raise bad_parameter(
                "Idempotency-Key", "this is no key", 'send up to 128 visible characters in double quotes, as "8e03978e"'
            )
        name = request.caller.name.encode() + b"\n" + (match[1] or match[2])
        key, fingerprint = _digest(name), _digest(body)
        return await self._once(key, fingerprint, work)

    async def _once(self, key: bytes, fingerprint: bytes, work: Callable[[], Awaitable[Answer]]) -> Answer:
        owner = urandom(OWNER_BYTES)
        try:
            claim, kept = await self._answers.claim(key, fingerprint, owner)
        except Unavailable as error:
            logger.warning("idempotency keys: %s", error)
            raise come_again("unavailable", "idempotency keys cannot be looked up now; nothing was taken") from error
        if claim is Claim.OTHER_REQUEST:
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "key_reused",
                "another request was sent under this key",
                field="Idempotency-Key",
                fix="use a new key for a new request; repeat a request byte for byte",
            )
        if claim is Claim.IN_FLIGHT:
            raise come_again("in_flight", "the first request under this key is not answered yet", status=409)
        if claim is Claim.ANSWERED:
            assert kept is not None, "an answered key has an answer"
            return _unpack(kept)
        try:
            answer = await work()
        except BaseException:
            await self._forget(key, fingerprint, owner)
            raise
        await self._keep(key, fingerprint, owner, answer)
        return answer

    async def _keep(self, key: bytes, fingerprint: bytes, owner: bytes, answer: Answer) -> None:
        """The order is safe, whether its answer is kept or not; a repeat makes that again once the claim has ended."""
        try:
            await self._answers.keep(key, fingerprint, owner, _pack(answer))
        except Unavailable as error:
            logger.warning("an answer was not kept: %s", error)

    async def _forget(self, key: bytes, fingerprint: bytes, owner: bytes) -> None:
        try:
            await self._answers.forget(key, fingerprint, owner)
        except Unavailable as error:
            logger.warning("a key was not given back and waits for its claim to end: %s", error)


def _pack(answer: Answer) -> bytes:
    return b"%d\n%b\n%b" % (answer.status, answer.headers.get(b"location", b""), answer.body)


def _unpack(kept: bytes) -> Answer:
    status, location, body = kept.split(b"\n", 2)
    return Answer(int(status), body, headers={b"location": location, b"idempotency-replayed": b"true"})


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=FINGERPRINT_BYTES).digest()
