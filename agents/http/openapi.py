"""The OpenAPI document of the front, made from the types that it reads and writes."""

from functools import cache
from inspect import cleandoc
from typing import Any

import msgspec
import orjson

from agents.http.links import Link
from agents.http.problems import Problem
from agents.http.reading import READ_TOKEN
from agents.http.remarking import RemarkAsked, Remarked
from agents.http.submitting import LineRefused, LineTaken, Taken
from streams.messages import Submission
from streams.story import Story
from streams.timeline import Timeline
from streams.why import Why

VERSION = "1.1.0"
_TYPES = (Submission, Taken, LineTaken, LineRefused, Problem, Story, Timeline, Why, Link, RemarkAsked, Remarked)
_REF = "#/components/schemas/{name}"

_ORDER = (
    "^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}|"
    "[A-Za-z0-9][A-Za-z0-9._~@+-]{0,31}:[!-~]{1,64})$"
)
_READ_TOKEN = "^[0-9A-F]{1,8}/[0-9A-F]{1,8}$"  # noqa: S105 - a pattern

JSON, NDJSON, PROBLEM, EVENTS = (
    "application/json",
    "application/x-ndjson",
    "application/problem+json",
    "text/event-stream",
)

_WORDS = {
    "400": "The request is wrong; `field` and `fix` tell where and what to change.",
    "401": "No token, or none that is known.",
    "403": "The token has not this scope.",
    "404": "No decision on this order is known. One that was just taken is decided within moments: pass `wait`.",
    "408": "The body stood still for too long.",
    "409": "Not as things are: `type` tells whether a request under this `Idempotency-Key` is being worked on, several "
    "orders have this name, the order was rejected, or no key for links is set.",
    "413": "The body is too large.",
    "414": "The query is too long.",
    "415": "Another content type than this operation takes.",
    "422": "Another request was sent under this `Idempotency-Key`.",
    "429": "The token's rate is used up.",
    "503": "Not now; nothing is lost by a repeat of the same request.",
}
_REPLAYED = {
    "description": "`true` when this is an earlier answer under the same key.",
    "schema": {"type": "string"},
}
_RETRIED = {"409", "429", "503"}


