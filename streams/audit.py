"""Do the books balance? Recomputed from the ledger, and compared with Kafka and Redis.

Every submission that intake has committed is read again and must have one decision, every bad record one dead letter,
every answer must be the ledger's; per SKU and pool Redis must hold what the movements add up to. It streams: memory
grows with SKUs, not with orders. Run it while orders flow, and differences that are merely on their way are looked at
again until they settle or `settle_s` has passed.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID

import msgspec

from streams.core.books import Balance
from streams.core.decode import MessageDecoder, Undecodable
from streams.core.intent import intent
from streams.dead_letters import read_letter
from streams.messages import Outcome, Reason, Submission
from streams.parts import Parts
from streams.reviews import read_review
from streams.stores.audit_postgres import FINDINGS, Evidence, Finding
from streams.stores.kafka_access import Brokers, access
from streams.stores.reader_kafka import Positions, TopicReader, committed, lag
from streams.stores.review_kafka import DECIDED_GROUP
from streams.topics import DECIDED, REPORTED_DLQ, REVIEW, SUBMITTED, SUBMITTED_DLQ

HOLDS_SLICE = 5_000
LOOK_AGAIN_S = 0.5

Progress = Callable[[str], object]
"""Told what is being looked at."""


class _Announced(msgspec.Struct, gc=False):
    """The part of a decision that is looked at."""

    order_id: UUID
    channel: str
    submission_id: str
    outcome: Outcome
    reason: Reason | None = None


class Difference(msgspec.Struct, frozen=True):
    """One pool in which Redis and ledger differ: (free, held, sold) by each."""

    sku: str
    pool: str
    redis: tuple[int, int, int]
    ledger: tuple[int, int, int]


@dataclass(slots=True)
class AuditReport:
    """What was found. `balanced` when nothing is wrong; `waiting` submissions are not read yet and not looked at.

    Nor are those `under_review`: they were put aside in a long outage, and are not decided yet.
    `unsettled` are expired holds that the ledger has not booked yet: on their way, unless the number stays.
    """

    balanced: bool = False
    submissions: int = 0
    decisions: int = 0
    waiting: int = 0
    under_review: int = 0
    dead_lettered: int = 0
    reports_dead_lettered: int = 0
    unsettled: int = 0
    missing: int = 0
    unanswered: int = 0
    repeated: int = 0
    oversold: int = 0
    leaked_holds: int = 0
    lost_holds: int = 0
    contradictory: int = 0
    unbalanced_skus: int = 0
    pools: dict[str, dict[str, int]] = field(default_factory=dict)
    redis_differs: list[Difference] = field(default_factory=list)
    redis_differs_count: int = 0
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def faults(self) -> dict[str, int]:
        """The numbers that must be 0."""
        names = ("missing", "unanswered", "repeated", "oversold", "leaked_holds", "lost_holds", "contradictory")
        counts = {name: int(getattr(self, name)) for name in (*names, "unbalanced_skus")}
        return {**counts, "redis_differs": self.redis_differs_count}

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {**asdict(self), "redis_differs": [msgspec.structs.asdict(d) for d in self.redis_differs]}


async def audit(parts: Parts, group: str, *, wait_s: float, settle_s: float, progress: Progress) -> AuditReport:
    """Look at everything. `group` is intake's consumer group; `wait_s` is how long it may take to catch up.

    Raises `Unavailable` when a store does not answer.
    """
    report = AuditReport()
    brokers = access(parts.settings)
    read_to = await _caught_up(parts, group, report, wait_s=wait_s, progress=progress)
    evidence = await Evidence.open(parts.settings.postgres_dsn, timeout_s=900)
    try:
        await _gather_submissions(brokers, read_to, evidence, progress)
        await _set_reviewed_aside(brokers, evidence, report)
        await _gather_dead_letters(brokers, evidence, report, progress)
        report.reports_dead_lettered = await _count(brokers, REPORTED_DLQ.name)
        await _gather_announcements(brokers, evidence, progress)
        await _settled(parts, evidence, report, settle_s=settle_s, progress=progress)
    finally:
        await evidence.close()
    report.balanced = not any(report.faults().values())
    return report


async def _caught_up(parts: Parts, group: str, report: AuditReport, *, wait_s: float, progress: Progress) -> Positions:
    """Where intake has committed, once it has caught up or the wait is over."""
    brokers, deadline = access(parts.settings), monotonic() + wait_s
    while True:
        report.waiting, done = await lag(brokers, group, SUBMITTED.name)
        report.under_review, _ = await lag(brokers, DECIDED_GROUP, REVIEW.name)
        if report.waiting + report.under_review == 0 or monotonic() > deadline:
            return done
        progress(f"{report.waiting:,} submissions wait for intake, {report.under_review:,} under review")
        await asyncio.sleep(LOOK_AGAIN_S)


async def _gather_submissions(brokers: Brokers, read_to: Positions, evidence: Evidence, progress: Progress) -> None:
    decoder, seen = MessageDecoder(Submission), 0
    reader = await TopicReader.open(brokers, SUBMITTED.name, start="beginning")
    try:
        async for partition, records in reader.until_end():
            good, bad = [], []
            for record in records:
                if record.offset >= read_to.get(partition, 0):
                    continue
                found = decoder.decode(record.value)
                if isinstance(found, Undecodable) or isinstance(intent(found, None, 0, 0), Undecodable):
                    bad.append((record.offset, partition))
                else:
                    good.append((record.offset, partition, found.channel, found.submission_id))
            await evidence.add("read_submissions", good)
            await evidence.add("bad_records", bad)
            seen += len(records)
            progress(f"{seen:,} submissions read again")
    finally:
        await reader.close()


async def _set_reviewed_aside(brokers: Brokers, evidence: Evidence, report: AuditReport) -> None:
    """Take those under review out of the evidence. Read after the submissions: what intake committed stands there."""
    decided = await committed(brokers, DECIDED_GROUP, REVIEW.name)
    reader = await TopicReader.open(brokers, REVIEW.name, start="beginning")
    try:
        async for partition, records in reader.until_end():
            first = decided.get(partition, 0)
            reviews = [read_review(record) for record in records if record.offset >= first]
            await evidence.add("reviewed", [(r.offset, r.partition) for r in reviews if r is not None])
    finally:
        await reader.close()
    report.under_review = await evidence.set_aside()


async def _gather_dead_letters(brokers: Brokers, evidence: Evidence, report: AuditReport, progress: Progress) -> None:
    reader = await TopicReader.open(brokers, SUBMITTED_DLQ.name, start="beginning")
    try:
        async for _, records in reader.until_end():
            letters = [letter for r in records if (letter := read_letter(r)) is not None]
            await evidence.add("buried_records", {(letter.offset, letter.partition) for letter in letters})
            report.dead_lettered += len(letters)
            progress(f"{report.dead_lettered:,} dead letters read again")
    finally:
        await reader.close()


async def _count(brokers: Brokers, topic: str) -> int:
    reader = await TopicReader.open(brokers, topic, start="beginning")
    try:
        return sum([len(records) async for _, records in reader.until_end()])
    finally:
        await reader.close()


async def _gather_announcements(brokers: Brokers, evidence: Evidence, progress: Progress) -> None:
    decode, seen = msgspec.json.Decoder(_Announced).decode, 0
    reader = await TopicReader.open(brokers, DECIDED.name, start="beginning")
    try:
        async for _, records in reader.until_end():
            rows = []
            for record in records:
                try:
                    a = decode(record.value or b"")
                except msgspec.DecodeError:
                    continue  # not ours: we announce nothing that we cannot read
                conflict = a.reason is Reason.CONFLICTING_REPEAT
                rows.append((a.order_id, a.outcome is Outcome.ACCEPTED, conflict, a.channel, a.submission_id))
            await evidence.add("announced", rows)
            seen += len(rows)
            progress(f"{seen:,} announcements read again")
    finally:
        await reader.close()


async def _settled(
    parts: Parts, evidence: Evidence, report: AuditReport, *, settle_s: float, progress: Progress
) -> None:
    """Compare, and look again at what differs: a decision may be in Redis and on its way to the ledger."""
    deadline = monotonic() + settle_s
    while True:
        progress("comparing the stock with the ledger")
        await _gather_holds(parts, evidence)
        await evidence.weigh()
        await _compare_pools(parts, evidence, report)
        for name in FINDINGS:
            _note(report, name, await evidence.find(name))
        if not any(report.faults().values()) or monotonic() > deadline:
            break
        await asyncio.sleep(LOOK_AGAIN_S)
    report.unsettled = await parts.stock.unsettled()
    report.submissions = await evidence.count("submissions")
    report.decisions = await evidence.count("decisions")


def _note(report: AuditReport, name: str, finding: Finding) -> None:
    if name == "unburied":  # a bad record without a dead letter is a submission lost, like one without a decision
        report.missing += finding.count
        report.examples["missing"] = (*report.examples.get("missing", ()), *finding.examples)
    else:
        setattr(report, name, finding.count)
        report.examples[name] = finding.examples
    report.examples = {name: examples for name, examples in report.examples.items() if examples}


async def _gather_holds(parts: Parts, evidence: Evidence) -> None:
    await evidence.forget("stock_holds")
    rows: list[tuple[int, UUID]] = []
    async for hold in parts.stock.holds():
        rows.append((hold.due_ms, UUID(bytes=hold.order_id)))
        if len(rows) >= HOLDS_SLICE:
            await evidence.add("stock_holds", rows)
            rows = []
    await evidence.add("stock_holds", rows)


async def _compare_pools(parts: Parts, evidence: Evidence, report: AuditReport) -> None:
    """Redis against ledger by pool; the ledger against what was received by SKU. Memory grows with SKUs."""
    shelves = {(p.sku, p.pool): (p.free, p.held, p.sold) async for p in parts.stock.pools()}
    totals: dict[str, int] = defaultdict(int)
    by_kind: dict[str, dict[str, int]] = defaultdict(lambda: {"free": 0, "held": 0, "sold": 0})
    differences = []
    report.oversold = 0
    async for balance in parts.ledger.balances():
        booked = (balance.free, balance.held, balance.sold)
        found = shelves.pop((balance.sku, balance.pool), (0, 0, 0))
        if found != booked:
            differences.append(Difference(balance.sku, balance.pool, found, booked))
        report.oversold += max(0, -balance.free) + max(0, -found[0])
        totals[balance.sku] += sum(booked)
        _sum_up(by_kind[balance.pool], balance)
    for (sku, pool), found in shelves.items():
        if found != (0, 0, 0):
            differences.append(Difference(sku, pool, found, (0, 0, 0)))
    received = await evidence.received()
    report.unbalanced_skus = sum(totals.get(sku, 0) != received.get(sku, 0) for sku in totals.keys() | received.keys())
    report.pools = dict(by_kind)
    report.redis_differs_count = len(differences)
    report.redis_differs = differences[:10]


def _sum_up(into: dict[str, int], balance: Balance) -> None:
    into["free"] += balance.free
    into["held"] += balance.held
    into["sold"] += balance.sold
