"""`floodway why`: why an order is where it is."""

from datetime import UTC, datetime

from msgspec import to_builtins

from infra.cli.context import out, print_json, print_table, settings
from streams.finding import which_order
from streams.why import why as explain


async def why(which: str, *, json: bool = False) -> None:
    """Tell where an order stands, what brought it there, how long each stage took, and who has to act next.

    Parameters
    ----------
    which
        The order's id, `channel:submission_id`, `channel:number` with the channel's own number, or its trace id.
    json
        Print one JSON object.

    """
    from agents.bootstrap import connect_ledger  # noqa: PLC0415 - asyncpg takes a moment to import

    wanted = which_order(which)
    ledger = await connect_ledger(settings())
    try:
        found = await explain(ledger, wanted, now=datetime.now(UTC))
    finally:
        await ledger.close()
    if json:
        print_json(to_builtins(found))
        return
    out.print(f"{found.order_id}  {found.channel} {found.channel_order_no or found.submission_id}")
    out.print(f"{found.status} ({found.status_zh}) since {found.since.isoformat()}: {found.reason}")
    if found.owner:
        out.print(f"Next is {found.owner}: {found.waits_for}.")
    for stage in found.late:
        of = f" of {stage.shipment}" if stage.shipment else ""
        out.print(f"Late: {stage.name}{of}, by {span(stage.late_s)}; it is {stage.owner}'s.", style="bold red")
    for waits in found.waiting:
        told = f"{waits.source} said {waits.what!r}, which waits since {waits.since.isoformat()}: {waits.why}"
        out.print(told.replace("_", " "), style="bold yellow")
    if found.axes:
        out.print(", ".join(f"{axis}: {name}" for axis, name in found.axes.items()))
    if found.stages:
        print_table(
            ["stage", "of", "owner", "began", "took", "late by"],
            [
                (
                    s.name,
                    s.shipment or "",
                    s.owner,
                    s.began_at,
                    span(s.took_s) + ("" if s.ended_at else " so far") + (", broken off" if s.broken_off else ""),
                    span(s.late_s) if s.late_s else "",
                )
                for s in found.stages
            ],
        )
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


def span(seconds: float) -> str:
    """So many seconds in the unit that suits them."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"
