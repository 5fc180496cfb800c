"""`floodway demo`: the whole of it, on real orders, in a minute."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from infra.cli.context import connected, out, print_json, print_table
from infra.cli.rehearsal import LIFECYCLE_WORKERS, joined, progress, servers, supervised
from streams.errors import Refused
from streams.settings import Settings

if TYPE_CHECKING:
    from loadtest.outcome import SurgeReport


def demo(
    *,
    orders: int = 100_000,
    rate: float = 12_000.0,
    workers: int = 1,
    seed: int = 1,
    json: bool = False,
    data_dir: Path = Path(".floodway/demo"),
) -> int:
    """Replay real shopping baskets as a surge of orders, and prove that the books balance.

    Starts a stack and workers of its own (or uses the servers that FLOODWAY_… variables name), loads stock, opens
    promotions, and submits: real baskets, 5 % repeated under the same key, 0.5 % under the same key with another
    body, 0.5 % malformed, and one hot promotion SKU that ten times more buyers want than there are units. Then half
    of the orders are paid, a fifth cancelled, the rest left until their holds expire. Exit code 0 only if all came
    out as planned and the books balance.

    Parameters
    ----------
    orders
        Submissions in all.
    rate
        Submissions per second; more than the workers can take makes a backlog, which they then work off.
    workers
        Intake processes. On two cores one is fastest: a second makes batches smaller and competes for the cores.
    seed
        Of the mix; the same seed makes the same surge.
    json
        Print one JSON object as the last line.
    data_dir
        Where the stack keeps data and logs; data of an earlier demo there are deleted.

    """
    if orders < 1_000:
        raise Refused(f"--orders {orders}: a surge needs at least 1000.")
    if rate <= 0 or workers < 1:
        raise Refused(f"--rate {rate:g} and --workers {workers} must be above 0.")
    with servers(data_dir) as (settings, _):
        return asyncio.run(_demo(settings, orders, rate, workers, seed, json=json, log_dir=data_dir / "logs"))


async def _demo(
    settings: Settings, orders: int, rate: float, workers: int, seed: int, *, json: bool, log_dir: Path
) -> int:
    from agents.bootstrap import prepare  # noqa: PLC0415 - faust and friends take a second to import
    from loadtest import planfile, surge  # noqa: PLC0415
    from loadtest.aftermath import aftermath  # noqa: PLC0415
    from loadtest.mixes import make_plan  # noqa: PLC0415
    from loadtest.plan import run_name  # noqa: PLC0415

    began = monotonic()
    # Long enough to be paid after the surge, short enough that nobody waits for the unpaid.
    settings = replace(settings, hold_ttl_s=orders / 5_000 + 10, log_level="WARNING")
    await prepare(settings)
    roles = {"intake": workers, "lifecycle": LIFECYCLE_WORKERS}
    async with supervised(settings, roles, log_dir) as supervisor:
        run = run_name()
        with progress() as show:
            show("reading baskets", 0, 0)
            plan = await asyncio.to_thread(partial(make_plan, orders, settings.topic_partitions, seed=seed, run=run))
            show("reading baskets", orders, orders)

            def tell(now: surge.Now) -> None:
                show("submitted", now.sent, now.total)
                show("decided", now.decided, now.answers)

            async with connected(settings) as parts:
                await surge.provide(parts, plan, lasts_s=3_600, show=show)
                await joined(supervisor, show)
                with planfile.written(plan) as files:
                    report, accepted = await surge.surge(parts, plan, files, rate_per_s=rate, tell=tell, keep_ids=True)
                timeout_s = settings.hold_ttl_s + 60 + len(accepted) / 1_000
                report.after = await aftermath(parts, accepted, timeout_s=timeout_s, show=show)
                if sum(report.after.values()) != len(accepted):
                    report.unexpected.append(f"{sum(report.after.values())} of {len(accepted)} orders came to an end")
                report.books = await surge.balance(parts, show)
    _show(report, rate, monotonic() - began, log_dir)
    if json:
        print_json(report.as_dict())
    return 0 if report.came_as_planned else 1


def _show(report: "SurgeReport", rate: float, seconds: float, log_dir: Path) -> None:
    rows: list[tuple[str, object]] = [
        ("submitted", report.submitted),
        ("accepted", report.accepted),
        *((f"rejected: {reason}", count) for reason, count in report.rejected.items()),
        ("replayed (repeats)", report.replayed),
        ("conflicts (same key, other body)", report.conflicts),
        ("dead letters", report.dead_lettered),
        *((f"then {change}", count) for change, count in sorted(report.after.items())),
        ("orders/s asked", f"{rate:,.0f}"),
        ("orders/s, first intended to last announced", f"{report.orders_per_s:,.0f}"),
        ("latency p50 from intended time, backlog included, ms", report.latency_ms["p50"]),
        ("latency p99 from intended time, backlog included, ms", report.latency_ms["p99"]),
        ("generator late by, ms", report.generator.late_ms_max),
    ]
    print_table(["surge", ""], rows)
    print_table(["books", ""], [*report.books.faults().items()])
    for fault, examples in report.books.examples.items():
        out.print(f"{fault}: {', '.join(examples)}")
    for line in report.unexpected:
        out.print(f"not as planned: {line}", style="bold red")
    if report.came_as_planned:
        out.print(f"The books balance. {seconds:.0f} s in all.", style="bold green")
    else:
        out.print(f"The demo failed. Logs are in {log_dir}.", style="bold red")
