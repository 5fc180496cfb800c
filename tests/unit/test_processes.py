"""What a process costs is read from /proc: its own, its children's, also those that ended meanwhile."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from loadtest.processes import Meter, available, rss_mb, stats, tree

pytestmark = pytest.mark.skipif(not available(), reason="this system has no /proc")

BURN_S = 0.3
SLACK_S = 0.15
"""The kernel counts in ticks of 10 ms; an interpreter takes some to start."""

BURN = f"""
import sys, time
def burn():
    while time.process_time() < {BURN_S}: pass
"""
CHILD = f"""{BURN}
sys.stdin.readline()
burn()
print(time.process_time(), flush=True)
sys.stdin.readline()
"""
PARENT = f"""
import subprocess, sys
sys.stdin.readline()
done = subprocess.run([sys.executable, "-c", '''{BURN}
burn()
print(time.process_time())'''], capture_output=True, text=True, check=True)
print(done.stdout, end="", flush=True)
sys.stdin.readline()
"""
Running = subprocess.Popen[str]


@pytest.fixture(params=[CHILD, PARENT], ids=["itself", "by a child that ends"])
def burner(request: pytest.FixtureRequest) -> Iterator[Running]:
    """A process that burns a known time of CPU when told to, says how much, and waits."""
    argv = [sys.executable, "-c", request.param]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def go_on(process: Running) -> float:
    """Tell it to burn; returns the CPU seconds that it says it took."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def test_cpu_that_a_tree_burns_is_counted(burner: Running) -> None:
    """To within the kernel's ticks, whether the process burns it or a child that has ended since; memory is seen."""
    idle = Meter({"burner": list})
    meter = Meter({"burner": lambda: [burner.pid]})
    meter.start()
    idle.start()
    burned_s = go_on(burner)
    meter.look()
    idle.look()
    cost = meter.costs()["burner"]
    assert burned_s - SLACK_S < cost.cpu_us / 1e6 < burned_s + SLACK_S
    assert 3 < cost.peak_rss_mb < 200
    assert idle.costs()["burner"] == (0, 0.0)


def test_only_the_window_is_counted_and_an_ended_process_up_to_the_last_look(burner: Running) -> None:
    """What was burned before the start is not; what was seen before the end is."""
    whole = Meter({"burner": lambda: [burner.pid]})
    whole.start()
    burned_s = go_on(burner)
    whole.look()
    late = Meter({"burner": lambda: [burner.pid]})
    late.start()
    burner.kill()
    burner.wait()
    late.look()
    whole.look()
    assert late.costs()["burner"].cpu_us / 1e6 < SLACK_S
    assert whole.costs()["burner"].cpu_us / 1e6 > burned_s - SLACK_S


def test_a_process_that_came_later_is_counted_from_its_beginning() -> None:
    """As a worker that is started again."""
    pids: list[int] = []
    meter = Meter({"burner": lambda: pids})
    meter.start()
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=-1, stdout=-1, text=True) as process:
        burned_s = go_on(process)
        pids.append(process.pid)
        meter.look()
        process.kill()
    assert meter.costs()["burner"].cpu_us / 1e6 > burned_s - SLACK_S


def test_a_tree_has_all_below_its_root() -> None:
    """We are among our parent's, and a process that is gone has no tree."""
    now = stats()
    import os

    assert os.getpid() in tree(os.getppid(), now)
    assert tree(2**22 + 1, now) == []
    assert rss_mb([2**22 + 1]) == 0.0