@cache
def document_text() -> str:
    """The document as text, the same for the same code."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Floodway",
            "version": VERSION,
            "description": "Orders in, durable decisions out. Money is integer minor units; every timestamp carries "
            "its offset from UTC; unknown fields of an order are tolerated.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}, {}],
        "paths": {
            "/v1/orders": {"post": _submit()},
            "/v1/orders:batch": {"post": _batch()},
            "/v1/orders/{order}": {"get": _order()},
            "/v1/orders/{order}/timeline": {"get": _timeline()},
            "/v1/orders/{order}/events": {"get": _events()},
            "/v1/orders/{order}/why": {"get": _why()},
            "/v1/orders/{order}/links": {"post": _link()},
            "/v1/orders/{order}/remarks": {"post": _remark()},
            "/livez": {"get": _health("livez", "Whether this process lives.", ready=False)},
            "/readyz": {"get": _health("readyz", "Whether it can take orders: Kafka answers.", ready=True)},
            "/openapi.json": {"get": _self()},
        },
        "components": {
            "schemas": _described(dict(sorted(schemas.items()))),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Scopes orders:write, orders:read, orders:remark; timeline and events of an order "
                    "take the token of a link to it, too. Without tokens only this machine is served.",
                }
            },
        },
    }


def _submit() -> dict[str, Any]:
    taken = _json(Taken, "The order is durable in Kafka, and will be decided.")
    taken["headers"] = {
        "Location": {"description": "Where its decision will be found.", "schema": {"type": "string"}},
        "Idempotency-Replayed": _REPLAYED,
    }
    return {
        "operationId": "submitOrder",
        "summary": "Submit an order.",
        "parameters": [_key(), _traceparent()],
        "requestBody": {"required": True, "content": {JSON: {"schema": _ref(Submission)}}},
        "responses": {"202": taken} | _problems("400", "408", "409", "413", "415", "422"),
    }


def _batch() -> dict[str, Any]:
    lines = {"schema": {"type": "string", "description": "Lines of LineTaken or LineRefused, in the order sent."}}
    counts = {
        name: {"description": words, "schema": {"type": "integer"}}
        for name, words in (("Floodway-Taken", "Lines taken."), ("Floodway-Not-Taken", "Lines not taken."))
    }
    return {
        "operationId": "submitBatch",
        "summary": "Submit many orders, one JSON object a line; each line is taken or refused by itself.",
        "parameters": [_traceparent()],
        "requestBody": {
            "required": True,
            "content": {
                NDJSON: {"schema": {"type": "string", "pattern": "[!-~]", "description": "Lines of Submission."}}
            },
        },
        "responses": {
            "200": {"description": "All lines were taken.", "headers": counts, "content": {NDJSON: lines}},
            "207": {
                "description": "Some were not. A last line behind all says so when not all of the body was read.",
                "headers": counts,
                "content": {NDJSON: lines},
            },
        }
        | _problems("400", "408", "413", "415"),
    }


def _order() -> dict[str, Any]:
    wait = {
        "name": "wait",
        "in": "query",
        "description": "Wait so many seconds for the decision, within the server's bound.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,5}(\\.[0-9]+)?$"},
    }
    return {
        "operationId": "readOrder",
        "summary": "What was decided on an order and what became of it.",
        "parameters": [*_reader(), wait],
        "responses": {"200": _read(Story), "304": _unchanged()} | _problems("400", "404", "409", "414"),
    }


def _timeline() -> dict[str, Any]:
    return {
        "operationId": "readTimeline",
        "summary": "What happened to an order and where it is, as its buyer may read it.",
        "parameters": _reader(),
        "responses": {"200": _read(Timeline), "304": _unchanged()} | _problems("400", "404", "409", "414"),
    }


def _why() -> dict[str, Any]:
    return {
        "operationId": "readWhy",
        "summary": "Why an order is where it is: every report and what it did, how long stages took, what is late.",
        "parameters": _reader()[:2],
        "responses": {"200": _json(Why, "It.")} | _problems("400", "404", "409", "414"),
    }


def _link() -> dict[str, Any]:
    return {
        "operationId": "makeLink",
        "summary": "A link for the buyer: its token shows the timeline of this order, and nothing else, until its day.",
        "parameters": _reader()[:2],
        "responses": {"201": _json(Link, "The link.")} | _problems("400", "404", "409", "414"),
    }


def _remark() -> dict[str, Any]:
    return {
        "operationId": "remark",
        "summary": "Say something to the buyer, a delay's reason for one; kept for ever, with who said it and when.",
        "parameters": [*_reader()[:1], _key()],
        "requestBody": {"required": True, "content": {JSON: {"schema": _ref(RemarkAsked)}}},
        "responses": {
            "202": _json(Remarked, "The remark is durable in Kafka.") | {"headers": {"Idempotency-Replayed": _REPLAYED}}
        }
        | _problems("400", "404", "408", "409", "413", "414", "415", "422"),
    }


def _events() -> dict[str, Any]:
    last = _header("Last-Event-ID", "The last moment seen: the stream goes on behind it.", {"type": "string"})
    return {
        "operationId": "streamEvents",
        "summary": "What happened to an order, and then what happens, as server-sent events: each a Moment.",
        "parameters": [*_reader()[:2], last],
        "responses": {"200": {"description": "The stream.", "content": {EVENTS: {"schema": {"type": "string"}}}}}
        | _problems("400", "409", "414"),
    }


def _health(name: str, summary: str, *, ready: bool) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}
    good = {"description": "Yes.", "content": {JSON: {"schema": schema}}}
    bad = ("400", "503") if ready else ("400",)
    return {
        "operationId": name,
        "summary": summary,
        "security": [],
        "responses": {"200": good} | _only(*bad),
    }


def _self() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "summary": "This document.",
        "security": [],
        "responses": {
            "200": {"description": "It.", "content": {JSON: {"schema": {"type": "object"}}}},
            **_only("400", "503"),
        },
    }


def _reader() -> list[dict[str, Any]]:
    return [
        {
            "name": "order",
            "in": "path",
            "required": True,
            "description": "The order's id or trace id, `channel:submission_id`, or `channel:number`; buyers: its id.",
            "schema": {"type": "string", "pattern": _ORDER},
        },
        _header(
            READ_TOKEN.title(),
            "A decision's `read_token`, or that of an earlier answer: this one then shows at least as much.",
            {"type": "string", "pattern": _READ_TOKEN, "minLength": 3, "maxLength": 17},
        ),
        _header("If-None-Match", "The ETag of an earlier answer.", {"type": "string"}),
    ]


def _key() -> dict[str, Any]:
    return _header(
        "Idempotency-Key",
        "Repeat it to get the same answer again; see draft-ietf-httpapi-idempotency-key-header. Not needed for an "
        "order to be taken once: its submission_id sees to that.",
        {"type": "string", "pattern": "^[!#-\\[\\]-~]{1,128}$"},
    )


def _traceparent() -> dict[str, Any]:
    return _header("traceparent", "W3C trace context; goes with the order.", {"type": "string"})


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _read(kind: type[Any]) -> dict[str, Any]:
    answer = _json(kind, "It.")
    answer["headers"] = {
        "ETag": {"description": "Changes with every moment of the order.", "schema": {"type": "string"}},
        READ_TOKEN.title(): {
            "description": "Pass it to see at least as much, where one is known.",
            "schema": {"type": "string"},
        },
    }
    return answer


def _unchanged() -> dict[str, Any]:
    return {"description": "Nothing new since the answer with this ETag."}


def _json(kind: type[Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": _ref(kind)}}}


def _problems(*statuses: str) -> dict[str, Any]:
    return _only(*sorted({*statuses, "401", "403", "429", "503"}))


def _only(*statuses: str) -> dict[str, Any]:
    found = {}
    for status in statuses:
        found[status] = {"description": _WORDS[status], "content": {PROBLEM: {"schema": _ref(Problem)}}}
        if status in _RETRIED:
            found[status]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return found


def _ref(kind: type[Any]) -> dict[str, str]:
    return {"$ref": _REF.format(name=kind.__name__)}


def _described(node: Any) -> Any:
    """The same with descriptions free of indentation: Python 3.13 strips docstrings when it compiles, 3.11 does not."""
    if isinstance(node, dict):
        return {k: cleandoc(v) if k == "description" and isinstance(v, str) else _described(v) for k, v in node.items()}
    return [_described(value) for value in node] if isinstance(node, list) else node
