"""`floodway soak`: orders for many minutes, a fault in each of them, and whether anything grows, slows or gets lost."""

import asyncio
import shutil
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from infra.cli.context import connected, out, people, print_json, print_table
from infra.cli.rehearsal import LIFECYCLE_WORKERS, joined, lasting_broker, progress, supervised
from infra.embedded import Broker, Stack
from streams.errors import FloodwayError, Refused
from streams.settings import load

if TYPE_CHECKING:
    from loadtest.processes import Roots
    from loadtest.soak.run import SoakReport

SERVERS = {"kafka": "broker", "redis": "redis", "postgres": "postgres_primary", "replica": "postgres_replica"}


def soak(
    *,
    minutes: float = 20.0,
    rate: float = 3_200.0,
    fault_every_s: float = 60.0,
    seed: int = 1,
    broker: Broker | None = None,
    workers: int = 2,
    keep: bool = False,
    json: bool = False,
    data_dir: Path = Path(".floodway/soak"),
) -> int:
    """Send orders for many minutes with a fault every so often; fail when memory grows or the books do not balance.

    Starts a stack and workers of its own. Orders ask for one unit each; one in 20 comes again, one in 200 is malformed.
    Holds expire after 30 s and Redis remembers for 60 s, so that what it keeps reaches a level. Faults are those of
    drills, drawn by the seed. Exit code 1 if the books do not balance, an answer is missing, a fault was not recovered
    from, or a process grew after the warm-up (a third of the time, 5 minutes at the most); with fewer than 4 minutes
    after that, growth is told and not judged.

    Parameters
    ----------
    minutes
        How long to submit.
    rate
        Submissions per second.
    fault_every_s
        From one fault to the next.
    seed
        Of the orders and of the faults.
    broker
        `tansu` or `kafka`; by default Apache Kafka where it is installed, for tansu keeps all topics in memory.
    workers
        Intake processes.
    keep
        Keep data and logs also when it passes.
    json
        Print one JSON object instead of the tables.
    data_dir
        Where the stack keeps data and logs; data of an earlier soak there are deleted.

    """
    from loadtest.soak.run import SoakReport  # noqa: PLC0415 - what is behind it takes a second to import

    if not (0 < minutes <= 10_000 and 0 < rate <= 1_000_000 and workers > 0 and 1 <= fault_every_s <= 1_000_000):
        raise Refused(
            f"--minutes {minutes:g}, --rate {rate:g} and --workers {workers} must be above 0, "
            f"--fault-every-s {fault_every_s:g} at least 1."
        )
    used = broker or lasting_broker()
    report = SoakReport(minutes, rate, fault_every_s, seed, used)
    began = monotonic()
    shutil.rmtree(data_dir / "logs", ignore_errors=True)
    try:
        with Stack.start(data_dir, fresh=True, broker=used) as stack:
            asyncio.run(_soak(stack, data_dir, workers, report))
    except (FloodwayError, OSError, TimeoutError) as error:
        report.failures.append(f"It broke off: {type(error).__name__}: {error}")
    except ExceptionGroup as errors:
        report.failures.append(f"It broke off: {errors.exceptions[0]!r}")
    report.seconds = round(monotonic() - began, 1)
    if report.passed and not keep:
        shutil.rmtree(data_dir, ignore_errors=True)
    else:
        report.kept = str(data_dir)
    print_json(report.as_dict()) if json else _show(report)
    return int(not report.passed)


async def _soak(stack: Stack, data_dir: Path, workers: int, report: "SoakReport") -> None:
    from agents.bootstrap import prepare  # noqa: PLC0415 - faust and friends take a second to import
    from loadtest.drills.drill import Scene  # noqa: PLC0415
    from loadtest.drills.links import Links  # noqa: PLC0415
    from loadtest.soak.run import SETTINGS, perform  # noqa: PLC0415

    settings = load(stack.addresses.environment(), **SETTINGS)
    await prepare(settings)
    roles = {"intake": workers, "lifecycle": LIFECYCLE_WORKERS}
    async with (
        Links.started(settings) as links,
        supervised(links.lead(settings), roles, data_dir / "logs") as supervisor,
        connected(settings) as parts,
    ):
        measured: dict[str, Roots] = {
            f"{role}_workers": partial(supervisor.pids, role) for role in ("intake", "lifecycle")
        }
        for name, role in SERVERS.items():
            measured[role] = partial(_pids, stack, name)
        scene = Scene(stack, data_dir, supervisor, parts, links)
        with progress() as show:
            await joined(supervisor, show)
            await perform(scene, measured, report, show)
        report.said = scene.said


def _pids(stack: Stack, name: str) -> list[int]:
    return [pid for found, pid in stack.pids().items() if found.partition("-")[0] == name]


def _show(report: "SoakReport") -> None:
    rows = [
        (
            struck.name,
            f"{struck.at_s:.0f}",
            f"{struck.lasted_s:.1f}",
            *map(_or_dash, (struck.first_decision_s, struck.recovered_s)),
        )
        for struck in report.faults
    ]
    print_table(["fault", "at s", "lasted s", "first s", "recovered s"], rows)
    memory = [
        (
            one.role,
            " ".join(f"{mb:.0f}" for mb in one.windows_mb),
            _or_dash(one.slope_mb_per_min),
            _or_dash(one.most_mb_per_min),
            {True: "flat", False: "GROWS", None: "not judged"}[one.is_flat],
        )
        for one in report.memory
    ]
    print_table(["memory", "highest of each minute, MB", "MB/min", "at most", ""], memory)
    if report.surge is not None:
        surge = report.surge
        latency = [(f"latency {name} from intended time, ms", f"{ms:,.0f}") for name, ms in surge.latency_ms.items()]
        counts = [("submitted", f"{surge.submitted:,}"), ("accepted", f"{surge.accepted:,}")]
        counts += [("replayed", f"{surge.replayed:,}"), ("dead letters", f"{surge.dead_lettered:,}")]
        print_table([f"soak on {report.broker}", ""], [*counts, *latency])
        print_table(["books", ""], [*surge.books.faults().items()])
    for failure in report.failures:
        out.print(failure, style="bold red")
    if report.passed:
        out.print("Nothing grew, nothing got lost, and the books balance.", style="bold green")
    elif report.kept:
        people.print(f"Data and logs are kept in {report.kept}.")


def _or_dash(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f}"
