"""`floodway demo`: the whole of it, on real orders, in a minute."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING
from uuid import UUID

from infra.cli.context import connected, out, people, print_json, print_table
from infra.cli.rehearsal import LIFECYCLE_WORKERS, joined, progress, servers, supervised
from streams.errors import Refused
from streams.parts import Parts
from streams.settings import Settings

if TYPE_CHECKING:
    from loadtest.outcome import SurgeReport


def demo(
    *,
    orders: int = 100_000,
    rate: float = 12_000.0,
    workers: int = 1,
    seed: int = 1,
    stay: bool = False,
    json: bool = False,
    data_dir: Path = Path(".floodway/demo"),
) -> int:
    """Replay real shopping baskets as a surge of orders, and prove that the books balance.

    Starts a stack and workers of its own (or uses the servers that FLOODWAY_… variables name), loads stock, opens
    promotions, and submits: real baskets, 5 % repeated under the same key, 0.5 % under the same key with another
    body, 0.5 % malformed, and one hot promotion SKU that ten times more buyers want than there are units. Then half
    of the orders are paid, a fifth cancelled, the rest left until their holds expire; a fiftieth of the paid are
    followed on by warehouse and carrier until they are delivered. Ends with the page of one of those, as a file to
    open in a browser. Exit code 0 only if all came out as planned and the books balance.

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
    stay
        Keep all running at the end, until Ctrl-C, with that page live over HTTP.
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
        return asyncio.run(_demo(settings, orders, rate, workers, seed, stay=stay, json=json, data_dir=data_dir))


async def _demo(
    settings: Settings, orders: int, rate: float, workers: int, seed: int, *, stay: bool, json: bool, data_dir: Path
) -> int:
    from agents.bootstrap import prepare  # noqa: PLC0415 - faust and friends take a second to import
    from loadtest import planfile, surge  # noqa: PLC0415
    from loadtest.aftermath import aftermath  # noqa: PLC0415
    from loadtest.mixes import make_plan  # noqa: PLC0415
    from loadtest.plan import run_name  # noqa: PLC0415

    began, log_dir = monotonic(), data_dir / "logs"
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
                after = await aftermath(parts, accepted, timeout_s=timeout_s, show=show)
                report.after = after.ends
                if sum(report.after.values()) != len(accepted):
                    report.unexpected.append(f"{sum(report.after.values())} of {len(accepted)} orders came to an end")
                if after.delivered != len(after.followed):
                    report.unexpected.append(f"{after.delivered} of {len(after.followed)} orders were delivered")
                report.books = await surge.balance(parts, show)
                page = await _kept(parts, after.followed[0], data_dir / "order.html") if after.followed else None
        _show(report, rate, after.delivered, monotonic() - began, log_dir)
        if page is not None:
            out.print(f"One order, from submission to delivery: {page.resolve().as_uri()}")
        if json:
            print_json({**report.as_dict(), "delivered": after.delivered, "timeline": page})
        if stay:
            await _stay(settings, after.followed, log_dir)
    return 0 if report.came_as_planned else 1


async def _kept(parts: Parts, order_id: str, path: Path) -> Path:
    """The page of an order, as a file."""
    from agents.http.pages import snapshot  # noqa: PLC0415 - for the demo's end alone
    from streams.story import tell  # noqa: PLC0415
    from streams.timeline import timeline  # noqa: PLC0415
    from streams.why import why  # noqa: PLC0415

    now = datetime.now(UTC)
    story = await tell(parts.ledger, UUID(order_id))
    assert story is not None, "it was accepted"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(snapshot(timeline(story), now, await why(parts.ledger, story.order_id, now=now)), encoding="utf-8")
    return path


async def _stay(settings: Settings, followed: Sequence[str], log_dir: Path) -> None:
    """Serve orders until interrupted."""
    from loadtest.front import front  # noqa: PLC0415 - for those who stay

    async with front(settings, log_dir) as process:
        people.print("All keeps running until Ctrl-C. Orders that were followed:")
        for order_id in followed[:3]:
            people.print(f"  {process.url}/orders/{order_id}")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


def _show(report: "SurgeReport", rate: float, delivered: int, seconds: float, log_dir: Path) -> None:
    rows: list[tuple[str, object]] = [
        ("submitted", report.submitted),
        ("accepted", report.accepted),
        *((f"rejected: {reason}", count) for reason, count in report.rejected.items()),
        ("replayed (repeats)", report.replayed),
        ("conflicts (same key, other body)", report.conflicts),
        ("dead letters", report.dead_lettered),
        *((f"then {change}", count) for change, count in sorted(report.after.items())),
        ("of the confirmed, followed until delivered", delivered),
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
