"""`floodway bench`, on servers of its own: every measured part did its work. Speeds are not looked at."""

import json
import subprocess
import sys
import tempfile
from typing import Any

import pytest

from loadtest.bench.http import BATCHES, KEYED, SINGLE
from loadtest.bench.parts_run import NAMES, records_of
from loadtest.bench.peers_run import SHARES, orders_of

ORDERS = 4_000


def bench(*arguments: str) -> dict[str, object]:
    """What the command prints as JSON."""
    command = [sys.executable, "-c", "from infra.cli import main; main()", "bench", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_every_part_does_its_work() -> None:
    """Each part handles all its records, uses CPU for it, and the parts of the whole are compared with it."""
    report = bench("parts", "--orders", str(ORDERS), "--rounds", "1")
    parts = report["parts"]
    assert isinstance(parts, dict)
    assert list(parts) == list(NAMES)
    for name, part in parts.items():
        assert part["records"] == records_of(name, ORDERS), name
        assert part["client_cpu_us_per_record"] > 0, name
    assert parts["reserve"]["accepted_ratio"] == 1
    assert parts["reserve-promo"]["accepted_ratio"] == 0.01
    assert parts["reserve"]["script_us_per_record"] > 0
    ratios = report["ratios"]
    assert isinstance(ratios, dict)
    assert all(ratios.values())
    assert len(ratios) == 5


@pytest.mark.slow
def test_every_peer_does_the_job() -> None:
    """Each contender decides all its orders, accepts no more than there is stock for, and is compared with ours."""
    report = bench("peers", "--orders", "2000", "--rounds", "1", "--actors", "8")
    assert report["faults"] == []
    peers = report["peers"]
    assert isinstance(peers, dict)
    assert {name: peer["records"] for name, peer in peers.items()} == {name: orders_of(name, 2_000) for name in SHARES}
    tried = report["faust_orders_per_s_by_concurrency"]
    assert isinstance(tried, dict)
    assert list(tried) == ["8"]
    ratios = report["ratios"]
    assert isinstance(ratios, dict)
    assert all(ratios.values())
    assert len(ratios) == 8


@pytest.mark.slow
def test_the_front_is_measured() -> None:
    """Each way has its orders acknowledged and costs processor time; in batches far less than one by one."""
    report: dict[str, Any] = bench("http", "--orders", "1000", "--rounds", "1")
    assert list(report) == [SINGLE, KEYED, BATCHES]
    for figures in report.values():
        assert figures["accepted_per_s"] > 0
        assert figures["front_cpu_us_per_order"] > 0
    assert report[BATCHES]["front_cpu_us_per_order"] < report[SINGLE]["front_cpu_us_per_order"] / 2


@pytest.mark.slow
def test_an_order_is_looked_at_while_a_surge_runs() -> None:
    """Pages, timelines and whys of orders that have lived are asked for and answered; the surge goes through."""
    command = [sys.executable, "-c", "from infra.cli import main; main()", "bench", "page", "--json"]
    command += ["--rate", "200", "--seconds", "5", "--looks", "30", "--data-dir"]
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run([*command, directory], capture_output=True, text=True, timeout=110, check=False)
    report = json.loads(done.stdout)
    assert report["surge"]["balanced"]
    assert {kind: one["failed"] for kind, one in report["looks"].items()} == {"page": 0, "timeline": 0, "why": 0}
    assert all(one["looks"] > 10 for one in report["looks"].values())
    assert all(0 < one["p50_ms"] <= one["p99_ms"] <= one["max_ms"] for one in report["looks"].values())
    assert report["over"] == [kind for kind, one in report["looks"].items() if one["p99_ms"] > report["limit_ms"]]
