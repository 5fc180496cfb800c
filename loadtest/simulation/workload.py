"""What the shops, the payment service and the operator do, drawn from the seed.

Submissions: several channels, repeats with the same body, conflicts, records that are none, a hot SKU with little
stock, promotions with limits. Whoever is told that an order was accepted may pay, cancel, both, twice or too late.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from loadtest.simulation.kafka import Topic
from loadtest.simulation.plan import Plan
from loadtest.simulation.world import NOW_MS, World
from streams.core.identity import SubmissionKey
from streams.core.stock import Promotion
from streams.instants import to_datetime
from streams.messages import Decision, Line, Outcome, Report, ReportType, Submission

CHANNELS = ("web", "app", "shop")
BUYERS = ("ann", "bob", "cid")
PROMOTION = "p1"

_encode = msgspec.json.Encoder().encode

# Records that are no submission, with the reason their dead letter must bear.
_BROKEN: tuple[tuple[bytes | None, str], ...] = (
    (b"{", "not_json"),
    (None, "empty"),
    (b'{"submission_id": "s"}', "invalid_field"),
    (b"[]", "invalid_field"),
)


@dataclass(slots=True)
class Sent:
    """One record that was produced, and what the producer knows of it. `wrong` is the reason why it is none."""

    partition: int
    offset: int
    value: bytes | None
    wrong: str | None = None
    key: SubmissionKey | None = None
    body: int = 0
    """Records under one key with the same number here have the same body."""
    submitted_at: datetime | None = None
    report: Report | None = None


@dataclass(slots=True)
class Sends:
    """Everything produced so far."""

    submissions: dict[tuple[int, int], Sent] = field(default_factory=dict)
    """By partition and offset."""
    reports: dict[tuple[int, int], Sent] = field(default_factory=dict)
    first: dict[SubmissionKey, Sent] = field(default_factory=dict)
    """The first of each key: who comes first is decided, the others repeat it or conflict with it."""
    by_time: dict[datetime, list[Sent]] = field(default_factory=dict)
    """By `submitted_at`, which an answer carries: so each answer is known by the record that it is to."""
    by_order: dict[UUID, list[Report]] = field(default_factory=dict)
    waiting: int = 0
    """Records that are still to come."""


class Shops:
    """Produces submissions at their times, and reports after the decisions they are on."""

    def __init__(self, world: World, rng: Random) -> None:
        self.sends = Sends()
        self._world, self._rng, self._plan = world, rng, world.plan
        self._told: set[UUID] = set()
        self._stamps: dict[tuple[int, int], datetime] = {}

    def open(self) -> None:
        """Set up all submissions of the run."""
        rng, plan = self._rng, self._plan
        bodies = [[_body(rng, plan, number, 100 + body) for body in range(2)] for number in range(plan.keys)]
        for number in range(plan.submissions):
            at_s = rng.uniform(*rng.choice(plan.waves))
            if rng.random() < 0.08:
                value, wrong = rng.choice(_BROKEN)
                self._later(at_s, self._produce_broken, value, wrong, rng.randrange(plan.partitions))
                continue
            which = rng.randrange(plan.keys)
            body = 1 if rng.random() < (0.4 if plan.scarce else 0.15) else 0
            # A client may stamp each try anew or repeat its bytes; both are the same order.
            anew = number if rng.random() < 0.7 else None
            self._later(at_s, self._produce, bodies[which][body], which, body, anew)

    def hear(self, decision: Decision) -> None:
        """Be told of a decision, and perhaps do something about it later."""
        if not self._plan.reports or decision.outcome is not Outcome.ACCEPTED or decision.order_id in self._told:
            return
        self._told.add(decision.order_id)
        order_id = decision.order_id
        for kind, event_id, source in self._intentions():
            at_s = self._rng.random() * 1.6 * self._plan.hold_ttl_s
            report = Report(event_id, source, kind, order_id, to_datetime(self._world.clock.now_ms()))
            self._later(at_s, self._report, report)
            if self._rng.random() < 0.2:  # the same event again: webhooks do that
                self._later(at_s + self._rng.random() * 3, self._report, report)
        if self._rng.random() < 0.05:
            stranger = Report(
                "e-0", "pay", ReportType.PAYMENT_SUCCEEDED, UUID(int=order_id.int ^ 1), decision.decided_at
            )
            self._later(0.5, self._report, stranger)
        if self._rng.random() < 0.05:
            self._later(0.5, self._report_broken, self._rng.randrange(self._plan.partitions))

    def _intentions(self) -> list[tuple[ReportType, str, str]]:
        pay = (ReportType.PAYMENT_SUCCEEDED, "e-1", "pay")
        pay_again = (ReportType.PAYMENT_SUCCEEDED, "e-2", "pay")
        cancel = (ReportType.ORDER_CANCELLED, "e-1", "channel")
        return self._rng.choice(([], [], [pay], [pay], [cancel], [pay, cancel], [pay, pay_again]))

    def _later(self, delay_s: float, produce: Callable[..., None], *args: Any) -> None:
        self.sends.waiting += 1
        self._world.loop.call_later(delay_s, self._now, produce, args)

    def _now(self, produce: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.sends.waiting -= 1
        produce(*args)

    def _stamp(self, which: int, body: int, anew: int | None) -> datetime:
        """The time of this try, or that of the first of those that repeat it; no two are the same."""
        now_ms = NOW_MS + int(self._world.loop.time() * 1000)
        if anew is not None:
            return to_datetime(now_ms) + timedelta(microseconds=1 + anew)
        return self._stamps.setdefault(
            (which, body), to_datetime(now_ms) + timedelta(microseconds=500 + 2 * which + body)
        )

    def _produce(self, submission: Submission, which: int, body: int, anew: int | None) -> None:
        stamp = self._stamp(which, body, anew)
        key = (submission.channel, submission.submission_id)
        sent = self._append(
            self._world.submitted,
            which % self._plan.partitions,
            _encode(msgspec.structs.replace(submission, submitted_at=stamp)),
        )
        sent.key, sent.body, sent.submitted_at = key, body, stamp
        self.sends.submissions[sent.partition, sent.offset] = sent
        self.sends.first.setdefault(key, sent)
        self.sends.by_time.setdefault(stamp, []).append(sent)

    def _produce_broken(self, value: bytes | None, wrong: str, partition: int) -> None:
        sent = self._append(self._world.submitted, partition, value)
        sent.wrong = wrong
        self.sends.submissions[sent.partition, sent.offset] = sent

    def _report(self, report: Report) -> None:
        sent = self._append(self._world.reported, report.order_id.int % self._plan.partitions, _encode(report))
        sent.report = report
        self.sends.reports[sent.partition, sent.offset] = sent
        self.sends.by_order.setdefault(report.order_id, []).append(report)

    def _report_broken(self, partition: int) -> None:
        sent = self._append(self._world.reported, partition, b"[1]")
        sent.wrong = "invalid_field"
        self.sends.reports[sent.partition, sent.offset] = sent

    def _append(self, topic: Topic, partition: int, value: bytes | None) -> Sent:
        record = topic.produce(partition, self._world.clock.now_ms(), b"key", value)
        self._world.trace.note("shops", f"produce {topic.name}", (partition, record.offset, value))
        return Sent(partition, record.offset, value)


def _body(rng: Random, plan: Plan, number: int, unit_price: int) -> Submission:
    """What a buyer wants. A SKU may stand on two lines."""
    in_promotion = rng.random() < (0.6 if plan.scarce else 0.3)
    skus: tuple[str, ...]
    if plan.scarce:
        skus = ("HOT", "TEA", "TEA") if in_promotion else ("HOT", "CUP", "CUP")
    else:
        skus = ("HOT", "TEA") if in_promotion else ("HOT", "TEA", "CUP", "CUP")
    lines = [Line(rng.choice(skus), rng.randint(1, 3), unit_price) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.03:
        lines.append(Line("NONE", 1, 1))  # a SKU nobody has heard of
    return Submission(
        f"s-{number}",
        CHANNELS[number % len(CHANNELS)],
        rng.choice(BUYERS),
        tuple(lines),
        "EUR",
        to_datetime(NOW_MS),
        promotion_id=PROMOTION if in_promotion else None,
    )


def promotion(plan: Plan, rng: Random) -> Promotion:
    """The run's promotion: its window may open late and close early, its limit may bind."""
    opens_at_ms = NOW_MS + rng.choice((0, 0, 2_000))
    open_for_s = rng.choice((6.0, 10.0, 10_000.0) if plan.scarce else (3.0, plan.spread_s + 1.0, 10_000.0))
    closes_at_ms = opens_at_ms + int(1000 * open_for_s)
    return Promotion(PROMOTION, opens_at_ms, closes_at_ms, rng.choice((0, 3, 6)), (("HOT", 2), ("TEA", 10)))
