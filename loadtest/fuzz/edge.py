"""The edge as it is in production, fed with a chunk of records; and all that must be true of what comes out."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import thread_time
from typing import Literal, NamedTuple

import msgspec

from loadtest.fuzz import oracle
from streams import dead_letters
from streams.chunks import Record
from streams.clock import SystemClock
from streams.core.decide import first_answer
from streams.core.decode import MessageDecoder, Undecodable
from streams.core.intent import Intent, intent
from streams.core.stock import Code, Verdict
from streams.intake.decode import decode
from streams.lifecycle import Lifecycle
from streams.messages import DeadLetter, Report, Submission
from streams.parts import Parts
from streams.settings import Settings
from streams.stores.ledger_fake import FakeLedger
from streams.stores.log import Entry, Headers
from streams.stores.log_fake import FakeLog
from streams.stores.stock_fake import FakeStock
from streams.topics import MAX_BATCH_BYTES, REPORTED, REPORTED_DLQ, SUBMITTED

Kind = Literal["submission", "report"]

MOST_CPU_S = 0.1
"""Processor time that one message may cost; a good one costs some microseconds, a giant is hashed."""
NOW_MS = 1_790_000_000_000
PARTITION = 3
REASONS = frozenset({"empty", "too_large", "not_json", "invalid_field"})
"""Of what is no message. `undecodable` is a dead letter too, but only for errors that nobody foresaw."""
UNKNOWN_ORDER = "unknown_order"
MAX_UNITS = 2**53
POSITION = "0/1"

_submissions, _reports = MessageDecoder(Submission), MessageDecoder(Report)
_encode = msgspec.json.Encoder().encode


class RawRecord(msgspec.Struct, frozen=True):
    """One record as it stands in the topic. `is_good` is what the fuzzer knows of it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    is_good: bool = False
    timestamp: int = NOW_MS


@dataclass(slots=True)
class RawChunk:
    """Records of one partition; counts how often it was acknowledged."""

    topic: str
    records: Sequence[RawRecord]
    partition: int = PARTITION
    acknowledged: int = 0

    def acknowledge(self) -> bool:
        """Count."""
        self.acknowledged += 1
        return True


class Broken(Exception):
    """Something that must hold did not. `offset` is of the record, None for the chunk."""

    def __init__(self, what: str, offset: int | None = None) -> None:
        super().__init__(what)
        self.what, self.offset = what, offset


class Seen(NamedTuple):
    """What became of the mutated records of a chunk, by reason or `taken`; and where the schema was no help."""

    fates: Counter[str]
    corners: Counter[str]


