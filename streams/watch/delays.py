"""How late reports were, told from counts by size: size n is from 1.1 to the power of n ms on, up to the next. Pure."""

from collections.abc import Mapping

GROWTH = 1.1

BySize = Mapping[int, tuple[int, float]]
"""By size, how many reports and their delays in sum, in ms."""


def share_ms(found: BySize, share: float) -> float:
    """The delay, in ms, that this share of the reports did not exceed, at most a tenth too high; 0 without any."""
    total, counted = sum(reports for reports, _ in found.values()), 0
    for size in sorted(found):
        counted += found[size][0]
        if counted >= share * total:
            return float(GROWTH ** (size + 1))
    return 0.0


def mean_ms(found: BySize) -> float:
    """The mean delay in ms, exact; 0 without any."""
    total = sum(reports for reports, _ in found.values())
    return sum(ms for _, ms in found.values()) / total if total else 0.0
