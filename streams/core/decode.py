"""Bytes to messages, with errors that a producer can act on. Pure."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from streams.core.texts import WrongText, wrong_text_of_report, wrong_text_of_submission
from streams.messages import MAX_MESSAGE_BYTES, Notification, Report, Submission, Ticket

T = TypeVar("T", Submission, Report, Notification, Ticket)

_WRONG_TEXT: dict[type[Any], Callable[[Any], WrongText | None]] = {
    Submission: wrong_text_of_submission,
    Report: wrong_text_of_report,
    Notification: lambda _: None,  # we write these ourselves
    Ticket: lambda _: None,
}

_PATH = re.compile(r" - at `(\$[^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]*)`")
_TRACEPARENT = re.compile(rb"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

EARLIEST_S = 946_684_800  # 2000-01-01
LATEST_S = 4_102_444_800  # 2100-01-01

# What a producer should do, by what msgspec says; the first that matches.
_FIXES = (
    ("missing required field", "add the field"),
    ("timezone component", "append the offset from UTC, as in 2026-11-11T00:00:00+08:00"),
    ("RFC3339", "write the time as in 2026-11-11T00:00:00+08:00"),
    ("`null`", "give the field a value, or leave it out where the schema allows that"),
    ("Expected `int`", "send a whole number within the schema's bounds, without quotes"),
    ("Expected `str`", "send a text within the schema's length"),
    ("Expected `array`", "send between 1 and 100 lines"),
    ("Invalid enum value", "use one of the values in the schema"),
    ("Invalid UUID", "send the order id as it was announced"),
)


class Undecodable(NamedTuple):
    """Why bytes are no message: a short reason for counting, a detail for reading, the field and the fix if known."""

    reason: str
    detail: str
    field: str | None = None
    fix: str | None = None


class MessageDecoder(Generic[T]):
    """Decodes and validates one type of message, in one pass. Instances keep a compiled decoder: make one, reuse it."""

    def __init__(self, kind: type[T]) -> None:
        self._decode: Callable[[bytes], T] = msgspec.json.Decoder(kind).decode
        self._wrong_text = _WRONG_TEXT[kind]

    def decode(self, value: bytes | None) -> T | Undecodable:
        """The message, or why the bytes are none. Never raises, whatever the bytes."""
        if not value:
            return Undecodable("empty", "the record has no value", fix="send the message as JSON")
        if len(value) > MAX_MESSAGE_BYTES:
            return Undecodable(
                "too_large", f"{len(value)} bytes", fix=f"send no more than {MAX_MESSAGE_BYTES} bytes a message"
            )
        try:
            found = self._decode(value)
            wrong = self._wrong_text(found)
        except msgspec.ValidationError as error:
            return _explain(str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Undecodable("not_json", str(error) or type(error).__name__, fix="send one JSON object in UTF-8")
        except Exception as error:
            return Undecodable("undecodable", f"{type(error).__name__}: {error}")
        if wrong is None:
            return found
        return Undecodable(
            "invalid_field",
            f"Expected `str` matching ^{wrong.pattern}$",
            wrong.field,
            "use only the characters the schema allows",
        )


def instant_out_of_range(timestamp_s: float, field: str) -> Undecodable | None:
    """A time outside 2000 to 2100 is a unit or a zone gone wrong; refused before it becomes an id or a deadline."""
    if EARLIEST_S <= timestamp_s < LATEST_S:
        return None
    return Undecodable(
        "invalid_field", "time lies outside 2000 to 2100", field, "check the clock, its unit and the year"
    )


def trace_id(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The trace id of a W3C `traceparent` header; None without a valid one."""
    found = traceparent(headers)
    return None if found is None else found[0]


def traceparent(headers: Iterable[tuple[str, bytes | None]]) -> tuple[str, str, str] | None:
    """Trace id, span id and flags of a W3C `traceparent` header, in hexadecimal; None without a valid one."""
    for name, value in headers:
        if name == "traceparent" and value is not None:
            match = _TRACEPARENT.match(value)
            if match and match[1] != b"0" * 32:
                return match[1].decode(), match[2].decode(), match[3].decode()
    return None


def _explain(message: str) -> Undecodable:
    found = _PATH.search(message)
    path = found[1] if found else "$"
    missing = _MISSING.search(message)
    if missing:
        path = f"{path}.{missing[1]}"
    fix = next((fix for said, fix in _FIXES if said in message), "compare the message with the published schema")
    return Undecodable("invalid_field", _PATH.sub("", message), path, fix)
