"""What storefronts and Locust's processes say to each other: JSON lines between processes, plain values in messages."""

from typing import Any

import msgspec

from loadtest.mixes import Mix
from loadtest.plan import Plan
from loadtest.schedule import Phase, Schedule

BEAT_S = 0.25
"""A storefront tells so often what has happened since."""


class Share(msgspec.Struct, frozen=True):
    """One storefront's share of a run: every `of`-th order of the schedule, from number `index` on.

    `sends` is false where others submit, over HTTP, and the storefront only looks at what is decided. Without phases
    it sends as fast as orders are decided, with `window` of them on their way.
    """

    run: str
    index: int
    of: int
    orders: int
    partitions: int
    timeout_s: float
    mix: Mix = "one-line"
    phases: tuple[Phase, ...] = ()
    window: int = 0
    seed: int = 1
    sends: bool = True
    environment: dict[str, str] = {}

    @property
    def schedule(self) -> Schedule | None:
        """The share's own schedule, None when there is no rate."""
        return Schedule(self.phases, index=self.index, of=self.of) if self.phases else None

    def plan(self) -> Plan:
        """What is ordered: the same wherever it is asked for."""
        from loadtest.mixes import make_plan  # noqa: PLC0415 - the baskets are read only where they are needed

        return make_plan(self.orders, self.partitions, mix=self.mix, seed=self.seed + self.index, run=self.run)


class Beat(msgspec.Struct):
    """What happened at one storefront since its last beat. Latencies are counts by milliseconds, from intended times.

    `leapt` are those among the `decided` whose order was meant for the first second after the rate leapt up. `at_s` is
    the second of the run that the beat belongs to.
    """

    at_s: int
    sent: int = 0
    produced: dict[int, int] = {}
    decided: dict[int, int] = {}
    leapt: dict[int, int] = {}
    outcomes: dict[str, int] = {}
    timed_out: int = 0
    unproduced: int = 0
    why: str = ""


class Ended(msgspec.Struct):
    """How a storefront's share ended. `started_at_ms` and `last_at_ms` are milliseconds since 1970."""

    index: int
    sent: int
    decided: int
    started_at_ms: int
    last_at_ms: int
    late_ms_max: float = 0.0
    missing: int = 0
    repeated: int = 0
    unexpected: list[str] = []
    cpu_us_per_order: float = 0.0
    stopped: bool = False


def plain(value: Any) -> Any:
    """A struct as plain values with text for keys, as JSON and Locust's own messages take them."""
    return msgspec.to_builtins(value, str_keys=True)


def share_from(value: Any) -> Share:
    """A share that was made plain."""
    return msgspec.convert(value, Share, strict=False)


def beat_from(value: Any) -> Beat:
    """A beat that was made plain."""
    return msgspec.convert(value, Beat, strict=False)


def ended_from(value: Any) -> Ended:
    """An end that was made plain."""
    return msgspec.convert(value, Ended, strict=False)


def merge(into: dict[int, int], more: dict[int, int]) -> None:
    """Add counts to counts."""
    for key, count in more.items():
        into[key] = into.get(key, 0) + count


def quantile_ms(counts: dict[int, int], q: float) -> float:
    """The latency at this quantile of counts by milliseconds; 0 when there is none."""
    total = sum(counts.values())
    wanted, seen = min(total - 1, int(q * total)), 0
    for ms in sorted(counts):
        seen += counts[ms]
        if seen > wanted:
            return float(ms)
    return 0.0
