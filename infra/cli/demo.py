"""`floodway demo`: the whole of it, on real orders, in a minute."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from infra.cli.context import connected, out, people, print_json, print_table
from infra.embedded import Stack
from infra.workers import Supervisor
from streams.errors import Refused, Unavailable
from streams.settings import PREFIX, Settings, load

if TYPE_CHECKING:
    from loadtest.surge import Show, SurgeReport

LIFECYCLE_WORKERS = 1
JOIN_TIMEOUT_S = 60.0


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
    with _servers(data_dir) as settings:
        return asyncio.run(_demo(settings, orders, rate, workers, seed, json=json, log_dir=data_dir / "logs"))


@contextlib.contextmanager
def _servers(data_dir: Path) -> Iterator[Settings]:
    """The user's own servers when the environment names them, else an embedded stack for the time of the demo."""
    if PREFIX + "KAFKA_BOOTSTRAP" in os.environ:
        yield load()
        return
    people.print("Starting Kafka, Redis, Postgres and its replica …")
    with Stack.start(data_dir, fresh=True) as stack:
        yield load(os.environ | stack.addresses.environment())


async def _demo(
    settings: Settings, orders: int, rate: float, workers: int, seed: int, *, json: bool, log_dir: Path
) -> int:
    from agents.bootstrap import prepare  # noqa: PLC0415 - faust and friends take a second to import
    from loadtest import surge  # noqa: PLC0415
    from loadtest.plan import make_plan  # noqa: PLC0415

    began = monotonic()
    # Long enough to be paid after the surge, short enough that nobody waits for the unpaid.
    settings = replace(settings, hold_ttl_s=orders / 5_000 + 10, log_level="WARNING")
    await prepare(settings)
    supervisor = Supervisor(
        settings, {"intake": workers, "lifecycle": LIFECYCLE_WORKERS}, say=people.print, log_dir=log_dir
    )
    supervisor.start()
    keeper = asyncio.create_task(_keep(supervisor))
    try:
        run = surge.run_name()
        with _progress() as show:
            show("reading baskets", 0, 0)
            plan = await asyncio.to_thread(partial(make_plan, orders, settings.topic_partitions, seed=seed, run=run))
            show("reading baskets", orders, orders)
            async with connected(settings) as parts:
                await surge.provide(parts, plan, run=run, lasts_s=3_600, show=show)
                await _joined(supervisor, show)
                report, accepted = await surge.surge(parts, plan, rate_per_s=rate, show=show)
                timeout_s = settings.hold_ttl_s + 60 + len(accepted) / 1_000
                report.after = await surge.aftermath(parts, accepted, timeout_s=timeout_s, show=show)
                if sum(report.after.values()) != len(accepted):
                    report.unexpected.append(f"{sum(report.after.values())} of {len(accepted)} orders came to an end")
                report.books = await surge.balance(parts, show)
    finally:
        keeper.cancel()
        supervisor.stop()
    _show(report, rate, monotonic() - began, log_dir)
    if json:
        print_json(report.as_dict())
    return 0 if report.passed else 1


async def _keep(supervisor: Supervisor) -> None:
    while True:
        supervisor.look()
        await asyncio.sleep(0.2)


async def _joined(supervisor: Supervisor, show: "Show") -> None:
    deadline = monotonic() + JOIN_TIMEOUT_S
    while supervisor.ready() < len(supervisor):
        if monotonic() > deadline:
            raise Unavailable(f"Workers did not get partitions within {JOIN_TIMEOUT_S:g} s; see their logs.")
        show("workers joining", supervisor.ready(), len(supervisor))
        await asyncio.sleep(0.1)
    show("workers joining", len(supervisor), len(supervisor))


@contextlib.contextmanager
def _progress() -> "Iterator[Show]":
    """Bars by what is going on, on the standard error stream."""
    bars: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[done]:>17}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[rate]}"), console=people) as progress:
        began: dict[str, float] = {}

        def show(what: str, done: int, of: int) -> None:
            what, _, detail = what.partition(": ")
            if what not in bars:
                bars[what] = progress.add_task(what, total=None, rate="", done="")
                began[what] = monotonic()
            seconds = max(0.001, monotonic() - began[what])
            rate = detail or (f"{done / seconds:,.0f}/s" if done > 1_000 else "")
            counted = f"{done:,}/{of:,}" if of else ""
            progress.update(bars[what], completed=done, total=of or None, rate=rate, done=counted)

        yield show


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
    if report.passed:
        out.print(f"The books balance. {seconds:.0f} s in all.", style="bold green")
    else:
        out.print(f"The demo failed. Logs are in {log_dir}.", style="bold red")
