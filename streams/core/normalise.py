"""What a source said, in canonical words: raw bytes and a mapping to an event. Pure.

Nothing is guessed: a code that the mapping does not have is `UnknownCode`, and waits in quarantine until somebody has
added it. The source's own code and the zone of its clock are kept beside the event and its time in UTC.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from streams.core.decode import Undecodable, instant_out_of_range
from streams.core.sources import EPOCHS, Field, SourceMapping
from streams.core.x12 import flat
from streams.errors import SettingsError
from streams.messages import MAX_MESSAGE_BYTES, NAME, TEXT, VISIBLE, Report, ReportType

MAX_ID = 64
MAX_NOTE = 256
MAX_CHANNEL = 32
MAX_AMOUNT = 2**53
SEPARATOR = {"time": " "}
"""Between joined parts; a colon for all others."""

Headers = Iterable[tuple[str, bytes | None]]

_visible = re.compile(VISIBLE).fullmatch
_name = re.compile(NAME).fullmatch
_unprintable = re.compile(TEXT.replace("[^", "[").replace("]*", "]"))


class Ref(NamedTuple):
    """What an order is found by: its id, a channel's number, or the number of a shipment. `channel` is else empty."""

    kind: str
    channel: str
    value: str


class Said(NamedTuple):
    """One message of a source in canonical words; the order still has to be found."""

    source: str
    event_id: str
    type: ReportType
    ref: Ref
    occurred_at: datetime
    zone: str
    raw_code: str
    shipment: str | None
    sku: str | None
    note: str | None
    amount: int | None = None

    def of(self, order_id: UUID) -> Report:
        """As a report on this order."""
        return Report(
            event_id=self.event_id,
            source=self.source,
            type=self.type,
            order_id=order_id,
            occurred_at=self.occurred_at,
            amount=self.amount,
            note=self.note,
            shipment=self.shipment,
            sku=self.sku,
            raw_code=self.raw_code,
            zone=self.zone,
        )


class UnknownCode(NamedTuple):
    """A code that the mapping of its source does not have, and what it was said of, where that can be read."""

    source: str
    code: str
    ref: Ref | None = None


class Normaliser:
    """Reads the messages of one source. Make one for each mapping, reuse it."""

    def __init__(self, mapping: SourceMapping) -> None:
        self.mapping = mapping
        self._body = _BODIES[mapping.body]
        self._fields = tuple(mapping.fields.items())
        self.instant = lru_cache(maxsize=1024)(_instant_reader(mapping))

    def read(self, value: bytes | None, headers: Headers = ()) -> Said | UnknownCode | Undecodable:
        """What the message says. Never raises, whatever the bytes."""
        if not value:
            return Undecodable("empty", "the record has no value", fix="send what the source sent")
        if len(value) > MAX_MESSAGE_BYTES:
            return Undecodable("too_large", f"{len(value)} bytes", fix=f"send no more than {MAX_MESSAGE_BYTES} bytes")
        mapping = self.mapping
        try:
            body = self._body(value)
        except (ValueError, msgspec.DecodeError, RecursionError) as error:
            return Undecodable(f"not_{mapping.body}", str(error)[:256], fix=f"{mapping.source} sends {mapping.body}")
        found: dict[str, str] = {}
        for name, field in self._fields:
            text = _joined(body, headers, field, SEPARATOR.get(name, ":"))
            if text is not None:
                found[name] = text
        for name in ("code", "event_id", "time"):
            if name not in found:
                return Undecodable("missing_field", f"no {name} in what {mapping.source} sent", _where(mapping, name))
        kind = mapping.codes.get(found["code"])
        if kind is None:
            ref = _reference(mapping, found)
            known = ref if isinstance(ref, Ref) else None
            return UnknownCode(mapping.source, _clean(found["code"], MAX_ID), known)
        return self._said(kind, found)

    def _said(self, kind: ReportType, found: Mapping[str, str]) -> Said | Undecodable:
        mapping = self.mapping
        instant = self.instant(found["time"])
        if isinstance(instant, Undecodable):
            return instant
        ref = _reference(mapping, found)
        if isinstance(ref, Undecodable):
            return ref
        for name, fits in (("shipment", _visible), ("sku", _name)):
            text = found.get(name)
            if text is not None and (fits(text) is None or len(text) > MAX_ID):
                return Undecodable("invalid_field", f"{text[:80]!r} is no {name}", _where(mapping, name))
        amount = _amount(mapping, found.get("amount"))
        if isinstance(amount, Undecodable):
            return amount
        at, zone = instant
        return Said(
            source=mapping.source,
            event_id=_event_id(found["event_id"]),
            type=kind,
            ref=ref,
            occurred_at=at,
            zone=zone,
            raw_code=_clean(found["code"], MAX_ID),
            shipment=found.get("shipment"),
            sku=found.get("sku"),
            note=_clean(found["note"], MAX_NOTE) if "note" in found else None,
            amount=amount,
        )


def check_examples(mapping: SourceMapping, file: str) -> None:
    """Read each example of a mapping. Raises `SettingsError` for one that is not read as it says."""
    normaliser = Normaliser(mapping)
    for example in mapping.examples:
        headers = [(name, value.encode()) for name, value in example.headers.items()]
        said = normaliser.read(example.body.encode(), headers)
        at = example.at.astimezone(UTC)
        if not isinstance(said, Said) or (said.type, said.occurred_at) != (example.event, at):
            read = f"{said.type} at {said.occurred_at.isoformat()}" if isinstance(said, Said) else str(said)
            wanted = f"{example.event} at {at.isoformat()}"
            raise SettingsError(f"{file}, line {example.line}: the example says {wanted}, it is read as {read}.")


