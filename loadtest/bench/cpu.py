"""CPU time of processes with all their children, from Linux' /proc.

Wall-clock rates of a machine that others use say little; CPU time says what the work costs. It is kept in ticks of
10 ms, so measure for some tenths of a second at least.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from infra.embedded.children import descendants

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process, its children and their children have used, those that ended included.

    0.0 when it is gone. A child's time is counted with its parent's once the parent has waited for it.
    """
    return sum(_own_s(one) for one in (pid, *descendants(pid)))


def each_cpu_s(pids: Mapping[str, int]) -> dict[str, float]:
    """The same for several processes by name."""
    return {name: cpu_s(pid) for name, pid in pids.items()}


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """What was used between two looks, by name; never negative (a child may end between two reads of one look)."""
    return {name: max(0.0, used - before.get(name, 0.0)) for name, used in after.items()}


def _own_s(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    return ticks(text) * TICK_S


def ticks(stat: str) -> int:
    """User and system time, own and of children waited for, of one line of /proc/PID/stat."""
    # The second field is the name, in brackets and with any characters: count from its end.
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))
