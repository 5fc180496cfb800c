"""`floodway remark`: say something to the buyer of an order, for one why it takes longer."""

from datetime import UTC, datetime
from getpass import getuser
from uuid import uuid4

from infra.cli.context import out, print_json, settings
from infra.cli.report import produce
from streams.core.books import StoredDecision
from streams.core.decode import Undecodable
from streams.core.remarks import MAX_NAME, is_author
from streams.core.remarks import remark as make_remark
from streams.errors import Refused, UnknownThing
from streams.finding import Which, find, which_order
from streams.messages import Outcome


async def remark(order: str, text: str, *, author: str | None = None, json: bool = False) -> None:
    """Say something to the buyer of an order. It is kept with the order for ever, with who said it and when.

    The buyer reads the text and its time in the order's timeline, not the name.

    Parameters
    ----------
    order
        The order's id, `channel:submission_id`, `channel:number` with the channel's own number, or its trace id.
    text
        Up to 256 characters on one line.
    author
        Who says it; your user name by default.
    json
        Print one JSON object.

    """
    name = author or getuser()
    if not is_author(name):
        raise Refused(f"--author {name!r} is no name: up to {MAX_NAME} letters, digits and . _ ~ @ -.")
    decision = await known(which_order(order), order)
    if decision.outcome is not Outcome.ACCEPTED:
        raise Refused(f"{order} was rejected ({decision.reason}); there is nothing to follow.")
    event_id = uuid4().hex
    value = make_remark(decision.order_id, name, text, datetime.now(UTC), event_id)
    if isinstance(value, Undecodable):
        raise Refused(f"That is no remark: {value.detail}; {value.fix}.")
    await produce(decision.order_id, value)
    if json:
        print_json({"order_id": str(decision.order_id), "event_id": event_id, "author": name})
    else:
        out.print(f"{name} remarked on {decision.order_id}. The buyer sees it when a lifecycle worker has taken it.")


async def known(which: Which, name: str) -> StoredDecision:
    """The decision on an order. Raises `UnknownThing` when there is none."""
    from agents.bootstrap import connect_ledger  # noqa: PLC0415 - asyncpg takes a moment to import

    ledger = await connect_ledger(settings())
    try:
        found = await find(ledger, which)
    finally:
        await ledger.close()
    if found is None:
        raise UnknownThing(f"No decision on {name} is known; was it submitted, and does an intake worker run?")
    return found[1]
