"""Mappings of sources: how a system that speaks its own codes is read. Each is one TOML file; here it is checked. Pure.

A file tells where in a message the source's event id, order number, code, time, shipment and line stand, in which form
and zone its times are, and which canonical event each of its codes means. What a file says wrong is refused with the
line it stands on. See docs/sources.md.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from streams.errors import SettingsError
from streams.messages import NAME, ReportType

BODIES = ("json", "form", "x12")
FIELDS = ("event_id", "code", "time", "order_id", "order_no", "channel", "shipment", "sku", "amount", "note")
REQUIRED = ("event_id", "code", "time")
REFERENCES = ("order_id", "order_no", "shipment")
"""What an order may be found by; a mapping needs one of them at least."""
EPOCHS = MappingProxyType({"epoch_s": 1, "epoch_ms": 1_000})
AMOUNTS = MappingProxyType({"minor": 1, "major": 100})
"""Units in which a source gives money, and how many of our minor units each is."""
MAX_SOURCE = 32

Alternatives = tuple[tuple[str, ...], ...]
"""Paths into a message, the first that leads to something counts."""
Field = tuple[Alternatives, ...]
"""Several are joined."""


class Example(NamedTuple):
    """A message and what it has to be read as; checked whenever the file is."""

    body: str
    headers: Mapping[str, str]
    event: ReportType
    at: datetime
    line: int


class SourceMapping(NamedTuple):
    """One checked file. `zone` is that of times that carry none; `numbers_of` the channel whose numbers it uses;
    `amounts` what its unit of money is in ours.
    """

    source: str
    about: str
    body: str
    numbers_of: str | None
    fields: Mapping[str, Field]
    time_format: str
    zone: ZoneInfo | None
    amounts: int
    codes: Mapping[str, ReportType]
    examples: tuple[Example, ...]


def read_mapping(text: str, file: str) -> SourceMapping:
    """The mapping in a file's text. Raises `SettingsError`, which names file and line."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: {error}; it must be TOML.") from error
    return _Reader(text, file, found).mapping()


