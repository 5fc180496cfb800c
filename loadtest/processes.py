"""What processes cost, read from /proc: CPU time and memory, each with all children, living and ended.

A process that has ended is counted by its parent, which waited for it (`cutime`), so the sum over a tree misses nothing
but the children of a parent that ends itself; a root that ends is counted up to when it was last looked at.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
KB_PER_MB = 1_024

Roots = Callable[[], Sequence[int]]
"""Tells the ids of a role's processes, without their children."""

_RSS = re.compile(r"^Rss(Anon|File|Shmem):\s+(\d+) kB", re.MULTILINE)


class Stat(NamedTuple):
    """One process: its parent, when it began (in ticks since boot), and its CPU time with that of ended children."""

    parent: int
    began: int
    cpu_us: int


class Cost(NamedTuple):
    """What a role has cost in the window."""

    cpu_us: int
    peak_rss_mb: float


def available() -> bool:
    """Whether this system has a /proc that tells."""
    return (PROC / "self" / "stat").exists()


def stats() -> dict[int, Stat]:
    """All processes by id."""
    found = {}
    for entry in os.scandir(PROC):
        if not entry.name.isdecimal():
            continue
        try:
            text = (PROC / entry.name / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # gone meanwhile
        # The second field is the name, in brackets and with any characters: count from its end.
        fields = text.rpartition(")")[2].split()
        ticks = sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
        found[int(entry.name)] = Stat(int(fields[1]), int(fields[19]), ticks * TICK_US)
    return found


def tree(root: int, among: Mapping[int, Stat]) -> list[int]:
    """A process and all below it; empty when it is gone."""
    below: dict[int, list[int]] = {}
    for pid, stat in among.items():
        below.setdefault(stat.parent, []).append(pid)
    found, waiting = [], [root] if root in among else []
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += below.get(pid, [])
    return found


def rss_mb(pids: Sequence[int]) -> float:
    """Resident memory of a tree in MB (1,048,576 bytes): own pages of each process, shared ones once."""
    anonymous, shared = 0, {"File": 0, "Shmem": 0}
    for pid in pids:
        try:
            text = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for kind, kb in _RSS.findall(text):
            if kind == "Anon":
                anonymous += int(kb)
            else:
                shared[kind] = max(shared[kind], int(kb))
    return (anonymous + sum(shared.values())) / KB_PER_MB


def anonymous_mb(pids: Sequence[int]) -> float:
    """Memory of its own that a tree has touched, in MB: what a leak makes grow, and a full page or buffer cache not."""
    kilobytes = 0
    for pid in pids:
        try:
            text = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        kilobytes += sum(int(kb) for kind, kb in _RSS.findall(text) if kind == "Anon")
    return kilobytes / KB_PER_MB


@dataclass(slots=True)
class Meter:
    """Measures roles from `start` on. Call `look` about once a second, so that peaks and ended processes are seen."""

    roles: Mapping[str, Roots]
    _first_us: dict[tuple[str, int, int], int] = field(default_factory=dict)
    _last_us: dict[tuple[str, int, int], int] = field(default_factory=dict)
    _peak_mb: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        """Begin the window."""
        self._look(starting=True)

    def look(self) -> None:
        """Take note of how things stand."""
        self._look(starting=False)

    def costs(self) -> dict[str, Cost]:
        """What each role has cost from `start` to the last look; empty where /proc does not tell."""
        used = dict.fromkeys(self._peak_mb, 0)
        for key, last_us in self._last_us.items():
            used[key[0]] += last_us - self._first_us[key]
        return {role: Cost(used[role], round(peak, 1)) for role, peak in self._peak_mb.items()}

    def _look(self, *, starting: bool) -> None:
        if not available():
            return
        now = stats()
        for role, roots in self.roles.items():
            pids: list[int] = []
            for root in roots():
                below = tree(root, now)
                if not below:
                    continue
                key = (role, root, now[root].began)
                used_us = sum(now[pid].cpu_us for pid in below)
                # One that came after the start cost nothing before.
                self._first_us.setdefault(key, used_us if starting else 0)
                self._last_us[key] = max(used_us, self._last_us.get(key, 0))
                pids += below
            self._peak_mb[role] = max(rss_mb(pids), self._peak_mb.get(role, 0.0))
