"""`/ops`: the page with charts that the exporter serves, and what it draws, as JSON. Three files, without a build."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from time import monotonic
from typing import Any

import orjson
from prometheus_client.registry import Collector

from agents.exporter.scraping import Told
from agents.observe.server import Answer, Asked, Handler
from agents.ops.attention import notes
from agents.ops.course import Course
from agents.ops.view import View
from agents.ops.window import Look

_TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
}


@dataclass(slots=True)
class Board:
    """What the page shows. `step` once a look."""

    exporter: Collector
    workers: Callable[[], Sequence[Told]]
    course: Course = field(default_factory=Course)

    def step(self) -> None:
        """Take the newest looks in."""
        self.course.add(Look(monotonic(), self.workers(), _told(self.exporter)), datetime.now(UTC))

    def routes(self) -> Mapping[str, Handler]:
        """The page, and what it loads."""
        return {
            "/ops": _file("ops.html"),
            "/ops/ops.css": _file("ops.css"),
            "/ops/ops.js": _file("ops.js"),
            "/ops.json": self._answer,
        }

    async def _answer(self, asked: Asked) -> Answer:
        """How it stands, and how it went: after `since`, a time as it was told, only what is newer."""
        since = asked.query.get("since", "")
        points = [asdict(point) for point in self.course.points]
        body = {
            "now": None if self.course.newest is None else as_json(self.course.newest),
            "points": [point for point in points if point["at"].isoformat() > since],
        }
        return Answer(200, orjson.dumps(body))


def as_json(seen: View) -> dict[str, Any]:
    """A view and what needs attention in it. What is not known, and what is endless, is null."""
    return {**asdict(seen), "notes": [asdict(note) for note in notes(seen)]}


def _told(collector: Collector) -> Told:
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for one in collector.collect():
        for sample in one.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Told("", samples)


def _file(name: str) -> Handler:
    answer = Answer(200, (files("agents.ops") / "page" / name).read_bytes(), _TYPES[name.rpartition(".")[2]], _HEADERS)

    async def handler(_: Asked) -> Answer:
        return answer

    return handler