def _json(value: bytes) -> Any:
    found = msgspec.json.decode(value)
    if not isinstance(found, dict):
        raise ValueError("expected one JSON object")
    return found


def _form(value: bytes) -> Any:
    return dict(parse_qsl(value.decode(), strict_parsing=True))


def _x12(value: bytes) -> Any:
    return flat(value.decode())


_BODIES: Mapping[str, Callable[[bytes], Any]] = {"json": _json, "form": _form, "x12": _x12}


def _joined(body: Any, headers: Headers, field: Field, separator: str) -> str | None:
    """The text that a field's paths lead to; None unless all its parts are there."""
    if len(field) == 1:
        return _first(body, headers, field[0])
    parts = [_first(body, headers, alternatives) for alternatives in field]
    return None if None in parts else separator.join(part for part in parts if part is not None)


def _first(body: Any, headers: Headers, alternatives: tuple[tuple[str, ...], ...]) -> str | None:
    for path in alternatives:
        text = _header(headers, path[0][7:]) if path[0].startswith("header:") else _walk(body, path)
        if text:
            return text
    return None


def _walk(node: Any, path: tuple[str, ...]) -> str | None:
    for step in path:
        if isinstance(node, dict):
            node = node.get(step)
        elif isinstance(node, list) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        else:
            return None
    if isinstance(node, str):
        return node.strip()
    return str(node) if isinstance(node, int | float) and not isinstance(node, bool) else None


def _header(headers: Headers, wanted: str) -> str | None:
    for name, value in headers:
        if name.lower() == wanted.lower() and value is not None:
            return value.decode(errors="replace").strip()
    return None


def _instant_reader(mapping: SourceMapping) -> Callable[[str], tuple[datetime, str] | Undecodable]:
    """Text to a time in UTC and the zone it was given in. A source repeats times, so callers keep what was read."""
    form, zone, scale = mapping.time_format, mapping.zone, EPOCHS.get(mapping.time_format)
    where = _where(mapping, "time")

    def read(text: str) -> tuple[datetime, str] | Undecodable:
        try:
            if scale is not None:
                local = datetime.fromtimestamp(int(text) / scale, UTC)
            elif form in {"iso", "rfc3339"}:
                local = datetime.fromisoformat(text)
            else:
                local = datetime.strptime(text, form)  # noqa: DTZ007 - its zone comes below
        except (ValueError, OverflowError, OSError):
            return Undecodable("invalid_field", f"{text[:40]!r} is no time in the form {form}", where)
        if local.tzinfo is None:
            if zone is None:
                fix = "send the offset, or declare the zone of this source in its mapping"
                return Undecodable("naive_time", f"{text[:40]!r} carries no zone", where, fix)
            local = local.replace(tzinfo=zone)
        try:
            at = local.astimezone(UTC)
        except OverflowError:  # in UTC it lies before the year 1 or after the year 9999
            return Undecodable("invalid_field", f"{text[:40]!r} lies outside of any calendar", where)
        wrong = instant_out_of_range(at.timestamp(), where)
        return wrong if wrong is not None else (at, _zone_name(local))

    return read


def _zone_name(local: datetime) -> str:
    """The declared zone's name, or the offset that came with the time."""
    key = getattr(local.tzinfo, "key", None)
    return key if isinstance(key, str) else f"UTC{local:%z}" if local.utcoffset() else "UTC"


def _reference(mapping: SourceMapping, found: Mapping[str, str]) -> Ref | Undecodable:
    if "order_id" in found:
        try:
            return Ref("order_id", "", str(UUID(found["order_id"])))
        except ValueError:
            return Undecodable(
                "invalid_field", f"{found['order_id'][:80]!r} is no order id", _where(mapping, "order_id")
            )
    if "order_no" in found:
        channel = found.get("channel", mapping.numbers_of or "")
        number = found["order_no"]
        if not (channel and _name(channel) and len(channel) <= MAX_CHANNEL):
            return Undecodable("invalid_field", f"{channel[:80]!r} is no channel", _where(mapping, "channel"))
        if len(number) > MAX_ID or _unprintable.search(number):
            return Undecodable("invalid_field", f"{number[:80]!r} is no order number", _where(mapping, "order_no"))
        return Ref("order_no", channel, number)
    if "shipment" in found:
        return Ref("shipment", "", found["shipment"])
    return Undecodable("missing_field", f"nothing to find the order by in what {mapping.source} sent", "$")


def _amount(mapping: SourceMapping, text: str | None) -> int | Undecodable | None:
    """Minor units; exact, for a float would lose cents."""
    if text is None:
        return None
    try:
        amount = Decimal(text) * mapping.amounts
        if 0 <= amount < MAX_AMOUNT and amount == amount.to_integral_value():
            return int(amount)
    except InvalidOperation:
        pass
    return Undecodable("invalid_field", f"{text[:40]!r} is no amount", _where(mapping, "amount"))


def _event_id(text: str) -> str:
    """An idempotency key of at most 64 visible characters; what does not fit is digested."""
    if len(text) <= MAX_ID and _visible(text):
        return text
    return "sha256:" + sha256(text.encode()).hexdigest()[:48]


def _clean(text: str, length: int) -> str:
    return _unprintable.sub(" ", text)[:length]


def _where(mapping: SourceMapping, name: str) -> str:
    """The path of a field as people write it."""
    parts = mapping.fields.get(name, ())
    return " + ".join("|".join(".".join(path) for path in part) for part in parts) or "$"
