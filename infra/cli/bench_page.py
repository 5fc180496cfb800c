"""`floodway bench page`: how soon an order's page answers while a surge runs."""

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from infra.cli.context import connected, out, people, print_json, print_table
from infra.cli.rehearsal import LIFECYCLE_WORKERS, joined, progress, servers, supervised
from streams.errors import Refused, Unavailable
from streams.parts import Parts
from streams.settings import Settings

if TYPE_CHECKING:
    from loadtest.bench.looks import Seen
    from loadtest.outcome import SurgeReport
    from loadtest.surge import Show

LIMIT_MS = 100.0
LOOKED_AT = 2_000
"""Orders that are looked at; they were placed before, and have the reports of a life."""
LIVED_WITHIN_S = 120.0


def page(
    *,
    rate: float = 3_200.0,
    seconds: float = 30.0,
    looks: float = 60.0,
    json: bool = False,
    data_dir: Path = Path(".floodway/bench-page"),
) -> int:
    """Measure how soon an order's page, timeline and why answer while orders come in at a rate.

    Starts a stack, workers and a front of its own. Orders are placed, paid and shipped; then, while the surge runs, the
    three are asked for by turns on a schedule, over connections that stay open. Times run from the intended beginning
    of a look to the end of its answer. Exit code 1 when a p99 is over 100 ms, a look failed, or the surge did not pass.

    Parameters
    ----------
    rate
        Orders a second that come in meanwhile.
    seconds
        How long.
    looks
        Looks a second, all kinds together.
    json
        Print one JSON object.
    data_dir
        Where the stack keeps data and logs; data of an earlier run there are deleted.

    """
    if rate <= 0 or seconds <= 0 or looks <= 0:
        raise Refused(f"--rate {rate:g}, --seconds {seconds:g} and --looks {looks:g} must be above 0.")
    with servers(data_dir) as (settings, _):
        report, seen = asyncio.run(_measure(settings, rate, seconds, looks, data_dir / "logs"))
    slow = [kind for kind, one in seen.items() if one.p99_ms > LIMIT_MS or one.failed or not one.looks]
    if json:
        found = {kind: one._asdict() for kind, one in seen.items()}
        print_json({"looks": found, "limit_ms": LIMIT_MS, "over": slow, "surge": report.as_dict()})
    else:
        print_table(["asked for", "looks", "failed", "p50 ms", "p99 ms", "max ms"], [(k, *s) for k, s in seen.items()])
        out.print(f"while {report.orders_per_s:,.0f} orders/s were decided, {rate:,.0f} asked")
    for failure in (*(f"{kind}: over {LIMIT_MS:g} ms, or failed" for kind in slow), *report.failures()):
        (people if json else out).print(failure, style="bold red")
    return 1 if slow or not report.passed else 0


async def _measure(
    settings: Settings, rate: float, seconds: float, looks: float, log_dir: Path
) -> "tuple[SurgeReport, dict[str, Seen]]":
    from agents.bootstrap import prepare  # noqa: PLC0415 - faust and friends take a second to import
    from loadtest import planfile, surge  # noqa: PLC0415
    from loadtest.bench.looks import Lookers  # noqa: PLC0415
    from loadtest.front import front  # noqa: PLC0415
    from loadtest.mixes import make_plan  # noqa: PLC0415
    from loadtest.plan import run_name  # noqa: PLC0415

    settings = replace(settings, log_level="WARNING")
    await prepare(settings)
    plan = partial(make_plan, partitions=settings.topic_partitions, mix="one-line")
    async with (
        supervised(settings, {"intake": 1, "lifecycle": LIFECYCLE_WORKERS}, log_dir) as supervisor,
        connected(settings) as parts,
        front(settings, log_dir) as process,
    ):
        with progress() as show:
            lived = await asyncio.to_thread(plan, LOOKED_AT, run=run_name())
            wanted = await asyncio.to_thread(plan, round(rate * seconds), run=run_name() + "b")
            for one in (lived, wanted):
                await surge.provide(parts, one, lasts_s=settings.hold_ttl_s, show=show)
            await joined(supervisor, show)
            with planfile.written(lived) as files:
                _, orders = await surge.surge(parts, lived, files, rate_per_s=None, tell=lambda _: None, keep_ids=True)
            await _live(parts, orders, show)
            stop = asyncio.Event()
            looking = asyncio.create_task(Lookers(process, orders, looks).look(stop))
            try:
                with planfile.written(wanted) as files:
                    report, _ = await surge.surge(
                        parts, wanted, files, rate_per_s=rate, tell=lambda now: show("decided", now.decided, now.total)
                    )
            finally:
                stop.set()
                with contextlib.suppress(asyncio.CancelledError):
                    seen = await looking
            report.books = await surge.balance(parts, show)
    return report, seen


async def _live(parts: Parts, orders: list[str], show: "Show") -> None:
    """Let the orders be paid and followed on until they are delivered."""
    from loadtest.aftermath import Shares, aftermath  # noqa: PLC0415 - see above

    everyone = Shares(paid=1.0, followed=1.0, cancelled=0.0)
    after = await aftermath(parts, orders, timeout_s=LIVED_WITHIN_S, show=show, shares=everyone)
    if after.delivered != len(orders):
        raise Unavailable(f"Of {len(orders)} orders {after.delivered} were delivered before the surge; see the logs.")
