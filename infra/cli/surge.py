"""`floodway surge`: how much it takes, how fast, at what cost, and whether the books balance."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from infra.cli.context import connected, out, people, print_json, print_table
from infra.cli.live import live
from infra.cli.rehearsal import LIFECYCLE_WORKERS, PARTITIONS_A_WORKER, Pids, joined, progress, servers, supervised
from infra.workers import Supervisor
from streams.errors import Refused
from streams.settings import Settings

if TYPE_CHECKING:
    from loadtest.mixes import Mix
    from loadtest.outcome import SurgeReport
    from loadtest.processes import Roots

SECONDS = 60.0
ORDERS_UNPACED = 200_000
HOLD_TTL_S = 43_200.0
"""Longer than any surge: nothing expires meanwhile."""
SERVERS = {"kafka": "broker", "redis": "redis", "postgres": "postgres_primary", "replica": "postgres_replica"}
"""Our names of servers, and the report's."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to measure. No rate is as fast as Kafka takes it."""

    orders: int
    rate_per_s: float | None
    mix: "Mix"
    hot_share: float
    workers: int
    seed: int


def surge(
    *,
    orders: int | None = None,
    seconds: float | None = None,
    rate: float | Literal["max"] = "max",
    mix: Literal["one-line", "baskets", "demo", "hot", "repeats"] = "one-line",
    hot_sku: Annotated[float, Parameter(name="--hot-sku")] = 0.0,
    workers: int = 1,
    seed: int = 1,
    json: bool = False,
    plot: Path | None = None,
    data_dir: Path = Path(".floodway/surge"),
) -> int:
    """Measure a surge of orders: rates, latency, CPU and memory by process, and whether the books balance.

    Starts a stack and workers of its own (or uses the servers that FLOODWAY_… variables name), provides stock, and
    submits from a process of its own on a schedule that is fixed beforehand. Latency runs from the time that an order
    was meant to be submitted to the time that another process has its decision in hands, so it includes every queue.
    Ends with an audit of the books. Nobody pays: holds stay, for 12 hours.

    Exit code 1 if the books do not balance, a decision is missing or repeated, anything came out otherwise than
    planned, or less than 95 % of an asked rate was achieved (orders/s from the first intended submission to the last
    decision, so the latency of the last order counts too: give it tens of seconds).

    Parameters
    ----------
    orders
        Submissions in all, repeats included; by default rate times seconds, with `--rate max` 200,000.
    seconds
        How long to submit, 60 by default; not with `--rate max`.
    rate
        Submissions per second. `max` sends as fast as Kafka acknowledges, with 10,000 records unacknowledged at the
        most: then the time of sending is the intended time, and latency is mostly that of the backlog.
    mix
        `one-line`: one unit of one of 1,000 SKUs each, all accepted. `baskets`: real baskets, all accepted. `demo`:
        what `floodway demo` submits. `hot`: all want one SKU of a promotion with units for 1 %. `repeats`: a tenth are
        first submissions, the rest repeats of them. Stock is exactly what accepted orders need.
    hot_sku
        So large a share (0 to 1) of the orders of `one-line` or `baskets` asks for one and the same SKU.
    workers
        Intake processes; the embedded broker gets two partitions for each.
    seed
        Of the mix; the same seed makes the same surge.
    json
        Print one JSON object instead of the tables.
    plot
        Save surge.png and surge.html in this directory: rate, lag and latency over time. Needs the extra `loadtest`.
    data_dir
        Where the stack keeps data and logs; data of an earlier surge there are deleted.

    """
    from loadtest import plot as plots  # noqa: PLC0415 - what is behind them takes a second to import
    from loadtest.mixes import check  # noqa: PLC0415

    asked = _Asked(*_how_many(orders, seconds, rate), mix, hot_sku, workers, seed)
    if workers < 1:
        raise Refused(f"--workers {workers} must be above 0.")
    check(asked.orders, asked.mix, asked.hot_share)
    if plot is not None:
        plots.check()
    with servers(data_dir) as (settings, pids):
        report = asyncio.run(_surge(settings, pids, asked, log_dir=data_dir / "logs"))
    if json:
        print_json({"mix": mix, "workers": workers, "seed": seed, **report.as_dict()})
    else:
        _show(report)
    if plot is not None:
        title = f"Surge of {report.submitted:,} orders, mix {mix}, {_asked_rate(report)}"
        saved = plots.save(report, plot, title=title, rows=[(what, str(value)) for what, value in _figures(report)])
        people.print(f"Saved {' and '.join(map(str, saved))}.")
    for failure in report.failures():
        (people if json else out).print(failure, style="bold red")
    if not report.passed:
        people.print(f"The surge failed. Logs are in {data_dir / 'logs'}.")
    return 0 if report.passed else 1


def _how_many(orders: int | None, seconds: float | None, rate: float | Literal["max"]) -> tuple[int, float | None]:
    """Orders in all, and the rate as a number; None for `max`."""
    if rate == "max":
        if seconds is not None:
            raise Refused("--seconds goes with a rate; with --rate max give --orders.")
        return ORDERS_UNPACED if orders is None else orders, None
    if rate <= 0:
        raise Refused(f"--rate {rate:g} must be above 0, or max.")
    if orders is not None and seconds is not None:
        raise Refused("Give --orders or --seconds with a rate, not both.")
    return round(rate * (seconds or SECONDS)) if orders is None else orders, rate


