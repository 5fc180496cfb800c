"""What a rate of orders takes in processes and cores, from what one order cost in a surge. Pure.

The model is linear: a part's processor time per order does not depend on the rate (a test holds the pipeline to that:
see docs/performance.md). What it cannot know is contention between machines, so it leaves room: `UTILISATION`.
"""

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

UTILISATION = 0.6
"""How busy a process is planned to be; above that, queues grow faster than the rate."""


class Part(NamedTuple):
    """A part of the pipeline: its name in a surge's report, whether one process of it has one core at the most."""

    name: str
    unit: str
    one_core: bool


PARTS = (
    Part("intake_workers", "worker processes", one_core=True),
    Part("redis", "shards, each one thread that runs scripts", one_core=True),
    Part("postgres_primary", "cores of one primary, one backend a worker", one_core=False),
    Part("postgres_replica", "replicas' replay, one process each", one_core=True),
    Part("broker", "cores, over all brokers", one_core=False),
)


class Need(NamedTuple):
    """What a part needs for a rate. `processes` is None where one process may use many cores."""

    part: Part
    cpu_us_per_order: float
    cores: float
    processes: int | None


def needs(cpu_us_per_order: Mapping[str, float], rate_per_s: float) -> list[Need]:
    """What each part needs to take `rate_per_s`, at UTILISATION."""
    found = []
    for part in PARTS:
        cost_us = cpu_us_per_order.get(part.name, 0.0)
        cores = rate_per_s * cost_us / 1e6 / UTILISATION
        found.append(Need(part, cost_us, cores, ceil(cores) if part.one_core else None))
    return found


def reach_per_s(cpu_us_per_order: Mapping[str, float], cores: int, workers: int) -> float:
    """The most that one machine with so many cores can do: all parts on it, none waiting for another.

    Bound by the cores over everything that ran, and by each part that has one core for each of its processes.
    """
    bounds = [cores * 1e6 / cpu_us_per_order["total"]]
    for part in PARTS:
        processes = workers if part.name == "intake_workers" else 1
        if part.one_core and cpu_us_per_order.get(part.name):
            bounds.append(processes * 1e6 / cpu_us_per_order[part.name])
    return min(bounds)
