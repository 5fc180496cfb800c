"""Batches of mutated messages between good ones, for the real edge."""

from collections.abc import Callable
from functools import cache
from random import Random

import msgspec
import orjson

from loadtest.fuzz import mutations, samples
from loadtest.fuzz.edge import Broken, Edge, Kind, RawRecord
from loadtest.fuzz.minimise import smallest
from loadtest.fuzz.tally import Finding, Tally
from streams.stores.log import Headers

TARGET = "messages"
MUTATED, GOOD = 40, 10
REPORTS = 0.4
SHOWN = 2_000
"""Characters of an input that a finding shows."""

_MAKERS: dict[Kind, Callable[[Random], samples.Body]] = {"submission": samples.submission, "report": samples.report}


@cache
def _edge() -> Edge:
    return Edge()


def records(seed: int, batch: int) -> tuple[Kind, list[RawRecord]]:
    """The records of a batch, always the same."""
    choose = Random(f"{TARGET} {seed} {batch}")  # noqa: S311 - repeatable, not secret
    kind: Kind = "report" if choose.random() < REPORTS else "submission"
    make = _MAKERS[kind]
    goods = [True] * GOOD + [False] * MUTATED
    choose.shuffle(goods)
    made, offset = [], choose.randrange(2**40)
    for is_good in goods:
        offset += choose.choice((1, 1, 1, 7))
        body = make(choose)
        value = orjson.dumps(body) if is_good else mutations.mutated(choose, body)
        made.append(RawRecord(offset, mutations.key(choose), value, mutations.headers(choose), is_good))
    return kind, made


def run_batch(seed: int, batch: int) -> Tally:
    """Feed one batch to the edge; what breaks is a finding, with the record that did it made small."""
    kind, some = records(seed, batch)
    tally = Tally(inputs=MUTATED, neighbours=GOOD)
    broken = _broken(kind, some)
    if isinstance(broken, Broken):
        tally.broken[broken.what.partition(":")[0]] += 1
        tally.findings.append(_finding(seed, batch, kind, some, broken))
    else:
        tally.fates, tally.corners = broken.fates, broken.corners
    return tally


def _broken(kind: Kind, some: list[RawRecord]):  # type: ignore[no-untyped-def]
    try:
        return _edge().take(kind, some)
    except Broken as broken:
        return broken
    except Exception as error:
        return Broken(f"{type(error).__name__}: {error}")


def _finding(seed: int, batch: int, kind: Kind, some: list[RawRecord], broken: Broken) -> Finding:
    culprit = next((r for r in some if r.offset == broken.offset), None)
    culprit = culprit or next((r for r in some if isinstance(_broken(kind, [r]), Broken)), None)
    if culprit is None:
        return Finding(
            TARGET, seed, batch, broken.what, f"{len(some)} records of type {kind}", "no record does it alone"
        )
    alone = _broken(kind, [culprit])
    what = (alone if isinstance(alone, Broken) else broken).what

    def still(value: bytes | None, headers: Headers) -> bool:
        again = _broken(kind, [msgspec.structs.replace(culprit, value=value, headers=headers)])
        return isinstance(again, Broken) and again.what.partition(":")[0] == what.partition(":")[0]

    headers = smallest(culprit.headers, lambda cut: still(culprit.value, cut))
    value = culprit.value
    if value is not None:
        value = smallest(value, lambda cut: still(cut, headers))
    return Finding(TARGET, seed, batch, what, _text(kind, culprit.value, culprit.headers), _text(kind, value, headers))


def _text(kind: Kind, value: bytes | None, headers: Headers) -> str:
    around = f" with headers {headers!r}" if headers else ""
    return f"{kind} {value!r}"[:SHOWN] + around[:SHOWN]
