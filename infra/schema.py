"""The published contract, made from the code: JSON Schemas, AsyncAPI of the topics, OpenAPI of the front, and pages."""

from inspect import cleandoc
from typing import Any

import msgspec
import orjson

from agents.http.openapi import document_text
from infra.metrics_page import metrics_page
from infra.settings_page import settings_page
from infra.sources_page import sources_page
from infra.vocabulary_page import vocabulary_page
from streams import messages, topics

VERSION = "1.0.0"
MESSAGES = {
    "submission.v1": messages.Submission,
    "decision.v1": messages.Decision,
    "report.v1": messages.Report,
    "order-changed.v1": messages.OrderChanged,
    "pick-list.v1": messages.PickList,
    "notification.v1": messages.Notification,
    "ticket.v1": messages.Ticket,
    "dead-letter.v1": messages.DeadLetter,
    "review.v1": messages.Review,
}
_WE_READ = {topics.SUBMITTED.name, topics.REPORTED.name}


def documents() -> dict[str, str]:
    """File name to text, all of what is published."""
    files = {f"schemas/{name}.json": _text(_schema(name, kind)) for name, kind in MESSAGES.items()}
    files["asyncapi.json"] = _text(_asyncapi())
    files["openapi.json"] = document_text()
    files["settings.md"] = settings_page()
    files["metrics.md"] = metrics_page()
    files["vocabulary.md"] = vocabulary_page()
    files["sources.md"] = sources_page()
    return files


def _schema(name: str, kind: type[Any]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **msgspec.json.schema(kind),
    }


def _asyncapi() -> dict[str, Any]:
    used = sorted({topic.message for topic in topics.ALL}, key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(used, ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Floodway",
            "version": VERSION,
            "description": "Order submissions in, durable decisions out. Money is integer minor units; every "
            "timestamp carries its offset from UTC; unknown fields are tolerated.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_channel_id(topic): _channel(topic) for topic in topics.ALL},
        "operations": {f"{_verb(topic)}-{_channel_id(topic)}": _operation(topic) for topic in topics.ALL},
        "components": {
            "schemas": dict(sorted(components.items())),
            "messages": {kind.__name__: _message(kind) for kind in used},
        },
    }


def _channel(topic: topics.Topic) -> dict[str, Any]:
    name = topic.message.__name__
    return {
        "address": topic.name,
        "description": f"{topic.summary} Keyed: {topic.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"kafka": {"topic": topic.name, "topicConfiguration": _configuration(topic)}},
    }


def _configuration(topic: topics.Topic) -> dict[str, Any]:
    settings = topic.settings
    return {
        "cleanup.policy": [settings["cleanup.policy"]],
        "retention.ms": int(settings["retention.ms"]),
        "max.message.bytes": int(settings["max.message.bytes"]),
    }


def _operation(topic: topics.Topic) -> dict[str, Any]:
    return {
        "action": _verb(topic),
        "channel": {"$ref": f"#/channels/{_channel_id(topic)}"},
        "summary": topic.summary,
    }


def _message(kind: type[Any]) -> dict[str, Any]:
    return {
        "name": kind.__name__,
        "contentType": "application/json",
        "summary": (kind.__doc__ or "").split("\n")[0],
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
    }


def _verb(topic: topics.Topic) -> str:
    """AsyncAPI tells what the described application does: it receives what others produce, and sends the rest."""
    return "receive" if topic.name in _WE_READ else "send"


def _channel_id(topic: topics.Topic) -> str:
    return topic.name.replace(".", "-")


def _described(node: Any) -> Any:
    """The same with descriptions free of indentation: Python 3.13 strips docstrings when it compiles, 3.11 does not."""
    if isinstance(node, dict):
        return {k: cleandoc(v) if k == "description" and isinstance(v, str) else _described(v) for k, v in node.items()}
    return [_described(value) for value in node] if isinstance(node, list) else node


def _text(document: dict[str, Any]) -> str:
    return orjson.dumps(_described(document), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
