"""`floodway order`: an answer to "where is my order?"."""

from uuid import UUID

from infra.cli.context import out, print_json, print_table, settings
from streams.core.books import OrderRecord
from streams.errors import Refused, UnknownThing


async def order(which: str, *, token: str | None = None, json: bool = False) -> None:
    """Tell what was decided on an order and what became of it, read from the replica.

    Parameters
    ----------
    which
        The order's id, or `channel:submission_id`.
    token
        A decision's `read_token`: the answer then shows at least what that decision showed.
    json
        Print one JSON object.

    """
    from agents.bootstrap import connect_ledger  # noqa: PLC0415 - asyncpg takes a moment to import

    ledger = await connect_ledger(settings())
    try:
        found = await ledger.find_decision(_key(which), token=token)
        if found is None:
            raise UnknownThing(f"No decision on {which} is known; was it submitted, and does an intake worker run?")
        (channel, submission_id), decision = found
        record = await ledger.find_order(decision.order_id, token=token)
        steps = await ledger.steps(decision.order_id, token=token)
    except ValueError as error:
        raise Refused(str(error)) from None
    finally:
        await ledger.close()
    story = {
        "order_id": str(decision.order_id),
        "channel": channel,
        "submission_id": submission_id,
        "outcome": decision.outcome.value,
        "reason": decision.reason.value if decision.reason else None,
        "decided_at": decision.decided_at,
        **(_accepted(record) if record is not None else {}),
        "steps": [dict(zip(("at", "kind", "source", "result"), step, strict=True)) for step in steps],
    }
    if json:
        print_json(story)
        return
    for name, value in story.items():
        if value not in (None, []) and name not in {"steps", "lines"}:
            out.print(f"{name:<16} {value}")
    if record is not None:
        print_table(["SKU", "pool", "units"], [(sku, record.pool, qty) for sku, qty in record.quantities])
    if steps:
        print_table(["at", "what", "from", "result"], steps)


def _accepted(record: OrderRecord) -> dict[str, object]:
    return {
        "state": record.state.value,
        "buyer_id": record.buyer_id,
        "total": record.total,
        "currency": record.currency,
        "promotion_id": record.promotion_id,
        "submitted_at": record.submitted_at,
        "held_until": record.held_until,
        "changed_at": record.changed_at,
        "trace_id": record.trace_id,
        "lines": [{"sku": sku, "pool": record.pool, "qty": qty} for sku, qty in record.quantities],
    }


def _key(which: str) -> tuple[str, str] | UUID:
    channel, colon, submission_id = which.partition(":")
    if colon:
        return (channel, submission_id)
    try:
        return UUID(which)
    except ValueError:
        raise Refused(f"{which!r} is neither an order id nor channel:submission_id.") from None
