"""How figures stand on a terminal: few digits, units, thousands separated; and how they went, as a line of blocks."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

UNKNOWN = "\u2013"
BLOCKS = "▁▂▃▄▅▆▇█"


def count(value: float | None) -> str:
    """`12,345`; one decimal for what is small and not whole."""
    if value is None:
        return UNKNOWN
    return f"{value:,.1f}" if 0 < abs(value) < 9.95 and value != round(value) else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """`0.8 ms`, `85 ms`, `1.2 s`, `4 min`, `3 h`."""
    if value is None:
        return UNKNOWN
    if math.isinf(value):
        return "never"
    for below, factor, unit in ((0.00995, 1e3, "ms"), (0.9995, 1e3, "ms"), (99.5, 1, "s"), (5_970, 1 / 60, "min")):
        if value < below:
            scaled = value * factor
            return f"{scaled:.1f} {unit}" if scaled < 9.95 and scaled else f"{scaled:.0f} {unit}"
    return f"{value / 3_600:,.0f} h"


def size(value: float | None) -> str:
    """`96 MB`, `1.4 GB`: powers of ten."""
    if value is None:
        return UNKNOWN
    return f"{value / 1e9:,.1f} GB" if value >= 999.5e6 else f"{value / 1e6:,.0f} MB"


def share(value: float | None) -> str:
    """`62 %`."""
    return UNKNOWN if value is None else f"{value:.0%}".replace("%", " %")


def bar(part: float, whole: float, width: int) -> str:
    """How much of it there is."""
    filled = 0 if whole <= 0 else round(width * min(1.0, part / whole))
    if part > 0:
        filled = max(1, filled)
    return "█" * filled + "░" * (width - filled)


def sparkline(values: Sequence[float | None]) -> str:
    """One block for each, from nothing to the largest; a gap for what is not known."""
    top = max((value for value in values if value is not None), default=0.0)
    return "".join(" " if value is None else _block(value, top) for value in values)


def _block(value: float, top: float) -> str:
    return BLOCKS[0] if top <= 0 else BLOCKS[min(7, max(0, math.ceil(8 * value / top) - 1))]


def resampled(
    points: Iterable[tuple[datetime, float | None]], now: datetime, span_s: float, cells: int
) -> list[float | None]:
    """The largest value of each of so many equal parts of the last seconds; a part without points has that before it.

    Parts begin at multiples of their length, so that a value stays in its part from one look to the next.
    """
    step_s = span_s / cells
    last = math.floor(now.timestamp() / step_s)
    largest: dict[int, float] = {}
    told: dict[int, bool] = {}
    for at, value in points:
        cell = math.floor(at.timestamp() / step_s)
        told[cell] = told.get(cell, False) or value is not None
        if value is not None:
            largest[cell] = max(largest.get(cell, 0.0), value)
    found: list[float | None] = []
    newest = max(told, default=last)
    for cell in range(last - cells + 1, last + 1):
        before = found[-1] if found and cell <= newest else None
        found.append(largest.get(cell) if cell in told else before)
    return found


def clock(at: datetime) -> str:
    """A time of the day here, to the second."""
    return f"{at.astimezone():%H:%M:%S}"
