"""The course of a run, second by second, added up from what all storefronts told. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from loadtest.outcome import Moment
from loadtest.swarm.words import Beat, merge, quantile_ms

PEAK_S = 5
"""Peaks are means over so many seconds, or a quarter of a shorter run."""


class Told(Moment):
    """A moment with what it was decided: outcomes by name, failures, and units on the shelves by pool and account."""

    outcomes: dict[str, int] = msgspec.field(default_factory=dict)
    failed: int = 0
    pools: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)


@dataclass(slots=True)
class _Second:
    sent: int = 0
    decided: dict[int, int] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    failed: int = 0


class Course:
    """What has happened so far, in all and by second of the run."""

    def __init__(self) -> None:
        self._seconds: dict[int, _Second] = {}
        self._pools: dict[int, dict[str, dict[str, int]]] = {}
        self.produced: dict[int, int] = {}
        self.decided: dict[int, int] = {}
        self.calm: dict[int, int] = {}
        self.outcomes: Counter[str] = Counter()
        self.sent = self.timed_out = self.unproduced = 0

    def add(self, beat: Beat) -> None:
        """Take in what a storefront told."""
        second = self._seconds.setdefault(beat.at_s, _Second())
        second.sent += beat.sent
        second.answered += sum(beat.outcomes.values())
        second.outcomes.update(beat.outcomes)
        second.failed += beat.timed_out + beat.unproduced
        merge(second.decided, beat.decided)
        merge(self.produced, beat.produced)
        merge(self.decided, beat.decided)
        merge(self.calm, beat.decided)
        merge(self.calm, {ms: -count for ms, count in beat.leapt.items()})
        self.outcomes.update(beat.outcomes)
        self.sent += beat.sent
        self.timed_out += beat.timed_out
        self.unproduced += beat.unproduced

    def add_pools(self, at_s: int, pools: Mapping[str, Mapping[str, int]]) -> None:
        """Take in what was on the shelves."""
        self._pools[at_s] = {pool: dict(units) for pool, units in pools.items()}

    @property
    def answered(self) -> int:
        """Decisions in all, late ones too."""
        return self.outcomes.total()

    def peak_per_s(self, window_s: int) -> float:
        """The most decisions a second, over so many seconds one after another."""
        return peak_per_s([moment.decided for moment in self.moments()], window_s)

    def sent_peak_per_s(self, window_s: int) -> float:
        """The most submissions a second."""
        return peak_per_s([moment.sent for moment in self.moments()], window_s)

    def moments(self) -> list[Told]:
        """Every second up to the last in which anything was told."""
        told, lag, pools = [], 0, dict[str, dict[str, int]]()
        for at_s in range(max(self._seconds, default=-1) + 1):
            second = self._seconds.get(at_s, _Second())
            pools = self._pools.get(at_s, pools)
            lag += second.sent - second.answered
            told.append(
                Told(
                    at_s,
                    sent=second.sent,
                    decided=second.answered,
                    lag=lag,
                    p50_ms=quantile_ms(second.decided, 0.5),
                    p99_ms=quantile_ms(second.decided, 0.99),
                    outcomes=dict(second.outcomes),
                    failed=second.failed,
                    pools=pools,
                )
            )
        return told


def peak_per_s(counts: Sequence[int], window_s: int) -> float:
    """The largest mean of so many counts one after another; of all when there are fewer."""
    if not counts:
        return 0.0
    window_s = min(window_s, len(counts))
    return max(sum(counts[at : at + window_s]) for at in range(len(counts) - window_s + 1)) / window_s


def window_s(seconds: float) -> int:
    """Over how many seconds peaks of a run of this length are taken."""
    return max(1, min(PEAK_S, int(seconds / 4)))
