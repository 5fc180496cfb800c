"""`floodway drill`: a surge with a fault in the middle of it, and whether the books balance all the same."""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from infra.cli.context import connected, out, people, print_json, print_table
from infra.cli.rehearsal import LIFECYCLE_WORKERS, joined, progress, supervised
from infra.cli.shared_stack import SharedStack
from infra.embedded import Broker, Stack
from infra.embedded.kafka import jars_dir
from streams.errors import FloodwayError, Refused
from streams.settings import load

if TYPE_CHECKING:
    from loadtest.drills.drill import Drill, Fault
    from loadtest.drills.report import DrillReport

SHORT = {
    "session_timeout_s": 6.0,
    "commit_interval_s": 0.5,
    "redis_timeout_s": 2.0,
    "postgres_timeout_s": 4.0,
    "retry_max_delay_s": 2.0,
    "hold_ttl_s": 43_200.0,
    "log_level": "WARNING",
}
"""Shorter times than the defaults, so that a fault of seconds outlasts them; and holds that outlast every drill."""


def drill(
    name: str | None = None,
    *,
    all_: Annotated[bool, Parameter(name="--all")] = False,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    rounds: int = 1,
    seed: int = 1,
    broker: Broker | None = None,
    rate: float | None = None,
    seconds: float | None = None,
    apart: bool = False,
    keep: bool = False,
    record: Path | None = None,
    json: bool = False,
    data_dir: Path = Path(".floodway/drills"),
) -> int:
    """Put a fault into a surge, take it out again, and prove that the books balance all the same.

    Each drill starts workers of its own. On Apache Kafka, those that leave servers as they found them use one stack, a
    few of them, with all their orders in its books; others have their own. A drill submits thousands of orders a second
    for a while, whatever comes back, puts its fault in at a moment of the middle third that the seed chooses, heals it,
    waits for the backlog and audits the books. Exit code 1 if any failed; what failed keeps its data and logs.

    Parameters
    ----------
    name
        Which drill; see --list.
    all_
        All that can be run here; what is left out is told.
    list_
        Only tell which drills there are, and what each proves.
    rounds
        How often each is run, each time with the next seed.
    seed
        Of the surge, of the moment and of what else the fault leaves open.
    broker
        `tansu` or `kafka`; by default tansu, and Apache Kafka for drills that need it.
    rate
        Submissions per second, 3,000 by default.
    seconds
        How long to submit, 9 by default for quick faults, else 13.
    apart
        Give each drill a stack of its own.
    keep
        Keep data and logs of what passed, too.
    record
        Directory whose record of drills, and page of times to recover, to bring up to date (`docs`).
    json
        Print a JSON object for each drill instead of the table.
    data_dir
        Where stacks keep data and logs, each drill and seed in a directory of its own.

    """
    from loadtest.drills import times  # noqa: PLC0415 - what is behind it takes a second to import
    from loadtest.drills.table import DRILLS  # noqa: PLC0415

    if list_:
        return _list(json=json)
    if (name is None) != all_:
        raise Refused("Give the name of one drill, or --all; --list tells which there are.")
    if name is not None and name not in DRILLS:
        raise Refused(f"There is no drill {name!r}; --list tells which there are.")
    if rounds < 1:
        raise Refused(f"--rounds {rounds} must be above 0.")
    chosen = list(DRILLS.values()) if name is None else [DRILLS[name]]
    able = _able(chosen, broker)
    if record is not None:
        times.record([], record)  # so that a typo is told of before
    reports = []
    jobs = [(_with_load(one, rate, seconds), number) for one in able for number in range(seed, seed + rounds)]
    stacks = SharedStack(data_dir, keep=keep)
    try:
        for one, number in jobs:
            # tansu starts in seconds, and its groups do not get over every way in which workers leave them.
            on_kafka = (broker or one.brokers[0]) is Broker.KAFKA
            shared = stacks if on_kafka and one.shares and len(jobs) > 1 and not apart else None
            report = run_one(one, number, broker=broker, data_dir=data_dir, keep=keep, shared=shared)
            reports.append(report)
            _tell(report)
            if record is not None:
                times.record([report], record)
            if json:
                print_json(report.as_dict())
    finally:
        stacks.end()
    if not json:
        _show(reports)
    return int(not reports or not all(report.passed for report in reports))


