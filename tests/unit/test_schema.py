"""The published contract is current, well-formed and says what the decoder does."""

from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from infra.schema import MESSAGES, documents
from streams import topics
from streams.core.decode import MessageDecoder, Undecodable
from streams.messages import Submission

DOCS = Path(__file__).parents[2] / "docs"

GOOD: dict[str, Any] = {
    "submission_id": "s-1",
    "channel": "tmall",
    "buyer_id": "b-1",
    "lines": [{"sku": "A-1", "qty": 1, "unit_price": 1999}],
    "currency": "CNY",
    "submitted_at": "2026-11-11T00:00:00+08:00",
}


@pytest.mark.parametrize("name", documents())
def test_committed_documents_are_current(name: str) -> None:
    """What is committed under docs/ is what the code says now; `floodway schema` writes it."""
    assert (DOCS / name).read_text(encoding="utf-8") == documents()[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_schemas_are_valid_schemas(name: str) -> None:
    """Each message's schema is itself valid under JSON Schema 2020-12."""
    jsonschema.Draft202012Validator.check_schema(orjson.loads(documents()[f"schemas/{name}.json"]))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"lines": []},
        {"lines": [{"sku": "A", "qty": 0, "unit_price": 1}]},
        {"lines": [{"sku": "A", "qty": 10_001, "unit_price": 1}]},
        {"lines": [{"sku": "A|B", "qty": 1, "unit_price": 1}]},
        {"lines": [{"sku": "A\n", "qty": 1, "unit_price": 1}]},
        {"currency": "cny"},
        {"channel": "a:b"},
        {"buyer_id": ""},
        {"submission_id": "x" * 65},
        {"channel_order_no": "\x00"},
        {"submitted_at": "2026-11-11T00:00:00"},
        {"extra": {"anything": [1, 2]}},
        {"promotion_id": None},
        {"ship_to": {"city": "杭州"}},
    ],
)
def test_schema_and_decoder_agree(change: dict[str, Any]) -> None:
    """A producer that validates by the schema is never refused by the decoder, and the other way round."""
    message = GOOD | change
    schema = orjson.loads(documents()["schemas/submission.v1.json"])
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    decoded = MessageDecoder(Submission).decode(orjson.dumps(message))
    assert validator.is_valid(message) is not isinstance(decoded, Undecodable)


def test_asyncapi_names_every_topic_and_resolves() -> None:
    """The AsyncAPI document has each topic once, and every reference in it points at something."""
    document = orjson.loads(documents()["asyncapi.json"])
    assert [channel["address"] for channel in document["channels"].values()] == [topic.name for topic in topics.ALL]
    references = list(_references(document))
    assert len(references) > len(topics.ALL)
    for reference in references:
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
