"""Limits of what an order may cost, in one file, and what to say when a stage is over its own."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from loadtest.bench.cost import Cost

FILE = Path(__file__).with_name("limits.json")
HEADROOM = 1.25
"""What is measured anew may differ from the limit's own measurement by so much."""


class Limits(msgspec.Struct, frozen=True):
    """Ratios by stage as they were when the file was written; the limit of each is `headroom` times that."""

    headroom: float
    ratios: dict[str, float]

    def limit(self, stage: str) -> float:
        """The largest ratio a stage may have."""
        return self.ratios[stage] * self.headroom


class Finding(NamedTuple):
    """One stage beside its limit."""

    stage: str
    us_per_order: float
    ratio: float
    limit: float | None

    @property
    def over(self) -> bool:
        """Whether it costs too much; a stage without a limit does, for nobody has looked at it."""
        return self.limit is None or self.ratio > self.limit

    def __str__(self) -> str:
        if self.limit is None:
            return f"{self.stage} has no limit; set one with `floodway bench limits --update`"
        return (
            f"{self.stage} costs {self.ratio:.2f} times the fixed work, over its limit of {self.limit:.2f}; make it "
            "cheaper, or if it must cost more, say why and run `floodway bench limits --update`"
        )


def read(file: Path = FILE) -> Limits:
    """The limits that hold."""
    return msgspec.json.decode(file.read_bytes(), type=Limits)


def write(cost: Cost, file: Path = FILE) -> Limits:
    """Make what was measured just now the measure of later."""
    made = Limits(HEADROOM, {name: round(rounds.ratio, 3) for name, rounds in sorted(cost.items())})
    file.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n")
    return made


def compare(cost: Cost, limits: Limits) -> list[Finding]:
    """Each measured stage beside its limit. A limit of a stage that is no more is a mistake: an assert."""
    gone = limits.ratios.keys() - cost.keys()
    assert not gone, f"limits.json has {', '.join(sorted(gone))}, which nothing measures"
    return [
        Finding(name, rounds.best_us, rounds.ratio, limits.limit(name) if name in limits.ratios else None)
        for name, rounds in cost.items()
    ]
