"""uvicorn's HTTP/1.1 protocol with the two limits that it lacks: how long and how large a request's head may be."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 32_768
GRACE_S = 0.05


def protocol(head_timeout_s: float) -> type[asyncio.Protocol]:
    """The protocol with this time-out. A connection that is silent from the start is closed by it, too."""

    class BoundedHead(HttpToolsProtocol):
        """Closes connections whose head is late or too large."""

        _late: asyncio.TimerHandle | None = None
        _head_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_head()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._head_bytes = 0
            if self._late is None:
                self._expect_head()

        def on_url(self, url: bytes) -> None:
            super().on_url(url)
            self._count(len(url))

        def on_header(self, name: bytes, value: bytes) -> None:
            super().on_header(name, value)
            self._count(len(name) + len(value))

        def on_headers_complete(self) -> None:
            self._forget_head()
            super().on_headers_complete()

        def _count(self, size: int) -> None:
            self._head_bytes += size
            if self._head_bytes > MAX_HEAD_BYTES:
                raise ValueError(f"a request's head has more than {MAX_HEAD_BYTES} bytes")  # the parser answers 400

        def _expect_head(self) -> None:
            self._late = self.loop.call_later(head_timeout_s, self._look_once_more)

        def _look_once_more(self) -> None:
            # The loop calls what is due before it reads: after a stall of ours the head may have been here for long.
            self._late = self.loop.call_later(GRACE_S, self.transport.close)

        def _forget_head(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return BoundedHead
