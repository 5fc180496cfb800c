"""Batches of what sources send, mutated, between good ones, through the real lifecycle with all mappings.

Starting points are the examples of the mappings. Nobody knows the orders, so what can be read waits in quarantine; what
cannot is a dead letter, byte for byte; and what is read must be a report that could have been sent as one.
"""

import asyncio
from collections import Counter
from functools import cache
from random import Random
from time import thread_time
from uuid import UUID

import msgspec

from loadtest.fuzz import mutations
from loadtest.fuzz.edge import MOST_CPU_S, PARTITION, Broken, RawChunk, RawRecord
from loadtest.fuzz.minimise import smallest
from loadtest.fuzz.tally import Finding, Tally
from streams.clock import SystemClock
from streams.core.books import Quarantined
from streams.core.decode import MessageDecoder, Undecodable
from streams.core.normalise import Normaliser, Said
from streams.dead_letters import read_letter
from streams.lifecycle import Lifecycle
from streams.messages import Report
from streams.parts import Parts
from streams.settings import Settings
from streams.sources import normalisers
from streams.stores.ledger_fake import FakeLedger
from streams.stores.log import Entry, Headers
from streams.stores.log_fake import FakeLog
from streams.stores.stock_fake import FakeStock
from streams.topics import ALL, REPORTED, REPORTED_DLQ, SOURCE_HEADER

TARGET = "sources"
MUTATED, GOOD = 40, 10
SHOWN = 2_000
ORDER = UUID("0191f2f0-0000-7000-8000-000000000000")

_reports = MessageDecoder(Report)
_encode = msgspec.json.Encoder().encode


@cache
def _sources() -> dict[str, Normaliser]:
    return normalisers()


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


async def _lived(chunk: RawChunk) -> tuple[list[Entry], list[Quarantined]]:
    """Dead letters and what waits, after a new lifecycle has taken the chunk."""
    log, ledger = FakeLog({topic.name: PARTITION + 1 for topic in ALL}), FakeLedger()
    parts = Parts(FakeStock(), ledger, log, SystemClock(), Settings(dead_letter_max_share=1.0))
    await Lifecycle(parts, _sources()).take(chunk)
    return log.appended[REPORTED_DLQ.name, PARTITION], await ledger.quarantined(None, len(chunk.records))


def records(seed: int, batch: int) -> list[RawRecord]:
    """The records of a batch, always the same."""
    choose = Random(f"{TARGET} {seed} {batch}")  # noqa: S311 - repeatable, not secret
    sources = sorted(_sources())
    goods = [True] * GOOD + [False] * MUTATED
    choose.shuffle(goods)
    made = []
    for offset, is_good in enumerate(goods):
        source = choose.choice(sources)
        example = choose.choice(_sources()[source].mapping.examples)
        around: Headers = tuple((name, text.encode()) for name, text in example.headers.items())
        value: bytes | None = example.body.encode()
        if not is_good:
            value = _mutated(choose, example.body)
            around = (*(one for one in around if choose.random() < 0.9), *mutations.headers(choose))
            if choose.random() < 0.05:
                source = choose.choice(("", "nobody", "\u2028", "x" * 5_000, "TMALL"))
        header = (SOURCE_HEADER, source.encode())
        made.append(RawRecord(offset, mutations.key(choose), value, (*around, header), is_good))
    return made


def run_batch(seed: int, batch: int) -> Tally:
    """Feed one batch; what breaks is a finding, with the record that did it made small."""
    some = records(seed, batch)
    tally = Tally(inputs=MUTATED, neighbours=GOOD)
    broken = _broken(some)
    if isinstance(broken, Counter):
        tally.fates = broken
        return tally
    tally.broken[broken.what.partition(":")[0]] += 1
    culprit = next((one for one in some if isinstance(_broken([one]), Broken)), None)
    if culprit is None:
        tally.findings.append(Finding(TARGET, seed, batch, broken.what, f"{len(some)} records", "none does it alone"))
        return tally
    small = culprit.value
    if small is not None:
        small = smallest(small, lambda cut: isinstance(_broken([msgspec.structs.replace(culprit, value=cut)]), Broken))
    texts = [f"{value!r} with {culprit.headers!r}"[:SHOWN] for value in (culprit.value, small)]
    tally.findings.append(Finding(TARGET, seed, batch, broken.what, *texts))
    return tally


def _mutated(choose: Random, body: str) -> bytes | None:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        found = None
    if isinstance(found, dict):
        return mutations.mutated(choose, found)
    value = bytearray(body.encode())
    for _ in range(choose.choice((1, 1, 2, 4))):
        if value:
            choose.choice(mutations.BYTES)(choose, value)
    return bytes(value)


def _broken(some: list[RawRecord]) -> Broken | Counter[str]:
    try:
        return _take(some)
    except Broken as broken:
        return broken
    except Exception as error:
        return Broken(f"{type(error).__name__}: {error}")


def _take(some: list[RawRecord]) -> Counter[str]:
    """Feed a chunk, and look at what came of each record."""
    chunk = RawChunk(REPORTED.name, some)
    began_s = thread_time()
    letters, waiting = _runner().run(_lived(chunk))
    if thread_time() - began_s > MOST_CPU_S * len(some):
        raise Broken("too slow: a chunk took longer than all its records may")
    if chunk.acknowledged != 1:
        raise Broken(f"the chunk was acknowledged {chunk.acknowledged} times")
    fates: Counter[str] = Counter()
    buried = {}
    for entry in letters:
        letter = read_letter(RawRecord(0, entry.key, entry.value, entry.headers))
        if letter is None:
            raise Broken("a dead letter cannot be read")
        buried[letter.offset] = letter.reason
    kept = {(record.value, record.headers): record.reason for record in waiting}
    for record in some:
        reason = buried.get(record.offset) or kept.get((record.value or b"", tuple(record.headers)))
        if reason is None:
            raise Broken("a record is neither buried nor in quarantine", record.offset)
        if record.is_good and reason != "unknown_order":
            raise Broken(f"a good neighbour was {reason}", record.offset)
        fates[reason] += not record.is_good
        _check_said(record)
    return fates


def _check_said(record: RawRecord) -> None:
    """What was read of it could have been sent as a report: no text, time or amount that the edge would refuse."""
    source = next((value or b"" for name, value in record.headers if name == SOURCE_HEADER), b"").decode()
    normaliser = _sources().get(source)
    said = None if normaliser is None else normaliser.read(record.value, record.headers)
    if isinstance(said, Said):
        found = _reports.decode(_encode(said.of(ORDER)))
        if isinstance(found, Undecodable):
            raise Broken(f"what was read is no report: {found}", record.offset)
