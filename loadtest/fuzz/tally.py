"""What a batch of inputs came to, and what a run of batches did."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

FINDINGS_KEPT = 20


@dataclass(slots=True)
class Finding:
    """Something that must hold and did not. `smallest` is what is left of the input when all that can go is gone."""

    target: str
    seed: int
    batch: int
    what: str
    given: str
    smallest: str

    @property
    def replay(self) -> str:
        """The command that does it again."""
        return f"floodway fuzz {self.target} --seed {self.seed} --batch {self.batch}"


@dataclass(slots=True)
class Tally:
    """Counts of mutated inputs, by what became of them. `corners` are where the contract leaves it to each parser."""

    inputs: int = 0
    neighbours: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    corners: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    cpu_s: float = 0.0

    def add(self, other: "Tally") -> None:
        """Count another in."""
        self.inputs += other.inputs
        self.neighbours += other.neighbours
        self.cpu_s += other.cpu_s
        self.fates += other.fates
        self.corners += other.corners
        self.broken += other.broken
        self.findings = (self.findings + other.findings)[:FINDINGS_KEPT]

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        apart = {"fates", "corners", "broken", "findings"}
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in apart}
        counts = {"fates": dict(self.fates), "corners": dict(self.corners), "broken": dict(self.broken)}
        findings = [
            {"what": f.what, "input": f.given, "smallest": f.smallest, "batch": f.batch, "replay": f.replay}
            for f in self.findings
        ]
        return {"passed": not self.broken, **plain, **counts, "findings": findings}
