"""Surges that are faults themselves: mostly malformed, or everything several times over."""

from collections.abc import Iterator
from random import Random

from loadtest.demo_mix import REPEAT_WITHIN, malformed
from loadtest.plan import Kind, Plan, Planned

POISON_SHARE = 0.6
TIMES = 5


def poisoned(plan: Plan, partitions: int, choose: Random) -> Plan:
    """Put so many malformed records between the others that they are `POISON_SHARE` of all."""
    records = list(plan.records)
    good = len(records) - plan.kinds[Kind.MALFORMED]
    wanted = round(good * POISON_SHARE / (1 - POISON_SHARE)) - plan.kinds[Kind.MALFORMED]
    bad = [Planned(Kind.MALFORMED, choose.randrange(partitions), None, malformed(choose)) for _ in range(wanted)]
    plan.records = _merged(records, ((choose.uniform(0, len(records)), record) for record in bad))
    plan.kinds[Kind.MALFORMED] += wanted
    return plan


def repeated(plan: Plan, partitions: int, choose: Random) -> Plan:
    """Send everything that is well-formed `TIMES` times, the further times some way behind the first."""
    records = list(plan.records)
    again: list[tuple[float, Planned]] = []
    for at, record in enumerate(records):
        if record.kind == Kind.MALFORMED:
            continue
        copy = record if record.kind == Kind.CONFLICT else record._replace(kind=Kind.REPEAT)
        again += [(at + choose.uniform(0.5, REPEAT_WITHIN), copy) for _ in range(TIMES - 1)]
    for _, record in again:
        plan.kinds[Kind(record.kind)] += 1
    for number, sends in enumerate(plan.sends):
        plan.sends[number] = sends * TIMES
    plan.records = _merged(records, again)
    return plan


def _merged(
    records: list[Planned], others: "Iterator[tuple[float, Planned]] | list[tuple[float, Planned]]"
) -> list[Planned]:
    placed = [*enumerate(records), *others]
    placed.sort(key=lambda each: each[0])
    return [record for _, record in placed]
