"""The orders of a soak: made as they are sent, for millions of them must not lie in memory."""

from array import array
from collections import Counter, deque
from collections.abc import Iterator
from random import Random

from loadtest.demo_mix import malformed
from loadtest.mixes import SKUS, OneLine
from loadtest.plan import Again, Kind, Plan, Planned, Writer

REPEATS = 0.05
MALFORMED = 0.005
BEHIND = 1_500
"""So many orders behind its first comes a repeat: half a second at the rate of a soak."""
_PLAIN, _REPEATED, _BEFORE_A_BAD_ONE = 0, 1, 2


def soak_plan(submissions: int, partitions: int, *, seed: int, run: str) -> Plan:
    """About so many records: orders of one unit each, of which one in 20 comes again, and one in 200 is malformed.

    All are accepted: there is a unit for each, and holds that end only add to them.
    """
    choose = Random(seed)  # noqa: S311 - repeatable, not secret
    orders = max(1, round(submissions / (1 + REPEATS + MALFORMED)))
    weights = (1 - REPEATS - MALFORMED, REPEATS, MALFORMED)
    kinds = bytes(choose.choices((_PLAIN, _REPEATED, _BEFORE_A_BAD_ONE), weights, k=orders))
    picks = array("H", choose.choices(range(SKUS), k=orders))
    skus = [f"SKU-{number:04d}" for number in range(SKUS)]
    writer = Writer(run, partitions)

    def records() -> Iterator[Planned]:
        again = Random(seed + 1)  # noqa: S311
        order, behind = OneLine(writer, skus), deque[tuple[int, int]]()
        for number, pick in enumerate(picks):
            while behind and behind[0][0] <= number:
                yield order.record(Kind.REPEAT, first := behind.popleft()[1], picks[first])
            yield order.record(Kind.ORDER, number, pick)
            if kinds[number] == _REPEATED:
                behind.append((number + BEHIND, number))
            elif kinds[number] == _BEFORE_A_BAD_ONE:
                yield Planned(Kind.MALFORMED, again.randrange(partitions), None, malformed(again))
        for _, number in behind:
            yield order.record(Kind.REPEAT, number, picks[number])

    repeats, bad = kinds.count(_REPEATED), kinds.count(_BEFORE_A_BAD_ONE)
    return Plan(
        run=run,
        records=Again(records),
        sends=array("H", (1 + (kind == _REPEATED) for kind in kinds)),
        kinds=Counter({Kind.ORDER: orders, Kind.REPEAT: repeats, Kind.MALFORMED: bad}),
        lines=orders,
        stock=Counter({skus[pick]: units for pick, units in Counter(picks).items()}),
        accepted=orders,
        rejected={},
    )
