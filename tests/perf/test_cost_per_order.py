"""An order costs no more than it did: each stage as a multiple of fixed work, which a busy machine does not change."""

import asyncio
from pathlib import Path

import pytest

from loadtest.bench import limits
from loadtest.bench.cost import Cost, Rounds, measure_cost

AGAIN = 2
"""A stage over its limit is measured anew so often: a slower program stays slow, a disturbance passes."""


def over_limit() -> list[limits.Finding]:
    """What costs too much now."""
    return [f for f in limits.compare(asyncio.run(measure_cost()), limits.read()) if f.over]


@pytest.mark.timeout(300)
def test_no_stage_costs_more_than_its_limit() -> None:
    """Decode, reserve, persist, rows, announce and the script each stay under what limits.json allows them."""
    found = over_limit()
    for _ in range(AGAIN):
        if not found:
            return
        again = {finding.stage for finding in over_limit()}
        found = [finding for finding in found if finding.stage in again]
    assert not found, "\n".join(map(str, found))


def cost(**ratios: float) -> Cost:
    """Stages that cost so many times the fixed work."""
    return {stage: Rounds([(2 * ratio, 2.0)] * 3) for stage, ratio in ratios.items()}


def test_a_stage_over_its_limit_is_named() -> None:
    """A quarter more is let pass; beyond that the message has the stage, its ratio, its limit, and what to do."""
    held = limits.Limits(1.25, {"decode": 2.0, "script": 1.0})
    quiet, loud = limits.compare(cost(decode=2.4, script=1.3), held)
    assert not quiet.over
    assert loud.over
    assert str(loud).startswith("script costs 1.30 times the fixed work, over its limit of 1.25;")
    assert "floodway bench limits --update" in str(loud)


def test_a_stage_without_a_limit_is_over() -> None:
    """A new stage needs somebody to look at what it costs; and a limit that nothing measures is a mistake."""
    (new,) = limits.compare(cost(added=1.0), limits.Limits(1.25, {}))
    assert new.over
    assert "no limit" in str(new)
    with pytest.raises(AssertionError, match="gone"):
        limits.compare(cost(), limits.Limits(1.25, {"gone": 1.0}))


def test_one_disturbed_round_does_not_count() -> None:
    """The median of the rounds' ratios: a round in which the stage was interrupted changes nothing."""
    assert Rounds([(2.0, 1.0), (50.0, 1.0), (2.1, 1.0)]).ratio == 2.1


def test_limits_survive_their_file(tmp_path: Path) -> None:
    """What `--update` writes is what the next comparison holds against, with headroom."""
    file = tmp_path / "limits.json"
    limits.write(cost(decode=2.0), file)
    assert limits.read(file).limit("decode") == pytest.approx(2.5)
