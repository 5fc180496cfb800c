"""From rounds to figures: medians, the spread that tells a noisy machine, ratios. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

NOISY_SPREAD = 0.30
"""Rounds that differ by more than this share of their median were disturbed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one part. `servers_cpu_s` is by server; `also` is what this part alone has to tell, per record."""

    records: int
    wall_s: float
    client_cpu_s: float
    servers_cpu_s: dict[str, float] = field(default_factory=dict)
    also: dict[str, float] = field(default_factory=dict)

    @property
    def per_s(self) -> float:
        """Records a second."""
        return self.records / max(self.wall_s, 1e-9)

    @property
    def client_cpu_us(self) -> float:
        """CPU of the client's process, microseconds a record."""
        return self.client_cpu_s / self.records * 1e6

    @property
    def servers_cpu_us(self) -> float:
        """CPU of all servers, microseconds a record."""
        return sum(self.servers_cpu_s.values()) / self.records * 1e6


@dataclass(slots=True)
class Series:
    """All rounds of one part."""

    name: str
    samples: list[Sample] = field(default_factory=list)

    def median(self, of: Callable[[Sample], float]) -> float:
        """Median of a figure over the rounds."""
        return median(of(sample) for sample in self.samples)

    @property
    def per_s(self) -> float:
        """Median rate, records a second."""
        return self.median(lambda sample: sample.per_s)

    @property
    def best_per_s(self) -> float:
        """Best rate, records a second."""
        return max(sample.per_s for sample in self.samples)

    @property
    def client_cpu_us(self) -> float:
        """Median CPU of the client's process, microseconds a record."""
        return self.median(lambda sample: sample.client_cpu_us)

    @property
    def servers_cpu_us(self) -> float:
        """Median CPU of all servers, microseconds a record."""
        return self.median(lambda sample: sample.servers_cpu_us)

    @property
    def cpu_us(self) -> float:
        """Median CPU of client and servers together, microseconds a record."""
        return self.median(lambda sample: sample.client_cpu_us + sample.servers_cpu_us)

    @property
    def spread(self) -> float:
        """How far the rates of the rounds lie apart, as a share of their median."""
        rates = [sample.per_s for sample in self.samples]
        return (max(rates) - min(rates)) / median(rates)

    @property
    def noisy(self) -> bool:
        """Whether something else used the machine meanwhile."""
        return self.spread > NOISY_SPREAD

    def as_dict(self) -> dict[str, object]:
        """For JSON; units stand in the names."""
        servers = sorted({server for sample in self.samples for server in sample.servers_cpu_s})
        also = sorted({name for sample in self.samples for name in sample.also})
        return {
            "name": self.name,
            "records": sum(sample.records for sample in self.samples),
            "rounds": len(self.samples),
            "best_records_per_s": round(self.best_per_s, 1),
            "median_records_per_s": round(self.per_s, 1),
            "spread_ratio": round(self.spread, 3),
            "noisy": self.noisy,
            "client_cpu_us_per_record": round(self.client_cpu_us, 2),
            "servers_cpu_us_per_record": round(self.servers_cpu_us, 2),
            **{f"{server}_cpu_us_per_record": round(self.median(_of_server(server)), 2) for server in servers},
            **{name: round(self.median(_of_also(name)), 4) for name in also},
        }


def _of_server(name: str) -> Callable[[Sample], float]:
    return lambda sample: sample.servers_cpu_s.get(name, 0.0) / sample.records * 1e6


def _of_also(name: str) -> Callable[[Sample], float]:
    return lambda sample: sample.also.get(name, 0.0)


def ratio(above: float, below: float) -> float | None:
    """One figure as a multiple of another; None when there is nothing to compare with."""
    return round(above / below, 2) if below else None


def summed(series: Sequence[Series]) -> tuple[float, float]:
    """Wall and CPU of several parts one after the other, microseconds a record."""
    return sum(1e6 / one.per_s for one in series), sum(one.cpu_us for one in series)


def noise(series: Sequence[Series]) -> str | None:
    """What to tell of a noisy machine; None for a quiet one."""
    disturbed = [f"{one.name} {one.spread:.0%}" for one in series if one.noisy]
    if not disturbed:
        return None
    return (
        f"The machine was noisy: rounds lie over {NOISY_SPREAD:.0%} apart ({', '.join(disturbed)}). Compare CPU time, "
        "not rates, or run again when nothing else does."
    )
