"""`floodway bench peers`: the same job by others, in interleaved rounds, and how many times ours it takes."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from loadtest.bench.figures import Sample, Series, noise, ratio
from loadtest.bench.peers.contender import Contender
from loadtest.bench.rig import Rig, Say, rig

ROUNDS = 3
CONCURRENCIES = (1, 8, 32, 128)
CONNECTIONS = 16
LEAST_ORDERS = 200
"""In a round of whoever is slowest."""

OURS, OURS_HOT, FAUST, BY_HAND = "ours", "ours, hot SKU", "stock Faust", "aiokafka by hand"
LOCKS, LOCKS_HOT = "Postgres row locks", "row locks, hot SKU"
COMPARED = {
    "ours_per_faust": (OURS, FAUST),
    "ours_per_by_hand": (OURS, BY_HAND),
    "ours_per_row_locks": (OURS, LOCKS),
    "ours_per_row_locks_hot": (OURS_HOT, LOCKS_HOT),
}
SHARES = {OURS: 1, OURS_HOT: 1, BY_HAND: 1, FAUST: 12, LOCKS: 15, LOCKS_HOT: 40}
"""One round has so many times fewer orders, so that slow ones take no longer than fast ones by much."""
SCARCE_SHARE = TRIAL_SHARE = 50


@dataclass(slots=True)
class PeersReport:
    """All series, the trial of concurrencies (orders a second by number of actors), and what was wrong."""

    series: dict[str, Series] = field(default_factory=dict)
    concurrencies: dict[int, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def ratios(self) -> dict[str, float | None]:
        """Ours as a multiple of each peer: by rate, and by CPU (how many times ours a peer needs for an order)."""
        found: dict[str, float | None] = {}
        for name, (ours, peer) in COMPARED.items():
            if {ours, peer} <= self.series.keys():
                found[f"{name}_rate"] = ratio(self.series[ours].per_s, self.series[peer].per_s)
                found[f"{name}_cpu_saved"] = ratio(self.series[peer].cpu_us, self.series[ours].cpu_us)
        return found

    @property
    def best_concurrency(self) -> int:
        """The number of actors with which stock Faust was fastest."""
        return max(self.concurrencies, key=lambda actors: self.concurrencies[actors])

    @property
    def noise(self) -> str | None:
        """What to tell of a noisy machine."""
        return noise(list(self.series.values()))

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "peers": {name: one.as_dict() for name, one in self.series.items()},
            "faust_orders_per_s_by_concurrency": {str(n): round(rate, 1) for n, rate in self.concurrencies.items()},
            "faust_concurrency": self.best_concurrency,
            "ratios": self.ratios(),
            "faults": self.faults,
            "noise": self.noise,
        }


def orders_of(name: str, orders: int) -> int:
    """How many orders a round of this contender has."""
    return max(LEAST_ORDERS, orders // SHARES[name])


async def measure_peers(
    orders: int, say: Say, *, rounds: int = ROUNDS, actors: Sequence[int] = CONCURRENCIES
) -> PeersReport:
    """Measure all with so many orders a round for the fastest, in a stack of their own.

    Stock Faust is tried with each number of `actors`.
    """
    report = PeersReport()
    async with rig(say) as made:
        contenders: dict[str, Contender] = {}
        try:
            await _start(made, contenders, actors)
            few = max(LEAST_ORDERS, orders // SCARCE_SHARE)
            for contender in contenders.values():
                say(f"waiting for {contender.name} to join")
                await contender.assigned()
            for contender in contenders.values():
                say(f"more orders than units: {contender.name}")
                await contender.scarce_round(few)
            faust = await _choose_faust(contenders, report, actors, max(LEAST_ORDERS, orders // TRIAL_SHARE), say)
            runs = _runs(contenders, faust)
            report.series = {name: Series(name) for name in runs}
            for number in range(1, rounds + 1):
                for name, run in runs.items():
                    say(f"round {number} of {rounds}: {name}")
                    report.series[name].samples.append(await run(orders_of(name, orders)))
        finally:
            for contender in contenders.values():
                await contender.close()
                report.faults += contender.faults
    return report


async def _start(made: Rig, contenders: dict[str, Contender], concurrencies: Sequence[int]) -> None:
    """Start all processes; they join side by side."""
    contenders["ours"] = await Contender.ours(made)
    contenders["by_hand"] = await Contender.peer(made, "by_hand", "by_hand")
    contenders["row_locks"] = await Contender.peer(
        made, "row_locks", "row_locks", concurrency=CONNECTIONS, stock="postgres"
    )
    for actors in concurrencies:
        name = f"faust{actors}"
        contenders[name] = await Contender.peer(made, name, "one_by_one", concurrency=actors, stock="redis")


async def _choose_faust(
    contenders: dict[str, Contender], report: PeersReport, concurrencies: Sequence[int], orders: int, say: Say
) -> Contender:
    """Try each number of actors, keep the fastest, end the others."""
    for actors in concurrencies:
        say(f"trying stock Faust with {actors} actors")
        report.concurrencies[actors] = (await contenders[f"faust{actors}"].round(orders)).per_s
    best = report.best_concurrency
    for actors in concurrencies:
        if actors != best:
            given_up = contenders.pop(f"faust{actors}")
            await given_up.close()
            report.faults += given_up.faults
    return contenders[f"faust{best}"]


def _runs(contenders: dict[str, Contender], faust: Contender) -> dict[str, Callable[[int], Awaitable[Sample]]]:
    ours, locks = contenders["ours"], contenders["row_locks"]
    return {
        OURS: ours.round,
        FAUST: faust.round,
        BY_HAND: contenders["by_hand"].round,
        LOCKS: locks.round,
        OURS_HOT: lambda orders: ours.round(orders, hot=True),
        LOCKS_HOT: lambda orders: locks.round(orders, hot=True),
    }
