"""CPU time of processes with all their children.

Wall-clock rates of a machine that others use say little; CPU time says what the work costs. It is kept in ticks of
10 ms, so measure for some tenths of a second at least.
"""

from collections.abc import Mapping
from pathlib import Path

from loadtest.processes import stats, tree


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process, its children and their children have used, those that ended included.

    0.0 when it is gone. A child's time is counted with its parent's once the parent has waited for it.
    """
    return each_cpu_s({"": pid})[""]


def each_cpu_s(pids: Mapping[str, int]) -> dict[str, float]:
    """The same for several processes by name, of one look."""
    found = stats()
    return {name: sum(found[one].cpu_us for one in tree(pid, found)) / 1e6 for name, pid in pids.items()}


def main_thread_cpu_us(pid: int) -> float:
    """Microseconds of CPU that the first thread of a process has used: exact once it sleeps, so for single calls."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e3


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """What was used between two looks, by name; never negative (a child may end between two reads of one look)."""
    return {name: max(0.0, used - before.get(name, 0.0)) for name, used in after.items()}
