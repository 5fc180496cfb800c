"""What a surge consists of, known beforehand: so that what comes out can be checked against what went in.

Deterministic: the same mix, number of submissions and seed give the same plan. A submission's number stands at the end
of its id, so an observer tells them apart with a byte each instead of a text each.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import msgspec

from streams.clock import SystemClock
from streams.messages import Line
from streams.stores.partitioner import partition_of

NUMBER_DIGITS = 8
MAX_SUBMISSIONS = 10**NUMBER_DIGITS
MAX_SENDS = 65_535
"""How often one submission may be sent; counts of sends are two bytes each."""


class Kind(IntEnum):
    """What a planned record is meant to be."""

    ORDER = 0
    REPEAT = 1
    CONFLICT = 2
    MALFORMED = 3


class Planned(NamedTuple):
    """One record to produce. `head` is the message up to where the time goes; a malformed one is sent as is."""

    kind: int
    partition: int
    key: bytes | None
    head: bytes


class PromotionPlan(NamedTuple):
    """A promotion to open before the surge. A buyer limit of 0 is none."""

    promotion_id: str
    buyer_limit: int
    quota: tuple[tuple[str, int], ...]


class Body(msgspec.Struct, omit_defaults=True, gc=False):
    """A submission but for its id and its time."""

    channel: str
    buyer_id: str
    lines: tuple[Line, ...]
    currency: str
    promotion_id: str | None = None


class Again(Iterable[Planned]):
    """Records made anew each time they are asked for, so that a million of them need no memory."""

    def __init__(self, make: Callable[[], Iterator[Planned]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Planned]:
        return self._make()


@dataclass(slots=True)
class Plan:
    """Records in the order of sending, and what they need and should come to.

    `sends` tells by a submission's number how many records carry its key. `accepted` and `rejected` are what must come
    out; None where that depends on the order in which partitions are read. `promised` is what each promotion named
    there must accept exactly, in orders.
    """

    run: str = ""
    records: Iterable[Planned] = ()
    sends: "array[int]" = field(default_factory=lambda: array("H"))
    kinds: Counter[Kind] = field(default_factory=Counter)
    lines: int = 0
    stock: Counter[str] = field(default_factory=Counter)
    promotions: list[PromotionPlan] = field(default_factory=list)
    promised: dict[str, int] = field(default_factory=dict)
    accepted: int | None = None
    rejected: dict[str, int] | None = None
    flash_units: int = 0

    @property
    def total(self) -> int:
        """Records in all."""
        return self.kinds.total()

    @property
    def answers(self) -> int:
        """Decisions that are due: one for each record but the malformed."""
        return self.total - self.kinds[Kind.MALFORMED]


class Writer:
    """Writes submissions of one run as records."""

    def __init__(self, run: str, partitions: int) -> None:
        self._prefix = id_prefix(run).encode()
        self._partitions = partitions
        self._encode = msgspec.json.Encoder().encode

    def body(self, body: Body) -> bytes:
        """A body's fields, to be put into a record; the same bytes serve many submissions."""
        return self._encode(body)[1:-1]

    def record(self, kind: Kind, number: int, channel: bytes, body: bytes) -> Planned:
        """The record of a submission, from its number and `body`."""
        submission_id = b"%b%0*d" % (self._prefix, NUMBER_DIGITS, number)
        key = b"%b:%b" % (channel, submission_id)
        head = b'{"submission_id":"%b",%b,"submitted_at":"' % (submission_id, body)
        return Planned(kind, partition_of(key, self._partitions), key, head)


def run_name() -> str:
    """A suffix for ids that no earlier surge on the same servers has used."""
    return f"-{SystemClock().now_ms() // 1000:x}"


def id_prefix(run: str) -> str:
    """What all submission ids of a run begin with; the number follows."""
    return f"S{run}-"


TAIL = b'"}'
"""What stands behind the time."""


def finish(head: bytes, submitted_at: bytes) -> bytes:
    """A message from its head and the time, RFC 3339."""
    return head + submitted_at + TAIL
