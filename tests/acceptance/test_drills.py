"""`floodway drill`: three quick drills as they are run, and one whose books cannot balance."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from redis.asyncio import Redis

from infra.cli.drill import run_one
from infra.cli.shared_stack import SharedStack
from infra.embedded import Broker
from loadtest.drills.drill import Drill, Fault, Load, Scene
from loadtest.drills.network import Network
from loadtest.drills.proxy import Mode
from loadtest.drills.table import DRILLS
from streams.stores.stock_keys import PREFIX

SMALL = ("--rate", "600", "--seconds", "5")
pytestmark = pytest.mark.timeout(300)

LONG = ("--rate", "200", "--seconds", "75")
SHARED = ("poison-flood", "redis-kill")
SMALL_LOAD = Load(rate_per_s=500.0, seconds=4.0)


def run(directory: Path, *argv: str) -> tuple[int, dict[str, Any], str]:
    """Run the command; its exit code, its one JSON line, and what it wrote for people."""
    command = [str(Path(sys.executable).with_name("floodway")), "drill", *argv, "--json"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=280, check=False)
    assert done.stdout, done.stderr[-2_000:]
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "worker-kill",
        pytest.param("network-cut-redis", marks=pytest.mark.slow),
        pytest.param("scale-up-down", marks=pytest.mark.slow),
        pytest.param("worker-drain", marks=pytest.mark.slow),
    ],
)
def test_a_drill_passes_and_tells_what_it_did(name: str, tmp_path: Path) -> None:
    """The fault was there, every order was answered, the books balance, and nothing is left behind."""
    size = LONG if name == "scale-up-down" else SMALL
    code, said, err = run(tmp_path, name, "--seed", "7", *size)
    assert code == 0, err[-3_000:]
    assert (said["drill"], said["seed"], said["passed"], said["balanced"]) == (name, 7, True, True)
    assert (said["missing"], said["oversold"], said["failures"]) == (0, 0, [])
    assert said["surge"]["submitted"] == int(size[1]) * int(size[3])
    assert said["injected_at_s"] >= 1.6
    match name:
        case "worker-kill":
            assert said["worker_restarts"] == 3
        case "network-cut-redis":
            assert said["lasted_s"] >= 3.0
            assert said["longest_gap_s"] > 2.0  # nothing can be decided without Redis
            assert said["worker_restarts"] == 0
        case "scale-up-down":
            assert "3 workers ended with [0, 0, 0]" in " ".join(said["said"])
        case "worker-drain":
            assert "ended with 0" in " ".join(said["said"])
    assert said["kept"] is None
    assert list((tmp_path / ".floodway" / "drills").iterdir()) == []


class HoldDeleted(Fault):
    """The fault that Floodway cannot get over: somebody deletes a hold in Redis behind its back."""

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Delete one."""
        redis = Redis.from_url(scene.parts.settings.redis_url)
        try:
            held = await redis.hrandfield(f"{PREFIX}holds")
            assert isinstance(held, bytes)
            assert await redis.hdel(f"{PREFIX}holds", held) == 1
        finally:
            await redis.aclose()


def test_a_drill_whose_books_do_not_balance_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what differs, keeps its data and logs, and tells the command that repeats it."""
    monkeypatch.setattr("loadtest.drills.run.SETTLED_WITHIN_S", 2.0)  # it will not settle
    drill = Drill("hold-deleted", "Nothing: it must fail.", HoldDeleted, load=SMALL_LOAD)
    report = run_one(drill, 3, broker=None, data_dir=tmp_path)
    assert (report.passed, report.balanced, report.missing) == (False, False, 0)
    assert report.books["lost_holds"] == 1
    assert "The books do not balance: lost_holds 1." in report.failures
    assert report.kept is not None
    assert (Path(report.kept) / "logs" / "intake-0.log").exists()
    assert (Path(report.kept) / "postgres" / "PG_VERSION").exists()
    assert report.again == "floodway drill hold-deleted --seed 3 --broker tansu --rate 500 --seconds 4"


class NeverHealed(Network):
    """Redis stays away for good."""

    async def heal(self, scene: Scene) -> None:
        """Nothing."""


@pytest.mark.slow
def test_a_drill_that_does_not_recover_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders that wait for ever are answers missing, and submissions not committed."""
    for name, seconds in {"STALLED_S": 5.0, "COMMITTED_WITHIN_S": 1.0, "SETTLED_WITHIN_S": 1.0}.items():
        monkeypatch.setattr(f"loadtest.drills.run.{name}", seconds)
    drill = replace(DRILLS["network-cut-redis"], load=SMALL_LOAD)
    report = run_one(drill, 3, broker=Broker.TANSU, data_dir=tmp_path, fault=NeverHealed("redis", Mode.CUT))
    assert (report.passed, report.oversold) == (False, 0)
    assert report.missing > 0
    assert any("answers are missing" in failure for failure in report.failures)
    assert any("not committed by intake" in failure for failure in report.failures)
    assert report.recovered_s is None


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_drills_share_servers_until_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is on the servers of the first, and knows its dead letters from the first's; a failure ends them."""
    monkeypatch.setattr("loadtest.drills.run.SETTLED_WITHIN_S", 2.0)
    stacks = SharedStack(tmp_path, keep=False)
    flood, kill = (
        replace(DRILLS[name], load=replace(DRILLS[name].load, rate_per_s=500.0, seconds=4.0)) for name in SHARED
    )
    wrong = Drill("hold-deleted", "Nothing: it must fail.", HoldDeleted, load=SMALL_LOAD)
    reports = [run_one(one, 3, broker=None, data_dir=tmp_path, shared=stacks) for one in (flood, kill, wrong, flood)]
    assert [report.passed for report in reports] == [True, True, False, True], [r.failures for r in reports]
    assert [report.on_stack_after for report in reports] == [[], [SHARED[0]], list(SHARED), []]
    assert reports[2].kept is not None
    assert {path.name for path in Path(reports[2].kept, "logs").iterdir()} >= {f"{name}-3" for name in SHARED}
    stacks.end()
    assert [str(path) for path in tmp_path.iterdir()] == [reports[2].kept]