class _Reader:
    """Reads one file; keeps its text to tell on which line something stands."""

    def __init__(self, text: str, file: str, found: dict[str, Any]) -> None:
        self._lines = text.splitlines()
        self._file = file
        self._found = found

    def mapping(self) -> SourceMapping:
        self._known(
            "", self._found, ("source", "about", "body", "numbers_of", "amounts", "fields", "time", "codes", "example")
        )
        source = self._text("", "source")
        if re.fullmatch(NAME, source) is None or len(source) > MAX_SOURCE:
            raise self._error("", "source", f"{source!r} is no name; use up to {MAX_SOURCE} letters, digits and `-`")
        body = self._text("", "body", "json")
        if body not in BODIES:
            raise self._error("", "body", f"{body!r} is none of {', '.join(BODIES)}")
        fields = self._fields()
        numbers_of = self._text("", "numbers_of", "") or None
        if "order_no" in fields and (numbers_of is None) == ("channel" not in fields):
            raise self._error("fields", "order_no", "say whose number it is: `numbers_of` or the field `channel`")
        amounts = self._text("", "amounts", "" if "amount" in fields else "minor")
        if amounts not in AMOUNTS:
            raise self._error("fields", "amount", 'say in which unit: amounts = "minor" (cents) or "major" (euros)')
        time_format, zone = self._time()
        return SourceMapping(
            source=source,
            about=self._text("", "about", ""),
            body=body,
            numbers_of=numbers_of,
            fields=MappingProxyType(fields),
            time_format=time_format,
            zone=zone,
            amounts=AMOUNTS[amounts],
            codes=MappingProxyType(self._codes()),
            examples=tuple(self._examples()),
        )

    def _fields(self) -> dict[str, Field]:
        section = self._section("fields")
        self._known("fields", section, FIELDS)
        for name in REQUIRED:
            if name not in section:
                raise self._error("fields", None, f"`{name}` is missing; say where in a message it stands")
        if not any(name in section for name in REFERENCES):
            raise self._error("fields", None, f"one of {', '.join(REFERENCES)} is needed to find the order")
        return {name: self._field(name, value) for name, value in section.items()}

    def _field(self, name: str, value: object) -> Field:
        parts = [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, str)]
        if not all(part.strip() for part in parts) or len(parts) != (len(value) if isinstance(value, list) else 1):
            raise self._error("fields", name, "give a path such as `order.id`, or a list of paths to join")
        if not parts:
            raise self._error("fields", name, "a list of no paths leads nowhere; leave the field out")
        return tuple(tuple(_path(one) for one in part.split("|")) for part in parts)

    def _time(self) -> tuple[str, ZoneInfo | None]:
        section = self._section("time")
        self._known("time", section, ("format", "zone"))
        form = self._text("time", "format")
        if form not in EPOCHS and form not in {"iso", "rfc3339"} and "%" not in form:
            raise self._error("time", "format", f"{form!r} is none of iso, rfc3339, epoch_s, epoch_ms, nor a pattern")
        name = self._text("time", "zone", "")
        carries = form in EPOCHS or form == "rfc3339" or "%z" in form
        if not name and not carries:
            raise self._error(
                "time",
                "format",
                f"times in the form {form!r} carry no zone; declare it with the field `zone` in [time], "
                'as zone = "Asia/Shanghai"',
            )
        if name and carries:
            raise self._error("time", "zone", f"times in the form {form!r} carry their zone; remove this line")
        try:
            return form, ZoneInfo(name) if name else None
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise self._error("time", "zone", f"there is no zone {name!r}; write it as in Asia/Shanghai") from error

    def _codes(self) -> dict[str, ReportType]:
        section = self._section("codes")
        if not section:
            raise self._error("codes", None, 'there are no codes; write each as "CODE" = "payment.succeeded"')
        return {code: self._event("codes", code, name) for code, name in section.items()}

    def _event(self, section: str, key: str, name: object, number: int = 0) -> ReportType:
        events = [kind.value for kind in ReportType]
        if name not in events:
            near = get_close_matches(str(name), events, 1)
            hint = f"did you mean {near[0]}?" if near else "docs/vocabulary.md lists them"
            raise self._error(section, key, f"{name!r} is no event; {hint}", number)
        return ReportType(str(name))

    def _examples(self) -> Iterator[Example]:
        found = self._found.get("example", [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self._error("example", None, "write each example as [[example]]")
        for number, one in enumerate(found):
            self._known("example", one, ("body", "headers", "event", "at"), number)
            body, at = one.get("body"), one.get("at")
            if not isinstance(body, str):
                raise self._error("example", "body", "the message belongs here, as text", number)
            if not isinstance(at, datetime) or at.tzinfo is None:
                raise self._error(
                    "example", "at", "write the time with its offset, as 2026-11-11T00:00:00+08:00", number
                )
            event = self._event("example", "event", one.get("event"), number)
            yield Example(body, dict(one.get("headers", {})), event, at, self._line("example", "body", number))

    def _section(self, name: str) -> dict[str, Any]:
        section = self._found.get(name, {})
        if not isinstance(section, dict):
            raise self._error("", name, f"write it as a section [{name}]")
        return section

    def _known(self, section: str, found: Mapping[str, Any], names: tuple[str, ...], number: int = 0) -> None:
        for name in found:
            if name not in names:
                raise self._error(section, name, f"`{name}` is unknown here; known are {', '.join(names)}", number)

    def _text(self, section: str, name: str, default: str | None = None) -> str:
        value = (self._found if not section else self._section(section)).get(name, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self._error(section, name if value is not None else None, f"`{name}` must be a text")
        return value

    def _error(self, section: str, key: str | None, what: str, number: int = 0) -> SettingsError:
        return SettingsError(f"{self._file}, line {self._line(section, key, number)}: {what}.")

    def _line(self, section: str, key: str | None, number: int = 0) -> int:
        """Where `key` stands in the section, or the section if not at all; lines count from 1."""
        inside, at, seen = section == "", 1, -1
        for count, line in enumerate(self._lines, 1):
            header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+\s*(?:#.*)?$", line)
            if header:
                seen += header[1] == section
                inside = header[1] == section and (not line.lstrip().startswith("[[") or seen == number)
                at = count if inside else at
            elif inside and key is not None and _key(line) == key:
                return count
        return at


def _key(line: str) -> str | None:
    """The key that a line of TOML begins with, without quotes; None for others."""
    match = re.match(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*=""", line)
    return None if match is None else next(group for group in match.groups() if group is not None)


def _path(text: str) -> tuple[str, ...]:
    """`a.b.0` as steps; a path into the record's headers is one step."""
    text = text.strip()
    return (text,) if text.startswith("header:") else tuple(text.split("."))
