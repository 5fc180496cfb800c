"""`floodway simulate`: thousands of schedules with everything failing, and what must hold all the same."""

import contextlib
from typing import Annotated

from cyclopts import Parameter

from infra.cli.context import out, people, print_json, print_table
from loadtest.simulation.bugs import BUGS
from loadtest.simulation.plan import SCENARIOS
from loadtest.simulation.run import simulate as run_one
from loadtest.simulation.search import Summary, search
from streams.errors import Refused

LAST_EVENTS = 30
MOST_SCHEDULES, MOST_PROCESSES = 100_000_000, 1_000


def simulate(
    *,
    schedules: int = 10_000,
    seed: int = 0,
    scenario: str | None = None,
    bug: str | None = None,
    processes: int | None = None,
    trace: bool = False,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    json: bool = False,
) -> int:
    """Run the pipeline on simulated time against stores and processes that fail; exit 1 when an invariant breaks.

    No servers are needed. Each seed is one schedule: how many workers, what the shops send, which calls get lost, who
    is killed when, and in which order everything runs. The same seed and code give the same run.

    Parameters
    ----------
    schedules
        How many seeds to run.
    seed
        The first of them.
    scenario
        What may fail; see --list. The bug's own, or `default`.
    bug
        Plant this bug, and run until it is found; exit 1 when it is not. See --list.
    processes
        How many to run side by side; one a core unless told otherwise.
    trace
        Print every event of the first schedule, and the hash by which two runs are compared.
    list_
        Only tell which scenarios and bugs there are.
    json
        Print one JSON object.

    """
    if list_:
        return _tell_what_there_is(json=json)
    if not 0 < schedules <= MOST_SCHEDULES or (processes is not None and not 0 < processes <= MOST_PROCESSES):
        raise Refused(
            f"--schedules {schedules} must be from 1 to {MOST_SCHEDULES:,}, --processes from 1 to {MOST_PROCESSES}."
        )
    if trace:
        return _show_one(seed, scenario, bug)
    with people.status("simulating") as status:
        summary = search(
            seed,
            schedules,
            scenario=scenario,
            bug=bug,
            processes=processes,
            until_found=bug is not None,
            progress=lambda done: status.update(f"{done:,} of {schedules:,} schedules"),
        )
    print_json(summary.as_dict()) if json else show(summary)
    return int(bool(summary.failures) == (bug is None))


def show(summary: Summary) -> None:
    """Print a summary for people."""
    counts = {
        "schedules": summary.schedules,
        "submissions": summary.submissions,
        "virtual hours": round(summary.virtual_s / 3600),
        "steps": summary.steps,
        "schedules a minute and core (CPU time)": round(summary.schedules_per_core_minute),
    }
    print_table([f"scenario {summary.scenario}", "count"], list(counts.items()))
    if summary.faults:
        print_table(["faults injected", "count"], summary.faults.most_common())
    if summary.failures:
        _show_failures(summary)
    elif summary.bug is not None:
        out.print(f"The bug {summary.bug} was not found.", style="bold red")
    else:
        out.print("Every invariant held.", style="bold green")


def _show_failures(summary: Summary) -> None:
    print_table(["invariant broken", "schedules"], summary.violations.most_common())
    first = summary.failures[0]
    out.print(f"Seed {first.seed}, the last events:")
    for line in first.lines[-LAST_EVENTS:]:
        out.print(f"  {line[:400]}")
    out.print(f"{first.invariant}: {first.detail[:1000]}", style="bold red")
    out.print(f"Replay it: {summary.replay(first.seed)}")


def _show_one(seed: int, scenario: str | None, bug: str | None) -> int:
    """Run one schedule and print all its events."""
    summary = search(seed, 1, scenario=scenario, bug=bug, processes=1)  # knows which names there are
    with BUGS[bug].plant() if bug is not None else contextlib.nullcontext():
        result = run_one(seed, summary.scenario, trace=True)
    for line in result.lines:
        out.print(line)
    out.print(f"{result.digest}  {result.violation or 'every invariant held'}")
    return int(result.violation is not None)


def _tell_what_there_is(*, json: bool) -> int:
    scenarios = {name: scenario.summary for name, scenario in SCENARIOS.items()}
    bugs = {name: f"{bug.summary} (scenario {bug.scenario})" for name, bug in BUGS.items()}
    if json:
        print_json({"scenarios": scenarios, "bugs": bugs})
        return 0
    for title, named in (("scenarios", scenarios), ("bugs to plant", bugs)):
        out.print(title, style="bold")
        for name, words in named.items():
            out.print(f"  {name:<24} {words}")
    return 0