def run_one(
    drill: "Drill",
    seed: int,
    *,
    broker: Broker | None,
    data_dir: Path,
    keep: bool = False,
    fault: "Fault | None" = None,
    shared: SharedStack | None = None,
) -> "DrillReport":
    """Run one drill, on servers of its own or on shared ones; `fault` takes the place of the drill's.

    Never raises for what fails.
    """
    from loadtest.drills.postgres import unmount  # noqa: PLC0415
    from loadtest.drills.report import DrillReport  # noqa: PLC0415

    used = broker or drill.brokers[0]
    directory = data_dir / f"{drill.name}-{used}-{seed}"
    report = DrillReport(drill.name, seed, used, again=_again(drill, seed, used))
    fault, began = fault or drill.fault(), monotonic()
    people.print(f"{drill.name}, seed {seed}, on {used}: {drill.proves}", soft_wrap=True)
    unmount(directory)  # of a run that was killed
    try:
        with shared.lent(drill, used) if shared else _own(drill, used, directory) as (stack, directory):
            if shared and len(shared.lent_to) > 1:
                report.on_stack_after = shared.lent_to[:-1]
            fault.prepare(stack, directory)
            logs = directory / "logs" / (f"{drill.name}-{seed}" if shared else "")
            asyncio.run(_perform(drill, fault, stack, directory, logs, seed, report))
    except (FloodwayError, OSError, TimeoutError) as error:
        report.failures.append(f"It broke off: {type(error).__name__}: {error}")
    except ExceptionGroup as errors:
        report.failures.append(f"It broke off: {errors.exceptions[0]!r}")
    finally:
        unmount(directory)
    report.seconds = round(monotonic() - began, 1)
    report.passed = not report.failures
    if not report.passed and shared:
        shared.spoil()
    if report.passed and not keep:
        if not shared:
            shutil.rmtree(directory, ignore_errors=True)
    else:
        report.kept = str(directory)
    return report


@contextlib.contextmanager
def _own(drill: "Drill", used: Broker, directory: Path) -> Iterator[tuple[Stack, Path]]:
    shutil.rmtree(directory, ignore_errors=True)
    nodes = drill.nodes if used is Broker.KAFKA else 1
    with Stack.start(directory, broker=used, nodes=nodes, standby=drill.standby) as stack:
        yield stack, directory


async def _perform(
    drill: "Drill", fault: "Fault", stack: Stack, directory: Path, logs: Path, seed: int, report: "DrillReport"
) -> None:
    from agents.bootstrap import prepare  # noqa: PLC0415 - faust and friends take a second to import
    from loadtest.drills.drill import Scene  # noqa: PLC0415
    from loadtest.drills.links import Links  # noqa: PLC0415
    from loadtest.drills.run import perform  # noqa: PLC0415

    settings = load(stack.addresses.environment(), **{**SHORT, **drill.settings})
    await prepare(settings)
    roles = {"intake": drill.intake_workers, "lifecycle": LIFECYCLE_WORKERS}
    async with (
        Links.started(settings) as links,
        supervised(links.lead(settings), roles, logs, argv=fault.argv(directory)) as workers,
        connected(settings) as parts,
    ):
        scene = Scene(stack, directory, workers, parts, links)
        with progress() as show:
            await joined(workers, show)
            await perform(drill, fault, scene, seed, report, show)


