"""Counts what was announced, and finds what is missing or repeated, in a few bytes a submission."""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from loadtest.generator import SLOT_MS
from loadtest.plan import NUMBER_DIGITS, id_prefix
from streams.messages import Outcome, Reason

EXAMPLES = 5
STAMPS_KEPT = 5_000
MAX_FIRSTS = 255


class Announced(msgspec.Struct, gc=False):
    """The part of a decision that is looked at. The time stays text: orders of one millisecond share it."""

    order_id: str
    submission_id: str
    outcome: Outcome
    submitted_at: str
    reason: Reason | None = None
    replay: bool = False
    promotion_id: str | None = None


class Second(msgspec.Struct):
    """What was seen within one second of the surge, the first is 0. Latency in milliseconds."""

    at_s: int
    decided: int
    p50_ms: float
    p99_ms: float


class TallyReport(msgspec.Struct):
    """What was seen of one run.

    `missing` counts answers that are due and did not come, `repeated` those beyond what was sent; `not_decided_once`
    counts submissions without exactly one first decision. `decided_by_slot` has slots of `SLOT_MS` since 1970;
    `answered_by_slot` leaves out what was announced beyond what is due.
    """

    decided: int = 0
    accepted: int = 0
    rejected: dict[str, int] = {}
    replayed: int = 0
    conflicts: int = 0
    foreign: int = 0
    missing: int = 0
    repeated: int = 0
    not_decided_once: int = 0
    accepted_by_promotion: dict[str, int] = {}
    first_at_ms: float = 0.0
    last_at_ms: float = 0.0
    latency_ms: dict[str, float] = {}
    seconds: list[Second] = []
    decided_by_slot: dict[int, int] = {}
    answered_by_slot: dict[int, int] = {}
    examples: dict[str, list[str]] = {}
    accepted_ids: list[str] = []


