"""The scenarios of the load test by name: how the rate goes over time, and what is ordered. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadtest.mixes import Mix
from loadtest.schedule import Phase, Schedule
from streams.errors import Refused

RATE_PER_S = 3_200.0
PEAK_PER_S = 4_000.0
SOAK_PER_S = 1_000.0
WINDOW = 20_000
"""Without a rate so many orders may be on their way: enough that no stage ever waits for work, little enough that
none of them waits for long."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario with its numbers. Without phases it goes as fast as the system takes it, `window` orders ahead.

    `strict_s` are the moments after which, for one second, latency is not judged: the rate leaps up there.
    """

    name: str
    orders: int
    mix: Mix
    phases: tuple[Phase, ...] = ()
    window: int = 0

    @property
    def schedule(self) -> Schedule | None:
        """The schedule, None when there is no rate."""
        return Schedule(self.phases) if self.phases else None

    @property
    def rate_per_s(self) -> float | None:
        """The highest rate, None when there is none."""
        return max(max(phase.from_per_s, phase.to_per_s) for phase in self.phases) if self.phases else None


@dataclass(frozen=True, slots=True)
class Asked:
    """What may be asked for; 0 is the scenario's own. `seconds` is its length, `rate_per_s` its highest rate."""

    rate_per_s: float = 0.0
    orders: int = 0
    seconds: float = 0.0
    mix: Mix | None = None


def scenario(name: str, asked: Asked | None = None) -> Scenario:
    """The scenario of this name, with what was asked for. Raises `Refused` for what does not go together."""
    asked = asked or Asked()
    if name not in SCENARIOS:
        raise Refused(f"There is no scenario {name!r}; take {', '.join(SCENARIOS)}.")
    if min(asked.rate_per_s, asked.orders, asked.seconds) < 0:
        raise Refused("--rate, --orders and --seconds must not be below 0; 0 stands for the scenario's own.")
    if sum(map(bool, (asked.rate_per_s, asked.orders, asked.seconds))) == 3:
        raise Refused("Give two of --rate, --orders and --seconds; the third follows from them.")
    return SCENARIOS[name](asked)


def _steady(asked: Asked) -> Scenario:
    return _flat("steady", asked, RATE_PER_S, 60.0, asked.mix or "one-line")


def _soak(asked: Asked) -> Scenario:
    return _flat("soak", asked, SOAK_PER_S, 1_200.0, asked.mix or "one-line")


def _flash(asked: Asked) -> Scenario:
    if asked.mix not in {None, "hot"}:
        raise Refused("flash is about one SKU, and has a mix of its own.")
    return _flat("flash", asked, RATE_PER_S, 30.0, "hot")


def _flat(name: str, asked: Asked, rate_per_s: float, seconds: float, mix: Mix) -> Scenario:
    if asked.orders and asked.seconds:
        rate_per_s = asked.orders / asked.seconds
    rate_per_s = asked.rate_per_s or rate_per_s
    seconds = asked.seconds or (asked.orders / rate_per_s if asked.orders else seconds)
    phase = Phase(name, seconds, rate_per_s, rate_per_s)
    return Scenario(name, Schedule([phase]).total, mix, (phase,))


def _million(asked: Asked) -> Scenario:
    if asked.rate_per_s or asked.seconds:
        raise Refused("million goes as fast as the system takes it; steady has a rate and a length.")
    return Scenario("million", asked.orders or 1_000_000, asked.mix or "one-line", window=WINDOW)


def _double11(asked: Asked) -> Scenario:
    """The night of the 11th of November: a spike at midnight, and another when the second sale opens."""
    peak = asked.rate_per_s or PEAK_PER_S
    # Name, share of the length, rates as shares of the peak.
    shape = (
        ("eve", 0.14, 0.10, 0.30),
        ("midnight", 0.22, 1.00, 1.00),
        ("settling", 0.08, 1.00, 0.50),
        ("plateau", 0.24, 0.50, 0.50),
        ("second spike", 0.12, 0.85, 0.85),
        ("tail", 0.20, 0.40, 0.05),
    )
    seconds = asked.seconds or 72.0
    if asked.orders:
        of_peak = sum(share * (begin + end) / 2 for _, share, begin, end in shape)
        seconds = asked.orders / (peak * of_peak) if not asked.seconds else seconds
        peak = asked.orders / (seconds * of_peak)
    phases = tuple(Phase(name, share * seconds, begin * peak, end * peak) for name, share, begin, end in shape)
    return Scenario("double11", Schedule(phases).total, asked.mix or "one-line", phases)


SCENARIOS: Mapping[str, Callable[[Asked], Scenario]] = {
    "steady": _steady,
    "million": _million,
    "double11": _double11,
    "flash": _flash,
    "soak": _soak,
}
