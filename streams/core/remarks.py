"""Remarks of operators, which explain a delay to the buyer. Pure.

A remark is a report like any other. Its source tells that a person of ours said it, and who: so it is kept with the
order, with its time, once by its event id, and nobody can take it back.
"""

import re
from datetime import datetime
from uuid import UUID

import msgspec

from streams.core.decode import MessageDecoder, Undecodable
from streams.messages import Report, ReportType

OPERATOR = "operator"
MAX_NAME = 23
"""Characters of an operator's name: with what stands before it, it has to fit where sources have theirs."""
MAX_TEXT = 256

_is_name = re.compile(r"[A-Za-z0-9._~@-]+").fullmatch
_decoder = MessageDecoder(Report)


def is_author(name: str) -> bool:
    """Whether somebody of this name can make remarks."""
    return len(name) <= MAX_NAME and _is_name(name) is not None


def author_of(source: str) -> str | None:
    """Who made the remark of this source; None for a source that is no operator."""
    kind, plus, name = source.partition("+")
    return name if kind == OPERATOR and plus else None


def public_source(source: str) -> str:
    """The source as a buyer may read it: of an operator only that it is one."""
    return source if author_of(source) is None else OPERATOR


def remark(order_id: UUID, author: str, text: str, at: datetime, event_id: str) -> bytes | Undecodable:
    """The report, as it goes to `orders.reported.v1`; or what is wrong with the text or the event id."""
    assert is_author(author), f"{author!r} was to be checked before"
    text = text.strip()
    if not text:
        return Undecodable("invalid_field", "the text is empty", "$.text", "say what the buyer should know")
    report = Report(event_id, f"{OPERATOR}+{author}", ReportType.ORDER_REMARKED, order_id, at, note=text)
    value = msgspec.json.encode(report)
    found = _decoder.decode(value)
    if isinstance(found, Undecodable):
        field = "$.text" if found.field == "$.note" else found.field
        return found._replace(field=field, fix=f"write up to {MAX_TEXT} characters on one line")
    return value
