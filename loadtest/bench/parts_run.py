"""`floodway bench parts`: all parts in interleaved rounds, and how they compare."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtest.bench.figures import Series, noise, ratio, summed
from loadtest.bench.parts import Announce, Books, Decode, Fetch, Part, Persist, Reserve, ReservePromotion
from loadtest.bench.rig import Rig, Say, rig
from loadtest.bench.running import Reader, Whole
from streams.errors import Refused

ROUNDS = 3
TAKEN_AT_ONCE = 2_000
FETCH, FAUST, CHUNKS, DECODE = "fetch", "faust", "chunks", "decode"
RESERVE, PERSIST, BOOKS, ANNOUNCE, WHOLE = "reserve", "persist", "books", "announce", "whole"
NAMES = (
    FETCH,
    FAUST,
    CHUNKS,
    DECODE,
    RESERVE,
    "reserve-5-lines",
    "reserve-hot",
    "reserve-promo",
    BOOKS,
    PERSIST,
    "persist-5-lines",
    ANNOUNCE,
    WHOLE,
)
IN_SUM = (CHUNKS, DECODE, RESERVE, BOOKS, PERSIST, ANNOUNCE)
"""What the whole consists of, for an order of one line."""


@dataclass(slots=True)
class PartsReport:
    """All series by the part's short name, and their ratios."""

    series: dict[str, Series] = field(default_factory=dict)

    def ratios(self) -> dict[str, float | None]:
        """How the parts compare; those whose parts were not measured are left out."""
        found: dict[str, float | None] = {}
        for name, (above, below) in {
            "chunks_per_faust_rate": (CHUNKS, FAUST),
            "chunks_per_fetch_rate": (CHUNKS, FETCH),
        }.items():
            if {above, below} <= self.series.keys():
                found[name] = ratio(self.series[above].per_s, self.series[below].per_s)
        if {CHUNKS, FAUST} <= self.series.keys():
            found["faust_per_chunks_client_cpu"] = ratio(
                self.series[FAUST].client_cpu_us, self.series[CHUNKS].client_cpu_us
            )
        if {WHOLE, *IN_SUM} <= self.series.keys():
            wall_us, cpu_us = summed([self.series[name] for name in IN_SUM])
            found["whole_per_sum_of_parts_wall"] = ratio(1e6 / self.series[WHOLE].per_s, wall_us)
            found["whole_per_sum_of_parts_cpu"] = ratio(self.series[WHOLE].cpu_us, cpu_us)
        return found

    @property
    def noise(self) -> str | None:
        """What to tell of a noisy machine."""
        return noise(list(self.series.values()))

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        parts = {name: one.as_dict() for name, one in self.series.items()}
        return {"parts": parts, "ratios": self.ratios(), "noise": self.noise}


def records_of(name: str, orders: int) -> int:
    """How many records a round of this part takes: more where a record costs little, fewer where it costs much."""
    if name in {FETCH, CHUNKS}:
        return 15 * orders
    if name == FAUST:
        # Whole takes: an incomplete one waits for its time.
        return max(TAKEN_AT_ONCE, orders // 2 // TAKEN_AT_ONCE * TAKEN_AT_ONCE)
    return orders


def chosen(only: Sequence[str]) -> list[str]:
    """The parts to measure, in order. Raises `Refused` for a name that is none."""
    unknown = [name for name in only if name not in NAMES]
    if unknown:
        raise Refused(f"There is no part {unknown[0]}; there are {', '.join(NAMES)}.")
    return [name for name in NAMES if not only or name in only]


async def measure_parts(orders: int, only: Sequence[str], say: Say, *, rounds: int = ROUNDS) -> PartsReport:
    """Measure the parts with so many orders a round, in a stack of their own."""
    names = chosen(only)
    # As workers have it: see agents/worker.py.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    report = PartsReport()
    async with rig(say) as made:
        parts: dict[str, Part] = {}
        try:
            for name in names:
                part = parts[name] = _part(made, name)
                if isinstance(part, Reader | Whole):
                    await part.start()
            report.series = {name: Series(part.name) for name, part in parts.items()}
            for number in range(rounds + 1):
                for name, part in parts.items():
                    say(f"round {number} of {rounds}: {part.name}" if number else f"warming up: {part.name}")
                    sample = await part.round(records_of(name, orders if number else max(1, orders // 4)))
                    if number:
                        report.series[name].samples.append(sample)
        finally:
            for part in parts.values():
                await part.close()
    return report


def _part(made: Rig, name: str) -> Part:
    match name:
        case "fetch":
            return Fetch(made)
        case "faust":
            return Reader(made, "stock Faust, take", "faust")
        case "chunks":
            return Reader(made, "chunk transport", "chunks")
        case "decode":
            return Decode(made)
        case "reserve":
            return Reserve(made, "reserve one line")
        case "reserve-5-lines":
            return Reserve(made, "reserve 5 lines", lines=5)
        case "reserve-hot":
            return Reserve(made, "reserve hot SKU", hot=True)
        case "reserve-promo":
            return ReservePromotion(made, "reserve promotion")
        case "books":
            return Books(made)
        case "persist":
            return Persist(made, "persist one line")
        case "persist-5-lines":
            return Persist(made, "persist 5 lines", lines=5)
        case "announce":
            return Announce(made)
    assert name == WHOLE, name
    return Whole(made)
