"""An order by any of its names: its id, channel and submission id, channel and number, or the trace it came under."""

from uuid import UUID

from streams.core.books import StoredDecision
from streams.core.identity import SubmissionKey
from streams.errors import Refused
from streams.stores.ledger import NAMED_MOST, Ledger


class Ambiguous(Refused):
    """Several orders came under one trace."""


Which = SubmissionKey | UUID
"""An order by a channel and its submission id or number there, or by its own id or a trace id: 32 hex digits both."""


def which_order(text: str) -> Which:
    """What a person means by one of an order's names. Raises `Refused`."""
    channel, colon, rest = text.partition(":")
    if colon and text.isprintable():
        return (channel, rest)
    try:
        return UUID(text)
    except ValueError:
        raise Refused(
            f"{text!r} is neither an order id nor a trace id, channel:submission_id or channel:number."
        ) from None


async def find(
    ledger: Ledger, which: Which, *, token: str | None = None
) -> tuple[SubmissionKey, StoredDecision] | None:
    """The decision on the order of that name, read from the replica; None before there is one.

    A submission id goes before a number of the same text, an order's id before a trace id. See `token` in
    `Ledger.find_decision`. Raises `Ambiguous` for a trace of several orders, `Refused` for what is no token.
    """
    try:
        found = await ledger.find_decision(which, token=token)
        if found is not None:
            return found
        others = await ledger.find_named(which.hex if isinstance(which, UUID) else which, token=token)
        if len(others) > 1:
            some = ", ".join(map(str, others)) + (" and maybe more" if len(others) == NAMED_MOST else "")
            raise Ambiguous(f"Several orders came under this trace: {some}. Name one of them.")
        return await ledger.find_decision(others[0], token=token) if others else None
    except ValueError as error:
        raise Refused(str(error)) from None
