"""`floodway surge`, as it is run by those who want to know what their machine takes."""

from pathlib import Path

import pytest
from command import measured

ORDERS = 20_000
OURS = {"generator", "observer", "broker", "redis", "postgres_primary", "postgres_replica"}
OURS |= {"intake_workers", "lifecycle_workers"}


@pytest.mark.timeout(180)
def test_a_surge_is_measured_and_its_books_balance(tmp_path: Path) -> None:
    """Every order is accepted once, and the JSON has rates, latency, and CPU and memory of every process."""
    code, said, err = measured(tmp_path, "surge", "--orders", str(ORDERS), "--mix", "one-line", "--plot", "plot")
    assert code == 0, err[-2000:]
    assert (said["passed"], said["balanced"], said["missing"], said["repeated"]) == (True, True, 0, 0)
    assert (said["submitted"], said["accepted"], said["rejected"]) == (ORDERS, ORDERS, {})
    assert said["unexpected"] == said["failures"] == []
    assert said["books"]["submissions"] == said["books"]["decisions"] == ORDERS
    assert said["books"]["pools"]["main"] == {"free": 0, "held": ORDERS, "sold": 0}
    assert said["orders_per_s"] == said["accepted_per_s"] > 0
    assert said["sent_per_s"] >= said["orders_per_s"]
    latency = said["latency_ms"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["p99.9"] <= latency["max"]
    assert all(50 < size < 2_000 for size in said["bytes_per_order"].values()), said["bytes_per_order"]
    cpu, memory = said["cpu_us_per_order"], said["peak_rss_mb"]
    assert OURS | {"command", "pipeline", "total"} == cpu.keys()
    assert all(memory[role] > 1 for role in OURS)
    # The processes that do the work did some; a tick of 10 ms is half a microsecond an order here.
    assert all(cpu[role] > 0.5 for role in ("broker", "redis", "postgres_primary", "intake_workers"))
    assert cpu["total"] == pytest.approx(sum(cpu[role] for role in (*OURS, "command")), abs=0.1)
    seconds = said["per_second"]
    assert sum(second["sent"] for second in seconds) == sum(second["decided"] for second in seconds) == ORDERS
    assert seconds[-1]["lag"] == 0 < said["lag_peak"] <= ORDERS
    assert {file.name for file in (tmp_path / "plot").iterdir()} == {"surge.png", "surge.html"}


@pytest.mark.timeout(180)
def test_a_rate_beyond_the_machine_fails_and_is_told(tmp_path: Path) -> None:
    """The books balance, yet the exit code is 1: what was asked was not measured."""
    code, said, err = measured(tmp_path, "surge", "--rate", "1000000", "--orders", "20000", "--mix", "repeats")
    assert code == 1
    assert (said["passed"], said["balanced"], said["missing"], said["repeated"]) == (False, True, 0, 0)
    assert (said["accepted"], said["replayed"]) == (2_000, 18_000)
    assert said["orders_per_s"] < 950_000
    assert len(said["failures"]) == 1
    assert "The asked rate was not reached" in said["failures"][0]
    assert said["failures"][0] in " ".join(err.split())