async def _surge(settings: Settings, pids: Pids, asked: _Asked, *, log_dir: Path) -> "SurgeReport":
    from agents.bootstrap import prepare  # noqa: PLC0415 - faust and friends take a second to import
    from loadtest import planfile  # noqa: PLC0415
    from loadtest import surge as run  # noqa: PLC0415
    from loadtest.mixes import make_plan  # noqa: PLC0415
    from loadtest.plan import run_name  # noqa: PLC0415
    from loadtest.storage import per_order, stored_bytes  # noqa: PLC0415

    hold_ttl_s = min(HOLD_TTL_S, settings.dedupe_retention_s / 2)
    settings = replace(settings, hold_ttl_s=hold_ttl_s, log_level="WARNING")
    if pids():
        settings = replace(settings, topic_partitions=PARTITIONS_A_WORKER * asked.workers)
    plan = partial(make_plan, mix=asked.mix, hot_share=asked.hot_share, seed=asked.seed, run=run_name())
    await prepare(settings)
    roles = {"intake": asked.workers, "lifecycle": LIFECYCLE_WORKERS}
    async with supervised(settings, roles, log_dir) as supervisor, connected(settings) as parts:
        with ExitStack() as kept:
            with progress() as show:
                show("planning", 0, 0)
                planned = await asyncio.to_thread(plan, asked.orders, settings.topic_partitions)
                files = await asyncio.to_thread(kept.enter_context, planfile.written(planned))
                show("planning", asked.orders, asked.orders)
                await run.provide(parts, planned, lasts_s=hold_ttl_s, show=show)
                await joined(supervisor, show)
            with live() as tell:
                measured = measured_roles(pids, supervisor)
                before = await stored_bytes(settings)
                report, _ = await run.surge(
                    parts, planned, files, rate_per_s=asked.rate_per_s, tell=tell, roles=measured
                )
        report.bytes_per_order = per_order(before, await stored_bytes(settings), report.submitted)
        with progress() as show:
            report.books = await run.balance(parts, show)
    return report


def measured_roles(pids: Pids, supervisor: Supervisor) -> "dict[str, Roots]":
    """What to measure by the names of the report; a user's own servers are none of our processes."""

    def server(name: str) -> Sequence[int]:
        # A broker of several nodes is `kafka`, `kafka-2` and `kafka-3`.
        return [pid for node, pid in pids().items() if node.partition("-")[0] == name]

    ours = {role: partial(server, name) for name, role in SERVERS.items()} if pids() else {}
    return {**ours, **{f"{role}_workers": partial(supervisor.pids, role) for role in ("intake", "lifecycle")}}


def _asked_rate(report: "SurgeReport") -> str:
    return "as fast as Kafka takes them" if report.asked_per_s is None else f"{report.asked_per_s:,.0f}/s asked"


def _figures(report: "SurgeReport") -> list[tuple[str, str]]:
    return [
        ("submitted", f"{report.submitted:,}"),
        ("lines", f"{report.lines:,}"),
        ("submitted how fast", _asked_rate(report)),
        ("sent/s", f"{report.sent_per_s:,.0f}"),
        ("generator late by at most, ms", f"{report.generator.late_ms_max:,.0f}"),
        ("orders/s, first intended to last decided", f"{report.orders_per_s:,.0f}"),
        ("accepted/s", f"{report.accepted_per_s:,.0f}"),
        ("rejected/s", f"{report.rejected_per_s:,.0f}"),
        ("replayed/s", f"{report.replayed_per_s:,.0f}"),
        ("seconds", f"{report.seconds:,.1f}"),
        *((f"latency {name} from intended time, ms", f"{ms:,.1f}") for name, ms in report.latency_ms.items()),
        ("largest backlog (sent, not decided)", f"{report.lag_peak:,}"),
    ]


def _show(report: "SurgeReport") -> None:
    print_table(["surge", ""], _figures(report))
    counts = {"accepted": report.accepted, **{f"rejected: {why}": n for why, n in report.rejected.items()}}
    counts |= {"replayed": report.replayed, "conflicts": report.conflicts, "dead letters": report.dead_lettered}
    print_table(["decisions", ""], [(what, count) for what, count in counts.items() if count])
    if report.cpu_us_per_order:
        print_table(
            ["process", "CPU, us per order", "peak RSS, MB"],
            [(role, f"{us:.2f}", report.peak_rss_mb.get(role) or "") for role, us in report.cpu_us_per_order.items()],
        )
    stored = [(what, f"{size:,.0f}") for what, size in report.bytes_per_order.items()]
    print_table(["stored", "bytes per order"], stored)
    if report.cpu_us_per_order and "broker" not in report.cpu_us_per_order:
        out.print("The servers are not this command's own: what they cost was not measured, and is in no sum.")
    books = {"missing": report.missing, "repeated": report.repeated}
    print_table(["books", ""], [*{**report.books.faults(), **books}.items()])
    for fault, examples in report.books.examples.items():
        out.print(f"{fault}: {', '.join(examples)}")
    if report.passed:
        out.print("All came out as planned, and the books balance.", style="bold green")
