"""The page of one order, for its buyer and for service: three files, as they are, without a build."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from importlib.resources import files

from agents.http.app import Route, Routes
from agents.http.messages import Answer, Request

_TYPES = {"html": b"text/html; charset=utf-8", "css": b"text/css", "js": b"text/javascript"}
_HEADERS = {
    b"cache-control": b"no-cache",
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; "
    b"connect-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


def pages() -> Routes:
    """The page under the name of any order, and what it loads. It holds nothing of an order: that comes by the API."""
    return {
        "/orders/{order}": {"GET": Route(_file("order.html"), None)},
        "/page/order.css": {"GET": Route(_file("order.css"), None)},
        "/page/order.js": {"GET": Route(_file("order.js"), None)},
    }


def _file(name: str) -> Callable[[Request], Awaitable[Answer]]:
    content = (files("agents.http") / "page" / name).read_bytes()
    tag = b'"%b"' % sha256(content).hexdigest()[:16].encode()
    headers = {**_HEADERS, b"etag": tag}

    async def answer(request: Request) -> Answer:
        if request.headers.get(b"if-none-match") == tag:
            return Answer(304, headers=headers)
        return Answer(200, content, _TYPES[name.rpartition(".")[2]], headers)

    return answer
