"""The published contract, as somebody else's code would check it: JSON Schema, and the few rules beside it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "schemas"
MAX_BYTES = 65_536
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def published_schema(name: str) -> dict[str, Any]:
    """A schema as it is published, by the name of its message in lower case."""
    found: dict[str, Any] = json.loads((PUBLISHED / f"{name}.v1.json").read_text(encoding="utf-8"))
    return found


@cache
def validator(name: str) -> Draft202012Validator:
    """A validator that looks at formats, too."""
    schema = published_schema(name)
    Draft202012Validator.check_schema(schema)
    assert "date-time" in FormatChecker.checkers, "times would pass unlooked at"
    return Draft202012Validator(schema, format_checker=FormatChecker())


class _NotJson(ValueError):
    """What some parsers let through."""


class _Unclear(ValueError):
    """What the standards leave to each parser."""


def is_valid(value: bytes | None) -> bool | None:
    """Whether these bytes are a submission; None where JSON and its schemas leave it open."""
    if not value or len(value) > MAX_BYTES:
        return False
    try:
        text = value.decode()
        parsed = json.loads(text, parse_constant=_refuse, object_pairs_hook=_pairs)
        json.dumps(parsed, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except _Unclear:
        return None
    except UnicodeDecodeError:
        return None if _is_json(value.decode("latin-1")) else False
    except (ValueError, RecursionError):
        return False
    errors = list(validator("submission").iter_errors(parsed))
    if any(error.validator != "format" for error in errors):
        return False
    if any(isinstance(number, float) for line in parsed["lines"] for number in line.values()):
        return None  # 1.0 is an integer to JSON Schema, and to few others
    return _may_be_meant(parsed["submitted_at"], strict=not errors)


def _may_be_meant(text: str, *, strict: bool) -> bool | None:
    """Whether a time is one with an offset, between 2000 and 2100; None for what only some parsers take."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None if strict else False
    if moment.tzinfo is None or not EARLIEST <= moment < LATEST:
        return False
    return True if strict else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> Any:
    raise _NotJson(constant)


def _pairs(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Unclear("a name stands twice")
    return found
