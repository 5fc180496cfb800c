"""`floodway review`: submissions that waited too long in an outage, and letting them be decided."""

from collections import Counter, deque
from typing import Any

import msgspec

from infra.cli.context import out, print_json, print_table, settings
from streams.chunks import Record
from streams.core.decode import MessageDecoder, Undecodable
from streams.messages import Submission
from streams.reviews import read_review
from streams.stores.kafka_access import access
from streams.stores.review_kafka import Standing, release, standing

_decoder = MessageDecoder(Submission)


async def list_(*, limit: int = 20, json: bool = False) -> None:
    """List submissions under review, oldest first, how many wait, and since when and why.

    Parameters
    ----------
    limit
        How many to list.
    json
        Print one JSON object for each, all that there are, instead of the tables.

    """
    causes: Counter[str] = Counter()
    oldest: deque[dict[str, Any]] = deque()
    released = 0
    async for found in standing(access(settings())):
        row = _plain(found)
        if json:
            print_json(row)
            continue
        causes[row["cause"]] += 1
        released += found.released
        if len(oldest) < limit:
            oldest.append(row)
    if json:
        return
    if not causes:
        out.print("Nothing is under review.")
        return
    print_table(["cause", "submissions"], causes.most_common())
    columns = ["position", "diverted_at", "channel", "submission_id", "buyer_id", "cause"]
    print_table(columns, [[row[column] for column in columns] for row in oldest])
    if settings().review_release == "operator":
        out.print(f"{released:,} of {causes.total():,} are released; `floodway review release` lets all be decided.")
    else:
        out.print("They are decided by themselves, first of all, as soon as the stores are back.")


async def release_(*, json: bool = False) -> None:
    """Let all that is under review now be decided, in its order; needed with FLOODWAY_REVIEW_RELEASE=operator only.

    Parameters
    ----------
    json
        Print one JSON object.

    """
    using = settings()
    held = await release(access(using))
    count = sum(held.values())
    if json:
        print_json({"released": count, "by_partition": held, "needed": using.review_release == "operator"})
        return
    out.print(f"{count:,} submissions are released; they are decided in their order, beside what comes in.")
    if using.review_release != "operator":
        out.print("They would have been decided without it: FLOODWAY_REVIEW_RELEASE is auto.")


def _plain(found: Standing) -> dict[str, Any]:
    record: Record = found.record
    review, submission = read_review(record), _decoder.decode(record.value)
    known = None if isinstance(submission, Undecodable) else submission
    return {
        "position": f"{found.partition}-{record.offset}",
        "submitted_position": None if review is None else f"{review.partition}-{review.offset}",
        "diverted_at": None if review is None else review.diverted_at.isoformat(timespec="seconds"),
        "cause": "put there by hand" if review is None else review.cause,
        "released": found.released,
        "channel": known and known.channel,
        "submission_id": known and known.submission_id,
        "buyer_id": known and known.buyer_id,
        "submission": None if known is None else msgspec.to_builtins(known),
    }
