"""The life of a ticket: opened once for a cause, escalated by levels, closed when the cause is gone. Pure.

A ticket is its rule and subject. It is open or closed, so no cause ever has two that are open. A cause that comes and
goes is damped: a ticket closes only when its cause has been gone for a while, for longer each time that it comes back
within a day.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from streams.core.books import Message
from streams.core.rules import Finding, Rule
from streams.messages import Ticket, TicketEvent
from streams.topics import TICKETS

FORGET_AFTER = timedelta(days=1)
"""What comes back after so long is something new."""
MOST_DAMPED = 8
"""A cause that comes back must have been gone for twice as long as the last time, up to so many times the rule's."""
REST_BY_HAND = timedelta(hours=1)
"""A ticket that a person closed stays closed for so long, though its cause be there."""
REST_ACKNOWLEDGED = timedelta(hours=4)
"""While somebody sees to it nobody else is called; if it is still open after so long, they are."""

_encode = msgspec.json.Encoder().encode


class Kept(NamedTuple):
    """A ticket as the ledger keeps it. `openings` counts how often it came back within a day of being closed."""

    ticket_id: str
    kind: str
    subject: str
    detail: str
    cause: str
    fix: str
    opened_at: datetime
    seen_at: datetime
    affected: int = 1
    level: int = 0
    openings: int = 1
    clear_since: datetime | None = None
    acked_at: datetime | None = None
    acked_by: str | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to see to it."""
        return self.closed_at is None

    def told(self, event: TicketEvent, at: datetime) -> Message:
        """The message that tells what became of it; its id is the same however often it is sent."""
        by = {TicketEvent.ACKNOWLEDGED: self.acked_by, TicketEvent.CLOSED: self.closed_by}.get(event)
        value = Ticket(
            ticket_id=self.ticket_id,
            kind=self.kind,
            subject=self.subject,
            detail=self.detail,
            fix=self.fix,
            opened_at=self.opened_at,
            event=event,
            at=at,
            cause=self.cause,
            count=self.affected,
            level=self.level,
            by=by,
        )
        return Message(TICKETS.name, self.ticket_id, f"{self.ticket_id}@{event.value}@{at.isoformat()}", _encode(value))


Step = tuple[Kept | None, TicketEvent | None]
"""A ticket as it is now, None where there is none; and what became of it, if anything."""


def advance(rule: Rule, kept: Kept | None, finding: Finding | None, now: datetime) -> Step:
    """What a look makes of a ticket: `finding` is what the rule found, None when its cause is not there."""
    if finding is None:
        return _without_cause(rule, kept, now)
    if kept is None:
        return _opened(rule, finding, now), TicketEvent.OPENED
    if kept.closed_at is None:
        return escalated(rule, _seen(rule, kept, finding, now), now)
    if kept.closed_by is not None and now - kept.closed_at < REST_BY_HAND:
        return kept, None
    fresh = _opened(rule, finding, now)
    if now - kept.closed_at >= FORGET_AFTER:
        return fresh, TicketEvent.OPENED
    return fresh._replace(openings=kept.openings + 1, level=kept.level), TicketEvent.REOPENED


def escalated(rule: Rule, kept: Kept, now: datetime) -> Step:
    """An open ticket at the level that its age calls for, unless somebody sees to it."""
    if kept.acked_at is not None and now - kept.acked_at < REST_ACKNOWLEDGED:
        return kept, None
    age_s = (now - kept.opened_at).total_seconds()
    level = sum(age_s >= after_s for after_s in rule.escalate_s)
    if level <= kept.level:
        return kept, None
    return kept._replace(level=level), TicketEvent.ESCALATED


def acknowledged(kept: Kept, by: str, now: datetime) -> Step:
    """Somebody sees to it."""
    if not kept.is_open:
        return kept, None
    return kept._replace(acked_at=now, acked_by=by), TicketEvent.ACKNOWLEDGED


def closed(kept: Kept, by: str | None, now: datetime) -> Step:
    """Closed by a person, or by itself when `by` is None."""
    if not kept.is_open:
        return kept, None
    return kept._replace(closed_at=now, closed_by=by), TicketEvent.CLOSED


def clear_for(rule: Rule, kept: Kept) -> timedelta:
    """How long the cause must be gone before the ticket closes."""
    times: int = min(MOST_DAMPED, 2 ** min(kept.openings - 1, 16))
    return timedelta(seconds=rule.clear_s * times)


def _without_cause(rule: Rule, kept: Kept | None, now: datetime) -> Step:
    if kept is None or not kept.is_open:
        return kept, None
    if kept.clear_since is None:
        return kept._replace(clear_since=now), None
    if now - kept.clear_since < clear_for(rule, kept):
        return kept, None
    return closed(kept, None, now)


def _opened(rule: Rule, finding: Finding, now: datetime) -> Kept:
    return Kept(
        ticket_id=rule.ticket_id(finding.subject),
        kind=rule.name,
        subject=rule.headline(finding),
        detail=rule.told(finding, now),
        cause=rule.cause,
        fix=rule.fix,
        opened_at=now,
        seen_at=now,
        affected=finding.affected,
    )


def _seen(rule: Rule, kept: Kept, finding: Finding, now: datetime) -> Kept:
    return kept._replace(
        seen_at=now,
        clear_since=None,
        affected=finding.affected,
        detail=rule.told(finding, now),
        cause=rule.cause,
        fix=rule.fix,
    )
