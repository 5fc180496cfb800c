"""`floodway dlq`: messages that could not be taken, and sending them again."""

import re
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from infra.cli.context import connected, out, parse_duration, people, print_json, print_table
from streams.errors import Refused
from streams.replay import Letter, Position, letter, letters, replay
from streams.topics import NOTIFICATIONS_DLQ, REPORTED_DLQ, SUBMITTED_DLQ

TOPICS = {"submitted": SUBMITTED_DLQ, "reported": REPORTED_DLQ, "notifications": NOTIFICATIONS_DLQ}
Which = Literal["submitted", "reported", "notifications"]
SHOWN_BYTES = 2_000


async def list_(
    *,
    topic: Which = "submitted",
    reason: str | None = None,
    since: str | None = None,
    all_: Annotated[bool, Parameter(name="--all")] = False,
    limit: int = 20,
    json: bool = False,
) -> None:
    """List dead letters that were not replayed yet, how many of each reason, and the newest of each partition.

    Parameters
    ----------
    topic
        Submissions, reports, or notifications that could not be delivered.
    reason
        Only those with this reason.
    since
        Only those of the last 90s, 15m, 2h or 3d.
    all_
        Also those that were replayed.
    limit
        How many to list.
    json
        Print one JSON object for each letter, all that there are, instead of the tables.

    """
    wanted = _filter(reason, since, replayed=all_)
    counted: Counter[tuple[str, str]] = Counter()
    newest: deque[Letter] = deque(maxlen=max(1, limit))
    async with connected() as parts:
        async for found in letters(parts, TOPICS[topic]):
            if not wanted(found):
                continue
            if json:
                print_json(_plain(found))
                continue
            counted[found.why.reason, found.why.field or ""] += 1
            newest.append(found)
    if json:
        return
    if not counted:
        out.print("No dead letters.")
        return
    print_table(["reason", "field", "letters"], [(*key, count) for key, count in counted.most_common()])
    rows = [
        (
            _text(f.position),
            f.why.failed_at.isoformat(timespec="seconds"),
            f.why.reason,
            f.why.field or "",
            f.why.detail,
        )
        for f in newest
    ]
    print_table(["position", "failed at", "reason", "field", "detail"], rows)


async def show(position: str, *, topic: Which = "submitted", json: bool = False) -> None:
    """Show one dead letter: why it could not be taken, what would mend it, and what was in it.

    Parameters
    ----------
    position
        As `dlq list` prints it.
    topic
        Submissions, reports, or notifications that could not be delivered.
    json
        Print one JSON object.

    """
    async with connected() as parts:
        found = await letter(parts, TOPICS[topic], _position(position))
    if json:
        print_json(_plain(found) | {"value": _value(found)})
        return
    for name, value in _plain(found).items():
        if value is not None:
            out.print(f"{name:<12} {value}")
    out.print(_value(found)[:SHOWN_BYTES])


async def replay_(
    positions: list[str] | None = None,
    *,
    topic: Which = "submitted",
    reason: str | None = None,
    since: str | None = None,
    every: Annotated[bool, Parameter(name="--every")] = False,
    again: bool = False,
    rate: float = 1_000.0,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Send dead letters again to where they came from, byte for byte; repeats of what was taken meanwhile do no harm.

    Name positions, or choose by `--reason` or `--since`, or take `--every` one. A letter that fails again is a new one;
    to mend a message, take its value from `dlq show --json` and submit it.

    Parameters
    ----------
    positions
        As `dlq list` prints them.
    topic
        Submissions, reports, or notifications that could not be delivered.
    reason
        Those with this reason.
    since
        Those of the last 90s, 15m, 2h or 3d.
    every
        All that were not replayed yet.
    again
        Also those that were replayed before.
    rate
        So many a second at the most.
    dry_run
        Only tell how many there are.
    json
        Print one JSON object.

    """
    if not (positions or reason or since or every):
        raise Refused("Name positions, or choose by --reason or --since, or take --every letter.")
    if not rate > 0:
        raise Refused(f"--rate {rate:g} must be above 0.")
    at = {_position(text) for text in positions or ()}
    chosen = _filter(reason, since, replayed=again or bool(at))

    def wanted(found: Letter) -> bool:
        return chosen(found) and (not at or found.position in at)

    async with connected() as parts:
        if dry_run:
            count = 0
            async for found in letters(parts, TOPICS[topic]):
                count += wanted(found)
        else:
            count = await replay(
                parts, TOPICS[topic], wanted, rate_per_s=rate, progress=lambda n: people.print(f"{n:,} sent")
            )
    if json:
        print_json({"topic": TOPICS[topic].name, "letters": count, "sent": 0 if dry_run else count})
    else:
        out.print(f"{count:,} letters {'would be ' if dry_run else ''}sent again.")


def _filter(reason: str | None, since: str | None, *, replayed: bool) -> Callable[[Letter], bool]:
    try:
        from_ = None if since is None else datetime.now(UTC) - parse_duration(since)
    except (ValueError, OverflowError) as error:
        raise Refused(f"--since: {error}.") from None

    def wanted(found: Letter) -> bool:
        return (
            (replayed or found.replayed_at is None)
            and (reason is None or found.why.reason == reason)
            and (from_ is None or found.why.failed_at >= from_)
        )

    return wanted


def _position(text: str) -> Position:
    match = re.fullmatch(r"(\d{1,9})-(\d{1,18})", text)
    if match is None:
        raise Refused(f"{text!r} is no position; write partition-offset as `floodway dlq list` does, like 3-1045.")
    return int(match[1]), int(match[2])


def _text(position: Position) -> str:
    return f"{position[0]}-{position[1]}"


def _plain(found: Letter) -> dict[str, Any]:
    why = found.why
    key = found.record.key
    return {
        "position": _text(found.position),
        "reason": why.reason,
        "detail": why.detail,
        "field": why.field or None,
        "fix": why.fix or None,
        "target": why.target or None,
        "from": f"{why.topic} {why.partition}-{why.offset}",
        "failed_at": why.failed_at,
        "replayed_at": found.replayed_at,
        "key": None if key is None else key.decode(errors="backslashreplace"),
        "bytes": len(found.record.value or b""),
    }


def _value(found: Letter) -> str:
    return (found.record.value or b"").decode(errors="backslashreplace")
