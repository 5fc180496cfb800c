"""`floodway verify`: the books, recomputed and compared."""

from infra.cli.context import connected, out, people, print_json, print_table
from streams.audit import AuditReport, audit


async def verify(*, wait_s: float = 10.0, settle_s: float = 3.0, json: bool = False) -> int:
    """Recompute the books from the ledger and compare them with Kafka and Redis; exit 1 when they do not balance.

    Parameters
    ----------
    wait_s
        How long intake may take to catch up with what was submitted.
    settle_s
        How long to look again at differences that may be merely on their way.
    json
        Print one JSON object.

    """
    from agents.roles import group  # noqa: PLC0415 - with what follows

    async with connected() as parts:
        with people.status("looking") as status:
            report = await audit(parts, group("intake"), wait_s=wait_s, settle_s=settle_s, progress=status.update)
    print_json(report.as_dict()) if json else show(report)
    return 0 if report.balanced else 1


def show(report: AuditReport) -> None:
    """Print a report for people."""
    print_table(["pool", "free", "held", "sold"], [(pool, *sums.values()) for pool, sums in report.pools.items()])
    counts = {"submissions": report.submissions, "decisions": report.decisions, "dead letters": report.dead_lettered}
    counts |= {"dead letters of reports": report.reports_dead_lettered, "expired, not yet booked": report.unsettled}
    if report.waiting:
        counts["waiting, not looked at"] = report.waiting
    if report.under_review:
        counts["under review, not looked at"] = report.under_review
    print_table(["books", "count"], [*counts.items(), *report.faults().items()])
    for name, examples in report.examples.items():
        out.print(f"{name}: {', '.join(examples)}")
    for difference in report.redis_differs:
        out.print(
            f"{difference.sku} in {difference.pool}: Redis has (free, held, sold) {difference.redis}, "
            f"the ledger {difference.ledger}"
        )
    verdict = "The books balance." if report.balanced else "The books do not balance."
    if report.waiting:
        verdict += f" {report.waiting:,} submissions wait for intake and were not looked at."
    if report.under_review:
        verdict += f" {report.under_review:,} are under review, see `floodway review list`."
    out.print(verdict, style="bold green" if report.balanced else "bold red")
