"""`floodway week`: a week of orders over six channels, reported late, twice and in any order, and what came of it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from infra.cli.context import connected, out, people, print_json, print_table
from infra.cli.rehearsal import (
    LIFECYCLE_WORKERS,
    PARTITIONS_A_WORKER,
    Pids,
    joined,
    lasting_broker,
    progress,
    servers,
    supervised,
)
from infra.cli.surge import measured_roles
from infra.embedded import Broker
from streams.errors import Refused
from streams.settings import Settings

if TYPE_CHECKING:
    from loadtest.week_outcome import WeekReport

MOST_ORDERS = 1_000_000
HOLD_TTL_S = 14_400.0
"""Longer than any run: what is not paid stays held."""


def week(
    *,
    orders: int = 50_000,
    rate: float = 3_000.0,
    broker: Broker | None = None,
    workers: int = LIFECYCLE_WORKERS,
    seed: int = 1,
    json: bool = False,
    data_dir: Path = Path(".floodway/week"),
) -> int:
    """Report a scripted week of orders as their systems do, and prove that the order of arrival makes no difference.

    Starts a stack and workers of its own (or uses the servers that FLOODWAY_… variables name). Each order is placed
    twice. Of the one all is reported in the order in which it happened, as fast as it is taken; of its twin the same
    as it comes in: delayed by up to two days, shuffled, a seventh of it twice, with naive local times, and with codes
    in between that nobody knows. Then twins are compared, on all axes, with all that was told of them, unit by unit.

    Exit code 1 if twins differ, the mean state delay is 1.4 minutes or more, 0.3 % of the orders or more need a
    person, or the books do not balance.

    Parameters
    ----------
    orders
        In the week; each has about nine reports, and a twin.
    rate
        Reports per second of the series that comes as it comes; delays are measured at that.
    broker
        `tansu` or `kafka`; by default Apache Kafka where it is installed, for tansu keeps all topics in memory.
    workers
        Lifecycle processes.
    seed
        Of the week; the same seed makes the same week.
    json
        Print one JSON object instead of the tables.
    data_dir
        Where the stack keeps data and logs; data of an earlier week there are deleted.

    """
    if not (0 < orders <= MOST_ORDERS and 0 < rate <= 1_000_000 and workers > 0):
        raise Refused(
            f"--orders {orders} must be from 1 to {MOST_ORDERS:,}, --rate {rate:g} and --workers {workers} above 0."
        )
    with servers(data_dir, broker or lasting_broker()) as (settings, pids):
        report = asyncio.run(_week(settings, pids, orders, rate, workers, seed, log_dir=data_dir / "logs"))
    print_json(report.as_dict()) if json else _show(report)
    for failure in report.failures():
        (people if json else out).print(failure, style="bold red")
    if not report.passed:
        people.print(f"The week failed. Logs are in {data_dir / 'logs'}.")
    return 0 if report.passed else 1


async def _week(
    settings: Settings, pids: Pids, orders: int, rate: float, workers: int, seed: int, *, log_dir: Path
) -> "WeekReport":
    from agents.bootstrap import prepare  # noqa: PLC0415 - faust and friends take a second to import
    from loadtest.week_run import week as run  # noqa: PLC0415

    settings = replace(settings, hold_ttl_s=min(HOLD_TTL_S, settings.dedupe_retention_s / 2), log_level="WARNING")
    if pids():
        # The embedded broker looks through a partition from its beginning at each fetch.
        settings = replace(settings, topic_partitions=PARTITIONS_A_WORKER * max(2, workers))
    await prepare(settings)
    roles = {"intake": 1, "lifecycle": workers}
    async with supervised(settings, roles, log_dir) as supervisor, connected(settings) as parts:
        with progress() as show:
            await joined(supervisor, show)
            measured = measured_roles(pids, supervisor)
            return await run(parts, orders, seed=seed, rate_per_s=rate, roles=measured, show=show)


def _show(report: "WeekReport") -> None:
    print_table(["status in the end", "orders"], sorted(report.statuses.items(), key=lambda one: -one[1]))
    print_table(
        ["series", "reports", "seconds", "reports/s"],
        [
            (name, one.messages, one.seconds, f"{one.reports_per_s:,.0f}")
            for name, one in (("in order", report.in_order), ("as it comes", report.as_it_came))
        ],
    )
    print_table(["CPU of a report, in order", "us"], [*report.in_order.cpu_us_per_report.items()])
    rows: list[tuple[str, str, str]] = [
        ("mean state delay, min", f"{report.state_delay_min:.3f}", "under 1.4"),
        *((f"state delay {name}, s", f"{report.state_delay_s[name]:.2f}", "") for name in ("p50", "p99", "max")
          if report.state_delay_s),
        ("orders that need a person", f"{report.manual_share:.3%}", "under 0.3 %"),
        ("tickets opened", f"{report.tickets:,}", ""),
        ("reports with a code that nobody knows", f"{report.unknown_codes:,}", ""),
        ("reports/s that two cores take, by CPU", f"{report.reports_per_s_on_two_cores:,.0f}", "10,000 or more"),
        ("orders that differ from their twin", f"{sum(report.different.values()):,}", "0"),
        ("told more than once", f"{report.told_again:,}", "0 unless a worker died"),
    ]  # fmt: skip
    print_table(["week", "", "target"], rows)
    for kind, examples in report.examples.items():
        out.print(f"{kind}: {'; '.join(examples)}")
    print_table(["books", ""], [*report.books.faults().items()])
    if report.passed:
        out.print(
            f"The order of arrival makes no difference, and the books balance. {report.seconds:.0f} s in all.",
            style="bold green",
        )