def _able(chosen: "Sequence[Drill]", broker: Broker | None) -> "list[Drill]":
    """Those that can be run here; tells of the others, and raises `Refused` when none is left."""
    able = []
    for drill in chosen:
        why = _unable(drill, broker)
        if why is None:
            able.append(drill)
        elif len(chosen) == 1:
            raise Refused(f"{drill.name} cannot be run: {why}.")
        else:
            people.print(f"{drill.name} is left out: {why}.", soft_wrap=True)
    return able


def _unable(drill: "Drill", broker: Broker | None) -> str | None:
    """Why a drill cannot be run here, None when it can."""
    used = broker or drill.brokers[0]
    if used not in drill.brokers:
        return f"it needs --broker {drill.brokers[0]}"
    if used is Broker.KAFKA and not jars_dir().is_dir():
        return "Apache Kafka is not installed; `floodway kafka install` brings it"
    return drill.missing_here()


def _with_load(drill: "Drill", rate: float | None, seconds: float | None) -> "Drill":
    load = drill.load
    load = replace(
        load,
        rate_per_s=load.rate_per_s if rate is None else rate,
        seconds=load.seconds if seconds is None else seconds,
    )
    if not (load.rate_per_s > 0 and load.seconds > 0):
        raise Refused(f"--rate {load.rate_per_s:g} and --seconds {load.seconds:g} must be above 0.")
    return replace(drill, load=load)


def _again(drill: "Drill", seed: int, broker: Broker) -> str:
    load = f"--rate {drill.load.rate_per_s:g} --seconds {drill.load.seconds:g}"
    return f"floodway drill {drill.name} --seed {seed} --broker {broker} {load}"


def _list(*, json: bool) -> int:
    from loadtest.drills.table import DRILLS  # noqa: PLC0415

    found = [(drill, _unable(drill, None)) for drill in DRILLS.values()]
    if json:
        for drill, why in found:
            print_json({"drill": drill.name, "proves": drill.proves, "brokers": drill.brokers, "left_out": why})
    else:
        rows = [(drill.name, drill.proves + (f" Left out: {why}." if why else "")) for drill, why in found]
        print_table(["drill", "proves"], rows)
    return 0


def _tell(report: "DrillReport") -> None:
    for words in report.said:
        people.print(f"  {words}", soft_wrap=True)
    if report.breakers_opened:
        times = ", ".join(f"{name} {count}" for name, count in report.breakers_opened.items())
        people.print(f"  breakers opened: {times}", soft_wrap=True)
    for failure in report.failures:
        people.print(f"  {failure}", style="bold red", soft_wrap=True)
    if report.failures and report.on_stack_after:
        people.print(f"  On the servers of {', '.join(report.on_stack_after)}, which passed.", soft_wrap=True)
    if report.kept:
        people.print(f"  Data and logs are kept in {report.kept}. Again: {report.again}", soft_wrap=True)


def _show(reports: "Sequence[DrillReport]") -> None:
    rows = [
        (
            report.drill,
            str(report.seed),
            "passed" if report.passed else "FAILED",
            report.missing,
            report.announced_again,
            report.oversold,
            _or_dash(report.lasted_s),
            _or_dash(report.first_decision_s),
            _or_dash(report.recovered_s),
            f"{report.longest_gap_s:.1f}",
            f"{report.worst_latency_s:.1f}",
            report.worker_restarts,
            f"{report.seconds:.0f}",
        )
        for report in reports
    ]
    columns = ["drill", "seed", "", "missing", "again", "oversold", "fault s", "first s", "recovered s", "gap s"]
    print_table([*columns, "worst s", "restarts", "s"], rows)
    out.print(
        "first, recovered: seconds from healing to the first decision, and until no more orders wait than before."
    )
    if reports and all(report.passed for report in reports):
        out.print(f"All {len(reports)} passed: the books balance.", style="bold green")
    else:
        failed = sum(not report.passed for report in reports)
        out.print(f"{failed} of {len(reports)} failed.", style="bold red")


def _or_dash(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f}"
