"""`floodway tickets`: what people have to see to, and saying who does."""

import getpass
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.cli.context import connected, open_watch, out, parse_duration, print_json, print_table
from streams.core.rules import lasting
from streams.core.ticketing import Kept, Step, acknowledged, closed
from streams.errors import Refused, UnknownThing
from streams.outbox import Outbox
from streams.watch.config import load_rules


async def list_(
    *, kind: str | None = None, closed_since: str | None = None, limit: int = 50, json: bool = False
) -> int:
    """List open tickets, highest level first; the exit code is 1 when there are any.

    Parameters
    ----------
    kind
        Only those of this rule.
    closed_since
        Also those that were closed in the last 90s, 15m, 2h or 3d.
    limit
        How many at the most.
    json
        Print one JSON object for each.

    """
    now = datetime.now(UTC)
    try:
        since = now if closed_since is None else now - parse_duration(closed_since)
    except (ValueError, OverflowError) as error:
        raise Refused(f"--closed-since: {error}.") from None
    async with open_watch() as store:
        found = await store.listed(kind, since, min(max(1, limit), 10_000))
    if json:
        for one in found:
            print_json(_plain(one))
    elif not found:
        out.print("No ticket is open.")
    else:
        for one in found:
            age = lasting((now - one.opened_at).total_seconds())
            out.print(f"level {one.level}  {_state(one)} for {age}, {one.affected:,} affected  {one.ticket_id}")
            out.print(f"         {one.subject}")
    return int(any(one.is_open for one in found))


async def show(ticket_id: str, *, json: bool = False) -> None:
    """Show a ticket: what is the matter, the likely cause, what to do, and what became of it so far.

    Parameters
    ----------
    ticket_id
        As `tickets list` prints it.
    json
        Print one JSON object.

    """
    async with open_watch() as store:
        found = await store.one(ticket_id)
    if found is None:
        raise _unknown(ticket_id)
    ticket, events = found
    if json:
        print_json(_plain(ticket) | {"events": [one._asdict() for one in events]})
        return
    for name, value in _plain(ticket).items():
        if value not in (None, ""):
            out.print(f"{name:<16} {value}")
    rows = [
        (e.at.isoformat(timespec="seconds"), e.event, e.level, e.affected, e.who or "", e.note or "") for e in events
    ]
    print_table(["at", "event", "level", "affected", "who", "note"], rows)


async def ack(ticket_id: str, *, by: str | None = None, note: str | None = None, json: bool = False) -> None:
    """Say that somebody sees to a ticket: for four hours it does not escalate.

    Parameters
    ----------
    ticket_id
        As `tickets list` prints it.
    by
        Who; the user of this machine without it.
    note
        Kept with the ticket.
    json
        Print one JSON object.

    """
    await _change(ticket_id, by, note, acknowledged, json=json)


async def close(ticket_id: str, *, by: str | None = None, note: str | None = None, json: bool = False) -> None:
    """Close a ticket by hand. If its cause is still there after an hour, it is opened again.

    Parameters
    ----------
    ticket_id
        As `tickets list` prints it.
    by
        Who; the user of this machine without it.
    note
        Kept with the ticket.
    json
        Print one JSON object.

    """
    await _change(ticket_id, by, note, closed, json=json)


def rules(file: Path | None = None, *, json: bool = False) -> None:
    """Check a file of rules as the watch would, and tell what it watches for; exit 2 when something is wrong.

    What is wrong is told with file, line and what to write instead. Needs no servers.

    Parameters
    ----------
    file
        A file such as FLOODWAY_WATCH_FILE names; without it the one that comes along.
    json
        Print one JSON object a rule.

    """
    rows = [
        {
            "rule": rule.name,
            "check": rule.check,
            "after": lasting(rule.after_s),
            "escalates": ", ".join(map(lasting, rule.escalate_s)),
            "cause": rule.cause,
        }
        for rule in load_rules(None if file is None else str(file)).values()
    ]
    if json:
        for row in rows:
            print_json(row)
    else:
        print_table(["rule", "check", "after", "escalates", "likely cause"], [tuple(row.values()) for row in rows])


async def _change(
    ticket_id: str, by: str | None, note: str | None, step: Callable[[Kept, str, datetime], Step], *, json: bool
) -> None:
    who = (by or getpass.getuser())[:100]
    if not who.isprintable() or not (note or "").isprintable():
        raise Refused("--by and --note take one line of text.")
    now = datetime.now(UTC)
    async with connected() as parts, open_watch() as store:
        async with store.turn(wait=True) as turn:
            assert turn is not None, "it was waited for"
            kept = await turn.kept_one(ticket_id)
            if kept is None:
                raise _unknown(ticket_id)
            after, event = step(kept, who, now)
            if after is None or event is None:
                raise Refused(f"{ticket_id} is closed already; `floodway tickets show` tells since when.")
            told = await turn.keep([(after, event)], now, note)
        await Outbox(parts).send(told)
    if json:
        print_json(_plain(after))
    else:
        out.print(f"{ticket_id}: {event.value} by {who}.")


def _unknown(ticket_id: str) -> UnknownThing:
    return UnknownThing(f"There is no ticket {ticket_id!r}; see `floodway tickets list`.")


def _state(one: Kept) -> str:
    if not one.is_open:
        return "closed"
    return "open" if one.acked_by is None else f"seen to by {one.acked_by}"


def _plain(one: Kept) -> dict[str, Any]:
    return {
        "ticket_id": one.ticket_id,
        "state": _state(one),
        **{k: v for k, v in one._asdict().items() if k != "ticket_id"},
    }
