"""Mappings of sources: how a system that speaks its own codes is read. Each is one TOML file; here it is checked. Pure.

A file tells where in a message the source's event id, order number, code, time, shipment and line stand, in which form
and zone its times are, and which canonical event each of its codes means. What a file says wrong is refused with the
line it stands on. See docs/sources.md.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from streams.core.toml_text import TomlText
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
    return _Reader(text, file).mapping()


class _Reader:
    """Reads one file."""

    def __init__(self, text: str, file: str) -> None:
        self._toml = TomlText(text, file)
        self._error = self._toml.error
        self._section = self._toml.section

    def mapping(self) -> SourceMapping:
        self._toml.known(
            "",
            self._toml.found,
            ("source", "about", "body", "numbers_of", "amounts", "fields", "time", "codes", "example"),
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
        self._toml.known("fields", section, FIELDS)
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
        self._toml.known("time", section, ("format", "zone"))
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
        for number, one in enumerate(self._toml.listed("example")):
            self._toml.known("example", one, ("body", "headers", "event", "at"), number)
            body, at = one.get("body"), one.get("at")
            if not isinstance(body, str):
                raise self._error("example", "body", "the message belongs here, as text", number)
            if not isinstance(at, datetime) or at.tzinfo is None:
                raise self._error(
                    "example", "at", "write the time with its offset, as 2026-11-11T00:00:00+08:00", number
                )
            event = self._event("example", "event", one.get("event"), number)
            yield Example(body, dict(one.get("headers", {})), event, at, self._toml.line("example", "body", number))

    def _text(self, section: str, name: str, default: str | None = None) -> str:
        table = self._toml.found if not section else self._section(section)
        return self._toml.text(section, table, name, default)


def _path(text: str) -> tuple[str, ...]:
    """`a.b.0` as steps; a path into the record's headers is one step."""
    text = text.strip()
    return (text,) if text.startswith("header:") else tuple(text.split("."))