class Tally:
    """What was announced of one run. `sends` tells how many answers each submission is due, by its number.

    Numbers of submissions that were answered more than `late_after_ms` after their intended time gather in `late`.
    """

    def __init__(
        self, run: str, sends: "array[int]", *, keep_ids: bool = False, late_after_ms: float = float("inf")
    ) -> None:
        self._prefix = id_prefix(run)
        self._due = array("i", sends)
        self._firsts = bytearray(len(sends))
        self._keep_ids = keep_ids
        self._decode = msgspec.json.Decoder(Announced).decode
        self._stamps: dict[str, float] = {}
        self._latencies_ms = array("d")
        self._slots: list[tuple[int, int]] = []  # each with the number of decisions before it
        self._answered: Counter[int] = Counter()
        self._promoted: Counter[str] = Counter()
        self._rejected: Counter[Reason | None] = Counter()
        self._ids: list[str] = []
        self._late_after_ms = late_after_ms
        self.late: list[int] = []
        self._accepted = self._replayed = self._conflicts = self._foreign = 0
        self.left = sum(sends)
        """Answers that are still due."""
        self.first_at_ms = 0.0
        self.last_at_ms = 0.0

    @property
    def decided(self) -> int:
        """Decisions seen."""
        return len(self._latencies_ms)

    def add(self, values: Sequence[bytes], now_ms: float) -> None:
        """Count decisions that were received now."""
        before, left = self.decided, self.left
        decode, stamps, due, prefix = self._decode, self._stamps, self._due, self._prefix
        late_after_ms = self._late_after_ms
        if len(stamps) > STAMPS_KEPT:
            stamps.clear()
        for value in values:
            seen = decode(value)
            submission_id = seen.submission_id
            if submission_id[:-NUMBER_DIGITS] != prefix:
                self._foreign += 1
                continue
            number = int(submission_id[-NUMBER_DIGITS:])
            due[number] -= 1
            if due[number] >= 0:
                self.left -= 1
            stamp = seen.submitted_at
            submitted_ms = stamps.get(stamp)
            if submitted_ms is None:
                submitted_ms = stamps[stamp] = datetime.fromisoformat(stamp).timestamp() * 1000
            latency_ms = now_ms - submitted_ms
            self._latencies_ms.append(latency_ms)
            if latency_ms > late_after_ms:
                self.late.append(number)
            if seen.replay or seen.reason is Reason.CONFLICTING_REPEAT:
                self._add_repeat(seen)
            else:
                self._add_first(seen, number)
        self._mark(self.decided - before, before, now_ms)
        self._answered[int(now_ms) // SLOT_MS] += left - self.left

    def _add_repeat(self, seen: Announced) -> None:
        if seen.reason is Reason.CONFLICTING_REPEAT:
            self._conflicts += 1
        else:
            self._replayed += 1

    def _add_first(self, seen: Announced, number: int) -> None:
        if self._firsts[number] < MAX_FIRSTS:
            self._firsts[number] += 1
        if seen.outcome is Outcome.REJECTED:
            self._rejected[seen.reason] += 1
            return
        self._accepted += 1
        if seen.promotion_id is not None:
            self._promoted[seen.promotion_id] += 1
        if self._keep_ids:
            self._ids.append(seen.order_id)

    def _mark(self, arrived: int, before: int, now_ms: float) -> None:
        if not arrived:
            return
        self.first_at_ms = self.first_at_ms or now_ms
        self.last_at_ms = now_ms
        slot = int(now_ms) // SLOT_MS
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, before))

    def is_due(self, number: int) -> bool:
        """Whether a submission still waits for an answer."""
        return self._due[number] > 0

    def latencies_ms(self, begin: int) -> "array[float]":
        """Latencies of all decisions but the first so many."""
        return self._latencies_ms[begin:]

    def outcomes(self) -> Counter[str]:
        """Decisions so far: `accepted`, refusals by reason, `replayed` and `conflicting_repeat`."""
        found = Counter({str(reason): count for reason, count in self._rejected.items()})
        found["accepted"], found["replayed"] = self._accepted, self._replayed
        found[str(Reason.CONFLICTING_REPEAT)] += self._conflicts
        return +found

    def recent_p99_ms(self) -> float:
        """Latency of the slowest hundredth of the last second in which any came."""
        if not self._slots:
            return 0.0
        since = self._slots[-1][0] - 1_000 // SLOT_MS
        begin = next(before for slot, before in self._slots[-1_000 // SLOT_MS :] if slot > since)
        return quantile(sorted(self._latencies_ms[begin:]), 0.99)

    def report(self, started_at_ms: int) -> TallyReport:
        """All of it, added up; seconds are counted from when the surge started, in milliseconds since 1970."""
        ordered = sorted(self._latencies_ms)
        missing = [n for n, left in enumerate(self._due) if left > 0]
        repeated = [n for n, left in enumerate(self._due) if left < 0]
        not_once = [n for n, firsts in enumerate(self._firsts) if firsts != 1]
        numbers = {"missing": missing, "repeated": repeated, "not_decided_once": not_once}
        quantiles = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
        return TallyReport(
            decided=self.decided,
            accepted=self._accepted,
            rejected={str(reason): count for reason, count in self._rejected.most_common()},
            replayed=self._replayed,
            conflicts=self._conflicts,
            foreign=self._foreign,
            missing=sum(self._due[n] for n in missing),
            repeated=-sum(self._due[n] for n in repeated),
            not_decided_once=len(not_once),
            accepted_by_promotion=dict(self._promoted),
            first_at_ms=self.first_at_ms,
            last_at_ms=self.last_at_ms,
            latency_ms={name: quantile(ordered, q) for name, q in quantiles.items()},
            seconds=self._seconds(started_at_ms),
            decided_by_slot={slot: end - begin for slot, begin, end in self._spans()},
            answered_by_slot={slot: count for slot, count in self._answered.items() if count},
            examples={what: [self._id(n) for n in some[:EXAMPLES]] for what, some in numbers.items() if some},
            accepted_ids=self._ids,
        )

    def _id(self, number: int) -> str:
        return f"{self._prefix}{number:0{NUMBER_DIGITS}d}"

    def _spans(self) -> Iterator[tuple[int, int, int]]:
        """Each slot with the numbers of its first decision and of the next slot's first."""
        if not self._slots:
            return
        ends = [*(before for _, before in self._slots[1:]), self.decided]
        for (slot, begin), end in zip(self._slots, ends, strict=True):
            yield slot, begin, end

    def _seconds(self, started_at_ms: int) -> list[Second]:
        seconds = []
        for at_s, spans in groupby(self._spans(), key=lambda span: second_of(span[0], started_at_ms)):
            within = list(spans)
            some = sorted(self._latencies_ms[within[0][1] : within[-1][2]])
            seconds.append(Second(at_s, len(some), quantile(some, 0.5), quantile(some, 0.99)))
        return seconds


def second_of(slot: int, started_at_ms: int) -> int:
    """The second of the surge, from 0, that a slot belongs to."""
    return (slot - started_at_ms // SLOT_MS) * SLOT_MS // 1_000


def quantile(ordered: Sequence[float], q: float) -> float:
    """The value at this quantile of an ordered sequence, to a tenth; 0 when there is none."""
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 1) if ordered else 0.0


def report_bytes(report: TallyReport) -> bytes:
    """A report for another process."""
    return msgspec.msgpack.encode(report)


def report_from(raw: bytes) -> TallyReport:
    """A report from another process."""
    found: Any = msgspec.msgpack.decode(raw, type=TallyReport)
    assert isinstance(found, TallyReport)
    return found
