"""The capacity model: what it asks for, and that it is never below what was measured on one machine."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cli.capacity import capacity
from loadtest.capacity import PARTS, UTILISATION, needs, reach_per_s
from streams.errors import Refused

COSTS = {
    "intake_workers": 20.0, "redis": 8.0, "postgres_primary": 6.0, "postgres_replica": 2.0, "broker": 7.0,
    "generator": 2.0, "observer": 5.0, "total": 50.0,
}  # fmt: skip


def test_needs_grow_with_the_rate_and_leave_room() -> None:
    """Cores are rate times cost over utilisation, whole processes where one has one core."""
    found = {need.part.name: need for need in needs(COSTS, 300_000)}
    assert found.keys() == {part.name for part in PARTS}
    assert found["intake_workers"].cores == pytest.approx(6.0 / UTILISATION)
    assert found["intake_workers"].processes == 10
    assert found["redis"].processes == 4
    assert found["broker"].cores == pytest.approx(2.1 / UTILISATION)
    assert found["broker"].processes is None


@given(st.integers(1, 128), st.integers(1, 64))
def test_a_machine_reaches_what_its_narrowest_part_can(cores: int, workers: int) -> None:
    """More cores help until one part that has one core is at its end."""
    reach = reach_per_s(COSTS, cores, workers)
    assert reach == min(cores * 20_000, workers * 50_000, 125_000, 500_000)


def test_the_command_tells_model_and_measurement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Given a surge's report, both figures of this machine and every part's need are there."""
    file = tmp_path / "surge.json"
    file.write_text(json.dumps({"cpu_us_per_order": COSTS, "orders_per_s": 25_000.0, "workers": 1}))
    capacity(file, rate=600_000, json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["this_machine"]["measured_per_s"] == 25_000.0
    assert told["needs"]["intake_workers"]["processes"] == 20
    capacity(file)
    assert "583,000" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"cpu_us_per_order": {}}'])
def test_what_is_no_report_is_refused(tmp_path: Path, content: str | None) -> None:
    """With a message that says how to make one."""
    file = tmp_path / "surge.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Refused, match=r"floodway surge --json"):
        capacity(file)
