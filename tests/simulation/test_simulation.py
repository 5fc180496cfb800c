"""The simulation itself: runs repeat exactly, planted bugs are found, and the pipeline as it is breaks nothing."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from infra.cli.simulate import simulate as command
from loadtest.simulation.bugs import BUGS
from loadtest.simulation.plan import DISRUPTIONS, SCENARIOS
from loadtest.simulation.run import simulate
from loadtest.simulation.search import Summary, search
from streams.errors import UnknownThing

FOUND_WITHIN = 500
"""Schedules within which each planted bug must be found, whatever the first seed: most take less than 10, the rarest 70
on average, so that a change which moves all dice breaks no test.
"""

FIRST_SEEDS = (0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1_000_000, 2_000_000)))

CLEAN = (
    pytest.param(range(2_500), id="first"),
    pytest.param(range(2_500, 10_000), marks=pytest.mark.slow, id="the-rest"),
)
"""Seeds whose schedules must pass, by all cores: half a minute for the first, and 10,000 with those that are slow."""

SAFE = [name for name in SCENARIOS if not name.startswith("gap-")]


@pytest.fixture(scope="module", params=CLEAN)
def seeds(request: pytest.FixtureRequest) -> range:
    """Of the schedules in `clean`."""
    found: range = request.param
    return found


@pytest.fixture(scope="module")
def clean(seeds: range) -> Summary:
    """Many schedules of the pipeline as it is."""
    return search(seeds.start, len(seeds))


@pytest.mark.timeout(1_200)
def test_the_pipeline_breaks_no_invariant(seeds: range, clean: Summary) -> None:
    """Thousands of schedules with everything failing: each submission decided once, announced, and the books right."""
    assert [(failure.seed, failure.detail) for failure in clean.failures] == []
    assert clean.schedules == len(seeds)


@pytest.mark.timeout(1_200)
def test_every_fault_is_injected(seeds: range, clean: Summary) -> None:
    """The schedules that passed were not idle: each kind of fault came up often."""
    for kind in (*DISRUPTIONS, "lost call", "lost answer", "late call", "outage"):
        assert clean.faults[kind] > len(seeds) // 25, kind
    assert clean.submissions > 10 * len(seeds)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", FIRST_SEEDS)
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, first: int) -> None:
    """Within a bounded number of schedules from any seed on, in which the pipeline without the bug breaks nothing; in a
    scenario of a known gap, nothing of that kind.
    """
    found = search(first, FOUND_WITHIN, bug=name, processes=1, until_found=True)
    assert found.failures, f"{name} was not found in {FOUND_WITHIN} schedules from seed {first}"
    with_bug = found.failures[0]
    without = simulate(with_bug.seed, found.scenario)
    known_gap = found.scenario not in SAFE and without.violation != with_bug.invariant
    assert without.violation is None or known_gap


@pytest.mark.parametrize("scenario", SAFE)
def test_each_scenario_holds(scenario: str) -> None:
    """Each scenario by itself, so that faults which hide each other in the mix are looked at alone."""
    assert search(10_000, 40, scenario=scenario, processes=1).failures == []


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_is_a_run(seed: int) -> None:
    """The same seed gives the same events to the last, another seed gives others."""
    first, again, other = simulate(seed, trace=True), simulate(seed, trace=True), simulate(seed + 1, trace=True)
    assert first.lines == again.lines
    assert first.digest == again.digest != other.digest


def test_a_seed_is_a_run_in_any_process() -> None:
    """Another process, with other hashes of texts, goes the same way."""
    code = "from loadtest.simulation.run import simulate; print(*(simulate(s, trace=True).digest for s in range(5)))"
    here = " ".join(simulate(seed, trace=True).digest for seed in range(5))
    for hashes in ("1", "2"):
        environ = os.environ | {"PYTHONHASHSEED": hashes}
        there = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
        assert there.stdout.strip() == here


def test_a_failure_tells_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    """The command names the seed, the invariant, the last events and the one command that replays them."""
    assert command(schedules=30, bug="release-twice", processes=1) == 0
    said = capsys.readouterr().out
    assert "units_conserved" in said
    replay = next(line for line in said.splitlines() if line.startswith("Replay it: "))
    seed = int(replay.split("--seed ")[1].split()[0])
    assert replay == f"Replay it: floodway simulate --seed {seed} --schedules 1 --bug release-twice --trace"
    assert command(schedules=1, seed=seed, bug="release-twice", trace=True) == 1
    assert "VIOLATION" in capsys.readouterr().out


def test_the_summary_is_plain_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts by kind, and of each failure the seed and the command that replays it."""
    assert command(schedules=10, bug="no-epoch-check", processes=1, json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["faults"]["kill"] > 0
    assert found["violations"] == dict(Counter(failure["invariant"] for failure in found["failures"]))
    assert found["failures"][0]["replay"].endswith("--bug no-epoch-check --trace")
    assert found["schedules_per_core_minute"] > 0


def test_a_name_that_does_not_exist_is_told() -> None:
    """Scenarios and bugs of other names are refused with those there are."""
    with pytest.raises(UnknownThing, match="gap-amnesia"):
        search(0, 1, scenario="none")
    with pytest.raises(UnknownThing, match="key-per-try"):
        search(0, 1, bug="none")
