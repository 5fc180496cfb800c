"""`locust -f loadtest/locustfile.py`, as SREs run it: every scenario, scaled down, and runs that must fail.

One good run and the failing ones that need no workers are quick; the others prove the same of each scenario and way in.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from front import free_port

from streams.settings import PREFIX, Settings, environment

pytest_plugins = ["stack_fixtures"]
pytestmark = pytest.mark.timeout(240)

LOCUST = Path(sys.executable).with_name("locust")
LOCUSTFILE = Path(__file__).parents[2] / "loadtest" / "locustfile.py"


@dataclass
class Ran:
    """How a run ended, its verdict, and all that it wrote."""

    code: int
    verdict: dict[str, Any]
    out: str
    directory: Path

    @property
    def failures(self) -> str:
        """Why it failed."""
        return " ".join(self.verdict["failures"])


def locust(directory: Path, *argv: str, using: Settings | None = None) -> Ran:
    """Run it without a web page; on its own stack, or on the servers of `using`."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "LOCUST_"))}
    said = directory / "verdict.json"
    done = subprocess.run(
        [LOCUST, "-f", LOCUSTFILE, "--headless", "--only-summary", "--verdict", said, *argv],
        cwd=directory,
        env=bare | (environment(using) if using else {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    assert said.exists(), done.stdout[-4000:]
    return Ran(done.returncode, json.loads(said.read_text()), done.stdout, directory)


def passed(ran: Ran, orders: int) -> None:
    """Every order was sent, decided once and in time, and the books balance."""
    assert (ran.code, ran.verdict["passed"], ran.verdict["failures"]) == (0, True, []), ran.out[-4000:]
    assert (ran.verdict["sent"], ran.verdict["decided"]) == (orders, orders)
    assert (ran.verdict["timed_out"], ran.verdict["unproduced"]) == (0, 0)
    assert ran.verdict["books"]["balanced"]
    assert sum(ran.verdict["outcomes"].values()) == orders


def test_one_command_in_a_fresh_checkout(tmp_path: Path) -> None:
    """Without settings it starts servers and workers, submits, audits, and writes Locust's report and ours."""
    ran = locust(tmp_path, "--scenario", "steady", "--rate", "200", "--seconds", "5", "--html", "report.html")
    passed(ran, 1_000)
    assert ran.verdict["target_per_s"] == 200
    assert ran.verdict["peak_per_s"] >= 190
    # Both measures are in Locust's own statistics, with a latency for each order.
    for measure in ("PRODUCE  orders.submitted.v1", "DECISION  orders.decided.v1"):
        assert any(line.startswith(measure) and " 1000 " in line for line in ran.out.splitlines()), ran.out[-4000:]
    assert 0 < ran.verdict["produce_ms"]["p50"] < ran.verdict["decision_ms"]["p50"]
    charts = (tmp_path / "report-charts.html").read_text(encoding="utf-8")
    assert all(f"<h2>{heading}" in charts for heading in ("Orders in each", "Decisions in", "Lag", "Units on the"))
    assert (tmp_path / "report.html").stat().st_size > 100_000


@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_double11_has_a_spike_at_midnight(tmp_path: Path, settings: Settings) -> None:
    """The peak is reached, by two processes of Locust that share the schedule, on servers that are given."""
    ran = locust(
        tmp_path, "--scenario", "double11", "--rate", "300", "--seconds", "20", "--processes", "2", using=settings
    )
    assert ran.verdict["target_peak_per_s"] > ran.verdict["target_per_s"] * 1.5
    assert ran.verdict["peak_per_s"] >= 0.95 * ran.verdict["target_peak_per_s"]
    passed(ran, ran.verdict["orders"])
    assert "from 2 storefronts" in ran.out


@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_flash_is_mostly_refused(tmp_path: Path, settings: Settings) -> None:
    """One SKU with units for a hundredth: as many are accepted, to the unit, and the others told why not."""
    ran = locust(tmp_path, "--scenario", "flash", "--rate", "400", "--seconds", "5", using=settings)
    passed(ran, 2_000)
    assert ran.verdict["outcomes"] == {"out_of_stock": 1_980, "accepted": 20}


@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_million_goes_as_fast_as_it_is_decided(tmp_path: Path, settings: Settings) -> None:
    """No rate is asked and none is missed; no order waits longer than those that may be on their way take."""
    ran = locust(tmp_path, "--scenario", "million", "--orders", "30000", "--mix", "baskets", using=settings)
    passed(ran, 30_000)
    assert ran.verdict["target_per_s"] is ran.verdict["target_peak_per_s"] is None


@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_soak_goes_on_evenly(tmp_path: Path, settings: Settings) -> None:
    """Long and slow by default, here short."""
    ran = locust(tmp_path, "--scenario", "soak", "--rate", "100", "--seconds", "5", using=settings)
    passed(ran, 500)


@pytest.mark.slow
@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(("via", "requests"), [("http", 500), ("http-batch", 250)])
def test_orders_go_in_over_http(tmp_path: Path, settings: Settings, via: str, requests: int) -> None:
    """One in a request, or many: Locust counts requests, and beside them each order's two measures."""
    ran = locust(tmp_path, "--rate", "100", "--seconds", "5", "--via", via, "--connections", "4", using=settings)
    passed(ran, 500)
    table = ran.out.partition("Response time percentiles")[0].splitlines()
    counted = {line.split()[0]: int(line.split()[2]) for line in table if line.startswith(("POST", "PROD", "DEC"))}
    assert (counted["PRODUCE"], counted["DECISION"]) == (500, 500), ran.out[-4000:]
    assert counted["POST"] == requests if via == "http" else 10 <= counted["POST"] <= requests


@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_a_rate_that_is_not_reached_fails_the_run(tmp_path: Path, settings: Settings) -> None:
    """All is decided and the books balance, and yet the exit code is 1: what was asked was not measured."""
    ran = locust(tmp_path, "--scenario", "steady", "--rate", "200000", "--orders", "40000", using=settings)
    assert ran.code == 1
    assert (ran.verdict["decided"], ran.verdict["books"]["balanced"]) == (40_000, True)
    assert len(ran.verdict["failures"]) == 1
    assert "The rate was not reached" in ran.failures


NOBODY = ("--intake-workers", "0", "--decision-timeout", "2")


def test_decisions_that_never_come_are_failures(tmp_path: Path) -> None:
    """Without workers nobody decides: every order times out, is a failure in Locust's statistics, and fails the run."""
    ran = locust(tmp_path, "--scenario", "steady", "--rate", "100", "--seconds", "3", *NOBODY)
    assert (ran.code, ran.verdict["sent"], ran.verdict["decided"], ran.verdict["timed_out"]) == (1, 300, 0, 300)
    assert "300 orders had no decision in time" in ran.failures
    assert "The rate was not reached" in ran.failures
    assert ran.verdict["books"]["balanced"]  # what nobody has read is not lost
    assert any(line.startswith("DECISION") and "300(100.00%)" in line for line in ran.out.splitlines()), ran.out[-4000:]


@pytest.mark.slow
def test_a_million_does_not_wait_for_ever(tmp_path: Path) -> None:
    """When nothing is decided nothing more is sent, and the run ends: what was on its way has timed out."""
    ran = locust(tmp_path, "--scenario", "million", "--orders", "30000", *NOBODY)
    assert (ran.code, ran.verdict["sent"], ran.verdict["timed_out"]) == (1, 20_000, 20_000)
    assert "Only 20,000 of 30,000 orders were sent" in ran.failures


def test_servers_that_do_not_answer_are_told_of(tmp_path: Path) -> None:
    """The run ends by itself, with what is wrong, and without a verdict that could be taken for one."""
    env = {
        **os.environ,
        PREFIX + "KAFKA_BOOTSTRAP": "127.0.0.1:1",
        PREFIX + "POSTGRES_DSN": "postgresql://127.0.0.1:1/x",
    }
    argv = [str(LOCUST), "-f", str(LOCUSTFILE), "--headless", "--only-summary", "--scenario", "steady"]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def ask(port: int, path: str, form: str | None = None) -> str:
    """What the web page answers; a form is posted."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}{path}", form.encode() if form else None, timeout=30
    ) as answer:
        said: bytes = answer.read()
    return said.decode()


def wait_for(words: str, log: Path, *, times: int = 1) -> None:
    """Wait until the log has said this so often."""
    deadline = time.monotonic() + 90
    while log.read_text().count(words) < times:
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_runs_from_the_web_page(tmp_path: Path, settings: Settings) -> None:
    """One after another with what the form says, charts while they go on, and one that is stopped: that fails."""
    port, log, verdict = free_port(), tmp_path / "log", tmp_path / "verdict.json"
    argv = [LOCUST, "-f", LOCUSTFILE, "--web-host", "127.0.0.1", "--web-port", str(port), "--verdict", verdict]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(arg) for arg in argv], cwd=tmp_path, env=os.environ | environment(settings), stdout=out, stderr=out
        )
    try:
        wait_for("Starting web interface", log)
        form = "user_count=1&spawn_rate=1&orders=0&mix=&decision_timeout=30&max_p99=0&connections=2&batch=10&rate=50"
        until(lambda: "Swarming started" in ask(port, "/swarm", f"{form}&scenario=flash&via=kafka&seconds=3"))
        wait_for("Shape test stopping", log)
        said = json.loads(verdict.read_text())
        assert (said["passed"], said["outcomes"]) == (True, {"out_of_stock": 149, "accepted": 1}), said
        until(lambda: '"state": "stopped"' in ask(port, "/stats/requests"))
        time.sleep(1)  # until Locust has forgotten the last shape, it takes this for an edit
        ask(port, "/swarm", f"{form}&scenario=steady&via=http&seconds=60")
        wait_for("from 1 storefronts", log, times=2)
        time.sleep(3)
        assert "<title>steady, so far</title>" in ask(port, "/charts")
        ask(port, "/stop", "stop=now")
        wait_for("scenario    ", log, times=2)
        until(lambda: json.loads(verdict.read_text())["scenario"] == "steady")
        said = json.loads(verdict.read_text())
        assert said["failures"] == ["The run was stopped before its end."]
        assert 0 < said["sent"] == said["decided"] < 1_000
        assert said["books"]["balanced"]
    finally:
        process.terminate()
        code = process.wait(60)
    assert code == 1


def until(reached: Callable[[], bool]) -> None:
    """Wait until this is so; what is not there yet may refuse."""
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError):
            if reached():
                return
        assert time.monotonic() < deadline
        time.sleep(0.2)
