"""`floodway why`: why an order is where it is."""

from msgspec import to_builtins

from infra.cli.context import out, print_json, print_table, settings
from streams.why import why as explain


async def why(which: str, *, json: bool = False) -> None:
    """Tell where an order stands, what brought it there, how long each stage took, and who has to act next.

    Parameters
    ----------
    which
        The order's id, `channel:submission_id`, or `channel:number` with the channel's own number.
    json
        Print one JSON object.

    """
    from agents.bootstrap import connect_ledger  # noqa: PLC0415 - asyncpg takes a moment to import

    ledger = await connect_ledger(settings())
    try:
        found = await explain(ledger, which)
    finally:
        await ledger.close()
    if json:
        print_json(to_builtins(found))
        return
    out.print(f"{found.order_id}  {found.channel} {found.channel_order_no or found.submission_id}")
    out.print(f"{found.status} ({found.status_zh}) since {found.since.isoformat()}: {found.reason}")
    if found.owner:
        out.print(f"Next is {found.owner}: {found.waits_for}.")
    if found.axes:
        out.print(", ".join(f"{axis}: {name}" for axis, name in found.axes.items()))
    if found.stages:
        print_table(["stage", "at", "after"], [(s.name, s.at, f"{s.after_s:,.0f} s") for s in found.stages])
    if found.reports:
        rows = [
            (
                r.occurred_at,
                r.what,
                f"{r.source} {r.raw_code or ''}".strip(),
                " ".join(filter(None, (r.shipment, r.sku))),
                r.effect,
            )
            for r in found.reports
        ]
        print_table(["happened", "report", "from", "part", "effect"], rows)
