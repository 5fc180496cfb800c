"""The page of one order, for its buyer and for service: three files, as they are, without a build; or one, to keep."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from hashlib import sha256
from importlib.resources import files

import msgspec

from agents.http.app import Route, Routes
from agents.http.messages import Answer, Request
from streams.timeline import Timeline
from streams.why import Why

_TYPES = {"html": b"text/html; charset=utf-8", "css": b"text/css", "js": b"text/javascript"}
_HEADERS = {
    b"cache-control": b"no-cache",
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; "
    b"connect-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}
_STYLE = '<link rel="stylesheet" href="/page/order.css">'
_SCRIPT = '<script type="module" src="/page/order.js"></script>'
_ENGLISH, _CHINESE = '<html lang="en">', '<html lang="zh">'


def pages() -> Routes:
    """The page under the name of any order, and what it loads. It holds nothing of an order: that comes by the API."""
    return {
        "/orders/{order}": {"GET": Route(_page(), None)},
        "/page/order.css": {"GET": Route(_file("order.css"), None)},
        "/page/order.js": {"GET": Route(_file("order.js"), None)},
    }


def snapshot(timeline: Timeline, at: datetime, why: Why | None = None) -> str:
    """The page as one file that shows this order as it stood at that time, and asks nobody; with `why` for service."""
    held = msgspec.json.encode({"timeline": timeline, "why": why, "at": at}).decode().replace("<", "\\u003c")
    found = _text("order.html").replace(_STYLE, f"<style>\n{_text('order.css')}</style>")
    data = f'<script type="application/json" id="held">{held}</script>'
    return found.replace(_SCRIPT, f'{data}\n<script type="module">\n{_text("order.js")}</script>')


def prefers_chinese(accept_language: bytes) -> bool:
    """Whether who sent this header reads Chinese rather than English. Neither: English."""
    best, found = 0.0, b"en"
    for entry in accept_language.lower().split(b","):
        tag, _, weight = entry.strip().partition(b";")
        kind = tag.strip()[:2]
        try:
            share = float(weight.strip().removeprefix(b"q=") or 1)
        except ValueError:
            continue
        if kind in {b"zh", b"en"} and share > best:
            best, found = share, kind
    return found == b"zh"


def _page() -> Callable[[Request], Awaitable[Answer]]:
    english = _text("order.html")
    assert _ENGLISH in english, "the page says its language"
    answers = {
        False: _static(english.encode(), "html"),
        True: _static(english.replace(_ENGLISH, _CHINESE).encode(), "html"),
    }

    async def answer(request: Request) -> Answer:
        found = answers[prefers_chinese(request.headers.get(b"accept-language", b""))](request)
        found.headers = {**found.headers, b"vary": b"accept-language"}
        return found

    return answer


def _file(name: str) -> Callable[[Request], Awaitable[Answer]]:
    found = _static(_text(name).encode(), name.rpartition(".")[2])

    async def answer(request: Request) -> Answer:
        return found(request)

    return answer


def _static(content: bytes, kind: str) -> Callable[[Request], Answer]:
    tag = b'"%b"' % sha256(content).hexdigest()[:16].encode()
    headers = {**_HEADERS, b"etag": tag}

    def answer(request: Request) -> Answer:
        if request.headers.get(b"if-none-match") == tag:
            return Answer(304, headers=headers)
        return Answer(200, content, _TYPES[kind], headers)

    return answer


def _text(name: str) -> str:
    return (files("agents.http") / "page" / name).read_text(encoding="utf-8")