class Edge:
    """Takes chunks as intake and lifecycle do, until one breaks something."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def close(self) -> None:
        """End the loop."""
        self._runner.close()

    def take(self, kind: Kind, records: Sequence[RawRecord]) -> Seen:
        """Feed a chunk. Raises `Broken`, or whatever the edge raised: both are findings."""
        chunk = RawChunk(SUBMITTED.name if kind == "submission" else REPORTED.name, records)
        began_s = thread_time()
        taken, entries = self._submitted(chunk) if kind == "submission" else self._reported(chunk)
        if thread_time() - began_s > MOST_CPU_S:
            _time_each(kind, records)
        letters = _checked_letters(chunk, entries)
        if not all(record.offset in letters or record.offset in taken for record in records):
            raise Broken("a record was neither taken nor buried")
        seen = Seen(Counter(), Counter())
        for record in records:
            _check_one(kind, record, taken.get(record.offset), letters.get(record.offset), seen)
        return seen

    def _submitted(self, chunk: RawChunk) -> "tuple[dict[int, Submission | Report], list[Entry]]":
        batch = decode(chunk)
        if [i.offset for i in batch.intents] != sorted(i.offset for i in batch.intents):
            raise Broken("the order of records changed")
        for one in batch.intents:
            _check_intent(one)
        entries = [dead_letters.entry(dead, failed_at_ms=NOW_MS) for dead in batch.dead]
        return {i.offset: i.submission for i in batch.intents}, entries

    def _reported(self, chunk: RawChunk) -> "tuple[dict[int, Submission | Report], list[Entry]]":
        """Nobody knows the orders, so what could be read is buried too, for that reason."""
        log = FakeLog({REPORTED_DLQ.name: PARTITION + 1})
        settings = Settings(dead_letter_max_share=1.0)
        parts = Parts(FakeStock(), FakeLedger(), log, SystemClock(), settings)
        self._runner.run(Lifecycle(parts).take(chunk))
        if chunk.acknowledged != 1:
            raise Broken(f"the chunk was acknowledged {chunk.acknowledged} times")
        entries = log.appended[REPORTED_DLQ.name, PARTITION]
        taken: dict[int, Submission | Report] = {}
        originals = {record.offset: record for record in chunk.records}
        for entry in list(entries):
            letter = _letter(entry)
            if letter.reason == UNKNOWN_ORDER and letter.offset in originals:
                found = _reports.decode(originals[letter.offset].value)
                if isinstance(found, Undecodable):
                    raise Broken("what is no report was taken for one", letter.offset)
                _check_copy(entry, originals[letter.offset], letter)
                entries.remove(entry)
                taken[letter.offset] = found
        return taken, entries


def _check_intent(made: Intent) -> None:
    if not 0 <= made.total < MAX_UNITS or any(not 0 < units < MAX_UNITS for _, units in made.quantities):
        raise Broken(f"sums leave 53 bits: {made.total}, {made.quantities}", made.offset)
    again = intent(_submissions_again(made), made.trace_id, made.partition, made.offset)
    if again != made:
        raise Broken("written and read again it is another intent", made.offset)
    verdict = Verdict(Code.ACCEPTED, False, False, made.order_id.bytes, NOW_MS, NOW_MS + 1)
    if not oracle.obeys("decision", _encode(first_answer(made, verdict, token=POSITION))):
        raise Broken("its decision does not obey the published schema", made.offset)


def _submissions_again(made: Intent) -> Submission:
    again = _submissions.decode(_encode(made.submission))
    if isinstance(again, Undecodable):
        raise Broken(f"written again it cannot be read: {again}", made.offset)
    return again


def _check_one(
    kind: Kind, record: RawRecord, found: Submission | Report | None, letter: DeadLetter | None, seen: Seen
) -> None:
    if (found is None) == (letter is None):
        raise Broken("taken and buried", record.offset)
    if record.is_good and found is None:
        raise Broken(f"a good neighbour was buried: {letter}", record.offset)
    value = record.value or b""
    if found is not None:
        if isinstance(found, Report) and _reports.decode(_encode(found)) != found:
            raise Broken("written and read again it is another report", record.offset)
        if oracle.judged(kind, value):
            wrong = oracle.differs(kind, value, found)
            if wrong is not None and oracle.corner(kind, value, taken=True) is None:
                raise Broken(f"another parser reads {wrong} otherwise", record.offset)
    if not record.is_good:
        seen.fates["taken" if letter is None else letter.reason] += 1
    if oracle.judged(kind, record.value) != (found is not None):
        why = oracle.corner(kind, value, taken=found is not None)
        if why is None:
            said = "taken" if letter is None else f"refused ({letter.detail} at {letter.field})"
            raise Broken(f"it was {said}, and the published schema says otherwise", record.offset)
        seen.corners[why] += 1


def _checked_letters(chunk: RawChunk, entries: Sequence[Entry]) -> dict[int, DeadLetter]:
    """Dead letters by offset; each must say why and how to mend it, and be a copy but for its own header."""
    letters: dict[int, DeadLetter] = {}
    originals = {record.offset: record for record in chunk.records}
    for entry in entries:
        letter = _letter(entry)
        original = originals.get(letter.offset)
        if original is None or letter.offset in letters or letter.topic != chunk.topic:
            raise Broken(f"a dead letter of nothing, or a second one: {letter}")
        letters[letter.offset] = letter
        if letter.reason not in REASONS or not letter.detail or letter.fix is msgspec.UNSET or not letter.fix:
            raise Broken(f"a dead letter without reason, detail or fix: {letter}", letter.offset)
        if (letter.reason == "invalid_field") != (isinstance(letter.field, str) and letter.field.startswith("$")):
            raise Broken(f"a dead letter that names no field: {letter}", letter.offset)
        _check_copy(entry, original, letter)
    return letters


def _check_copy(entry: Entry, original: RawRecord, letter: DeadLetter) -> None:
    if letter.value_bytes is not msgspec.UNSET:
        whole = len(original.value or b"") == letter.value_bytes and (original.value or b"").startswith(
            entry.value or b""
        )
        if not whole or sum(map(len, (entry.value or b"", entry.key or b""))) > MAX_BATCH_BYTES:
            raise Broken("a dead letter was cut wrongly", letter.offset)
        return
    record = _as_read(entry)
    same = (entry.key, entry.value, dead_letters.original_headers(record))
    if same != (original.key, original.value, tuple(original.headers)):
        raise Broken("a dead letter is no copy of its original", letter.offset)


def _letter(entry: Entry) -> DeadLetter:
    letter = dead_letters.read_letter(_as_read(entry))
    if letter is None:
        raise Broken("a dead letter without its header")
    return letter


def _as_read(entry: Entry) -> Record:
    return RawRecord(0, entry.key, entry.value, entry.headers)


def _time_each(kind: Kind, records: Sequence[RawRecord]) -> None:
    """The chunk took long; see whether one record does, and does so again."""
    decoder = _submissions if kind == "submission" else _reports
    for record in records:
        began_s = thread_time()
        decoder.decode(record.value)
        if thread_time() - began_s > MOST_CPU_S:
            raise Broken(f"decoding took more than {MOST_CPU_S:g} s of processor time", record.offset)
