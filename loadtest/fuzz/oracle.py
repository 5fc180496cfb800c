"""What others would say of a message: the published JSON Schema and another parser, which know nothing of ours.

Where they and we differ it must be for a reason that is written down here: JSON and its schemas leave corners open.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal
from uuid import UUID

import jsonschema_rs
import msgspec
import orjson

from infra.schema import documents
from streams.messages import MAX_MESSAGE_BYTES, Report, Submission

Name = Literal["submission", "report", "decision"]

EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
DEEP = 500
"""Nested deeper than this, parsers differ in when they give up."""
_TIMES = ("submitted_at", "occurred_at")
_MICROSECOND = timedelta(microseconds=1)


class _NotJson(ValueError):
    """What the parser would let through."""


class _Twice(ValueError):
    """A name stands twice in an object."""


@cache
def _schema(name: Name) -> Any:
    text = documents()[f"schemas/{name}.v1.json"]
    return jsonschema_rs.validator_for(json.loads(text), validate_formats=True)


def obeys(name: Name, value: bytes) -> bool:
    """Whether bytes are JSON and obey the published schema."""
    try:
        return bool(_schema(name).is_valid(orjson.loads(value)))
    except orjson.JSONDecodeError:
        return False


def judged(name: Name, value: bytes | None) -> bool:
    """Whether somebody who knows the contract only would take this message."""
    if not value or len(value) > MAX_MESSAGE_BYTES:
        return False
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    if not _schema(name).is_valid(parsed):
        return False
    moment = _moment(parsed["submitted_at" if name == "submission" else "occurred_at"])
    return moment is not None and EARLIEST <= moment < LATEST


def corner(name: Name, value: bytes, *, taken: bool) -> str | None:
    """Why our decoder may differ from `judged` on a message that it has taken or not; None when it may not."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        # A parser that skips what it does not know need not look whether that is text.
        blanked = value.decode("utf-8", "replace").replace("\ufffd", "?").encode()  # no longer than it was
        if taken and judged(name, blanked):
            return "not UTF-8 in an unknown field"
        return corner(name, blanked, taken=taken) if taken else None
    if text.count("[") + text.count("{") > DEEP:
        return "nested deeply"
    try:
        parsed = json.loads(text, parse_constant=_refuse, object_pairs_hook=_pairs)
    except _Twice:
        return "a name stands twice"
    except (ValueError, RecursionError):
        return None
    if taken and not _is_json(value):
        return "half a surrogate pair or a huge number in an unknown field"
    if not isinstance(parsed, dict):
        return None
    return _corner_of_fields(name, parsed, taken=taken)


def _corner_of_fields(name: Name, parsed: dict[str, Any], *, taken: bool) -> str | None:
    lines = parsed.get("lines") or []
    numbers = [parsed.get("amount"), *(v for line in lines if isinstance(line, dict) for v in line.values())]
    if any(isinstance(number, float) and number.is_integer() for number in numbers):
        return "1.0 is an integer to JSON Schema"
    time = parsed.get("submitted_at" if name == "submission" else "occurred_at")
    if isinstance(time, str) and _is_odd_time(time):
        return "a time that some parsers take"
    if name == "report" and taken and _is_uuid(parsed.get("order_id")):
        return "an id without its dashes"
    return None


def differs(name: Name, value: bytes, found: Submission | Report) -> str | None:
    """The first field of a decoded message that another parser reads otherwise; None when both read the same."""
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None  # `corner` has judged it
    return _unlike(msgspec.to_builtins(found), parsed, "$")


def _unlike(ours: Any, theirs: Any, path: str) -> str | None:
    if isinstance(ours, dict):
        if not isinstance(theirs, dict):
            return path
        # Defaults are left out when we write, and may be spelled out by others.
        return next((bad for name in ours if (bad := _unlike(ours[name], theirs.get(name), f"{path}.{name}"))), None)
    if isinstance(ours, list | tuple):
        if not isinstance(theirs, list) or len(ours) != len(theirs):
            return path
        pairs = enumerate(zip(ours, theirs, strict=True))
        return next((bad for i, (a, b) in pairs if (bad := _unlike(a, b, f"{path}[{i}]"))), None)
    if path.removeprefix("$.") in _TIMES:
        return None if _same_time(ours, theirs) else path
    if path == "$.order_id":
        return None if UUID(ours) == UUID(theirs) else path
    return None if type(ours) is type(theirs) and ours == theirs else path


def _same_time(ours: str, theirs: Any) -> bool:
    a, b = _moment(ours), _moment(theirs)
    # Digits past microseconds may be rounded or cut.
    return a is not None and (b is None or abs(a - b) <= _MICROSECOND)


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.upper())
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError, AttributeError):
        return None


def _is_odd_time(text: str) -> bool:
    """Whether it is more, or less, than the one form that everybody writes."""
    date, mark, rest = text[:10], text[10:11], text[11:]
    plain = mark == "T" and rest[2:3] == rest[5:6] == ":" and (rest.endswith("Z") or rest[-6:-5] in "+-")
    digits = all(part.isascii() and part.isdigit() for part in (*date.split("-"), rest[:2], rest[3:5], rest[6:8]))
    fraction = rest[8:].rstrip("Z").partition("+")[0].partition("-")[0]
    odd = not (plain and digits) or rest[6:8] == "60" or rest[:2] == "24" or len(fraction) > len(".123456")
    return odd or rest[-6:] == "-00:00" or _moment(text) is None


def _is_uuid(text: Any) -> bool:
    try:
        return isinstance(text, str) and len(text) != len(str(UUID(text)))
    except ValueError:
        return False


def _is_json(value: bytes) -> bool:
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return True


def _refuse(constant: str) -> Any:
    raise _NotJson(constant)


def _pairs(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice
    return found
