"""What people are told, in their language: texts with `$names` in them, filled from a message. Pure.

A text is one file for an event and a language: the first line is the subject, the rest the body.
"""

from collections.abc import Mapping
from datetime import datetime
from string import Template
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from streams.core.sinks import EVENTS
from streams.core.standing import RULES
from streams.errors import SettingsError
from streams.messages import Notification, Ticket

OF_ORDERS = ("order", "channel", "submission_id", "buyer_id", "status", "shipment", "at")
OF_TICKETS = ("ticket_id", "kind", "subject", "detail", "cause", "fix", "count", "level", "opened_at", "at", "by")
MAX_SUBJECT = 200

_STATUS = {"en": {rule.status.value: rule.en for rule in RULES}, "zh": {rule.status.value: rule.zh for rule in RULES}}


class Wording(NamedTuple):
    """The text for one event in one language."""

    subject: Template
    body: Template


Wordings = Mapping[tuple[str, str], Wording]
"""By event and language."""


class Rendered(NamedTuple):
    """A message as it goes out. `value` is the message itself, as JSON."""

    delivery_id: str
    event: str
    language: str
    subject: str
    text: str
    value: bytes
    buyer_id: str

    def body(self, at: str) -> bytes:
        """What a webhook gets: type, time and data as Standard Webhooks has them, with the words beside them."""
        return msgspec.json.encode(
            {
                "type": self.event,
                "timestamp": at,
                "data": msgspec.Raw(self.value),
                "delivery_id": self.delivery_id,
                "language": self.language,
                "subject": self.subject,
                "text": self.text,
            }
        )


def read_wording(text: str, name: str) -> tuple[tuple[str, str], Wording]:
    """A file's text; its name is EVENT.LANGUAGE.txt. Raises `SettingsError`, which names file and line."""
    event, _, language = name.removesuffix(".txt").rpartition(".")
    if event not in EVENTS or not language.isalpha():
        raise SettingsError(
            f"{name}: name it EVENT.LANGUAGE.txt, such as order.paid.en.txt; events: {', '.join(EVENTS)}."
        )
    subject, _, body = text.strip().partition("\n")
    if not subject or not body.strip():
        raise SettingsError(f"{name}, line 1: the first line is the subject, the text follows.")
    names = OF_TICKETS if event.startswith("ticket.") else OF_ORDERS
    for number, line in enumerate(text.splitlines(), 1):
        found = Template(line)
        if not found.is_valid():
            raise SettingsError(f"{name}, line {number}: a lone $; write $$ for the sign itself.")
        for used in found.get_identifiers():
            if used not in names:
                raise SettingsError(f"{name}, line {number}: ${used} is unknown here; known are {', '.join(names)}.")
    return (event, language), Wording(Template(subject.strip()), Template(body.strip()))


def languages_of(wordings: Wordings) -> frozenset[str]:
    """Languages that have a text for every event. Raises `SettingsError` for one that lacks some."""
    found = frozenset(language for _, language in wordings)
    for language in sorted(found):
        lacking = [event for event in EVENTS if (event, language) not in wordings]
        if lacking:
            raise SettingsError(
                f"There is no {lacking[0]}.{language}.txt; write it, {len(lacking)} in all are missing."
            )
    return found


def of_notification(one: Notification, value: bytes, wordings: Wordings, language: str, zone: ZoneInfo) -> Rendered:
    """A notice to a buyer, in a language that has texts."""
    words = {
        "order": one.channel_order_no or one.submission_id,
        "channel": one.channel,
        "submission_id": one.submission_id,
        "buyer_id": one.buyer_id,
        "status": _STATUS.get(language, _STATUS["en"]).get(one.status or "", one.status or ""),
        "shipment": one.shipment or "",
        "at": _time(one.occurred_at or one.at, zone),
    }
    return _rendered(one.notification_id, one.type.value, language, words, wordings, value, one.buyer_id)


def of_ticket(
    delivery_id: str, one: Ticket, value: bytes, wordings: Wordings, language: str, zone: ZoneInfo
) -> Rendered:
    """A ticket to people on duty."""
    words = {
        "ticket_id": one.ticket_id,
        "kind": one.kind,
        "subject": one.subject,
        "detail": one.detail,
        "cause": one.cause,
        "fix": one.fix,
        "count": f"{one.count:,}",
        "level": str(one.level),
        "opened_at": _time(one.opened_at, zone),
        "at": _time(one.at or one.opened_at, zone),
        "by": one.by or "",
    }
    return _rendered(delivery_id, f"ticket.{one.event.value}", language, words, wordings, value, "")


def _rendered(
    delivery_id: str, event: str, language: str, words: Mapping[str, str], wordings: Wordings, value: bytes, buyer: str
) -> Rendered:
    wording = wordings[event, language]
    # One line: what comes from outside must not end a header of a mail, nor begin another.
    subject = " ".join(wording.subject.substitute(words).split())[:MAX_SUBJECT]
    return Rendered(delivery_id, event, language, subject, wording.body.substitute(words), value, buyer)


def _time(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")
