"""Surges that are faults themselves: mostly malformed, or everything several times over."""

from collections.abc import Iterator
from random import Random

from loadtest.demo_mix import REPEAT_WITHIN, malformed
from loadtest.fuzz.mutations import key, mutated
from loadtest.fuzz.samples import submission
from loadtest.plan import Kind, Plan, Planned
from streams.core.decode import MessageDecoder, Undecodable
from streams.messages import Submission

POISON_SHARE = 0.6
PLAIN_SHARE = 0.3
MAX_POISON_BYTES = 70_000
TIMES = 5

_decoder = MessageDecoder(Submission)


def poisoned(plan: Plan, partitions: int, choose: Random) -> Plan:
    """Put so many malformed records between the others that they are `POISON_SHARE` of all."""
    records = list(plan.records)
    good = len(records) - plan.kinds[Kind.MALFORMED]
    wanted = round(good * POISON_SHARE / (1 - POISON_SHARE)) - plan.kinds[Kind.MALFORMED]
    bad = [Planned(Kind.MALFORMED, choose.randrange(partitions), key(choose), poison(choose)) for _ in range(wanted)]
    plan.records = _merged(records, ((choose.uniform(0, len(records)), record) for record in bad))
    plan.kinds[Kind.MALFORMED] += wanted
    return plan


def poison(choose: Random) -> bytes:
    """A malformed message: one of a few plain ones, or a submission that was mutated until it was none."""
    if choose.random() < PLAIN_SHARE:
        return malformed(choose)
    while True:
        value = mutated(choose, submission(choose))
        # A tombstone is no message to the generator, and a giant no flood.
        if value is not None and len(value) < MAX_POISON_BYTES and isinstance(_decoder.decode(value), Undecodable):
            return value


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
