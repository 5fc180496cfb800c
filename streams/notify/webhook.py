"""Webhooks: one POST a message, signed as Standard Webhooks has it. Any 2xx is a delivery.

What may go through later (no connection, no answer in time, 5xx, 408, 425, 429) is `TargetUnavailable`; any other
answer is a refusal. Of an answer only its status and `Retry-After` are read, so its size does not matter.
"""

from time import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from streams.core.signing import signed_headers, webhook_id
from streams.core.sinks import Webhook
from streams.core.wording import Rendered
from streams.errors import FloodwayError, TargetRefused, TargetUnavailable
from streams.notify.addresses import PublicResolver, check_literal

MAX_BODY_BYTES = 262_144
MAX_RETRY_AFTER_S = 3_600.0
LATER = frozenset({408, 425, 429})
"""Answers below 500 that ask for another try."""


class WebhookSink:
    """One target. Use as a context: its connections are kept between messages."""

    def __init__(self, target: Webhook, *, private: bool) -> None:
        self._target, self._private = target, private
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=self._target.bounds.concurrency, resolver=PublicResolver(private=self._private), use_dns_cache=False
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._target.bounds.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy from the environment would connect for us, unjudged
            max_line_size=8_190,
            max_field_size=8_190,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, message: Rendered, at: str) -> None:
        """Deliver a message. Raises `TargetUnavailable` or `TargetRefused`."""
        assert self._session is not None, "used as a context"
        url, body = self._target.url, message.body(at)
        if len(body) > MAX_BODY_BYTES:
            raise TargetRefused("too_large", f"{len(body)} bytes are more than {MAX_BODY_BYTES}")
        check_literal(urlsplit(url).hostname or "", private=self._private)
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "floodway",
            **signed_headers(webhook_id(message.delivery_id), body, self._target.secrets, int(time())),
        }
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                _judge(answer.status, answer.headers.get("retry-after"))
        except aiohttp.InvalidURL as error:  # an address in another form than the one it is looked at in
            raise TargetRefused("no_address", str(error)[:300]) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            refused = _cause(error)
            if refused is not None:
                raise refused from error
            words = str(error) or type(error).__name__
            raise TargetUnavailable(f"{self._target.name} did not take it: {words[:300]}") from error


def _judge(status: int, retry_after: str | None) -> None:
    if 200 <= status < 300:
        return
    if status >= 500 or status in LATER:
        error = TargetUnavailable(f"it answered {status}")
        if retry_after is not None and retry_after.isdecimal() and len(retry_after) < 10:
            error.asked_s = min(float(retry_after), MAX_RETRY_AFTER_S)
        raise error
    raise TargetRefused("refused", f"it answered {status}; mend the receiver, then replay")


def _cause(error: BaseException | None) -> FloodwayError | None:
    """What our resolver refused, inside of what aiohttp makes of it."""
    while error is not None:
        if isinstance(error, TargetRefused):
            return error
        error = error.__cause__ or error.__context__
    return None
