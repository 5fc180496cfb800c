"""A scripted week on a running pipeline: each order has a twin, one series reported in good order, one as it comes."""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice
from time import monotonic
from typing import NamedTuple
from uuid import UUID

import msgspec

from agents.roles import group
from loadtest.processes import Cost, Meter, Roots
from loadtest.surge import Show, balance
from loadtest.week import Heard, Placed, as_it_comes, clean, place
from loadtest.week_books import messages_of, positions_of
from loadtest.week_delay import delays
from loadtest.week_facts import stands, told
from loadtest.week_outcome import SeriesReport, WeekReport
from streams.errors import Unavailable
from streams.instants import to_datetime
from streams.messages import Decision, Outcome
from streams.parts import Parts
from streams.receiving import receive
from streams.reports import UNKNOWN_CODE
from streams.retry import until_available
from streams.stores.kafka_access import access
from streams.stores.log import Entry
from streams.stores.partitioner import partition_of
from streams.stores.reader_kafka import TopicReader, lag
from streams.topics import CHANGED, DECIDED, NOTIFICATIONS, PICKLISTS, REPORTED, REPORTED_DLQ, SOURCE_HEADER, SUBMITTED

SLICE = 2_000
STALLED_S = 60.0
"""Nothing new for so long means that nothing more will come."""
LOOK_S = 0.5
MOST_WAITING = 1_000_000

_encode = msgspec.json.Encoder().encode


class Series(NamedTuple):
    """One of the two: its orders, their ids by submission, and their numbers by id."""

    placed: Sequence[Placed]
    ids: Mapping[str, UUID]
    numbers: Mapping[UUID, int]


class Sent(NamedTuple):
    """What was sent of a series: each message with the time in ms at which it was handed over, and what it cost."""

    messages: list[tuple[Heard, int]]
    seconds: float
    costs: Mapping[str, Cost]

    def report(self) -> SeriesReport:
        """In figures."""
        count = max(1, len(self.messages))
        costs = {role: round(cost.cpu_us / count, 1) for role, cost in self.costs.items()}
        return SeriesReport(len(self.messages), round(self.seconds, 1), round(count / self.seconds, 1), costs)


async def week(
    parts: Parts, orders: int, *, seed: int, rate_per_s: float, roles: Mapping[str, Roots], show: Show
) -> WeekReport:
    """Place all orders twice, report one series in order and the other as it comes, and compare.

    The series in order goes as fast as it is taken, and tells what a report costs; the one that comes as it comes is
    sent at `rate_per_s`, and tells how long states take. Raises `Unavailable` when nothing moves for a minute.
    """
    began, first = monotonic(), int(time.time()) % 400_000_000 * 2
    tidy = await _placed(parts, place(orders, seed, first), show)
    messy = await _placed(parts, place(orders, seed, first + 1), show)
    in_order = await _sent(parts, clean(tidy.placed, tidy.ids, seed), None, roles, show)
    comes, unknown = as_it_comes(clean(messy.placed, messy.ids, seed), seed)
    as_it_came = await _sent(parts, comes, rate_per_s, roles, show)
    report = WeekReport(orders, seed, rate_per_s, in_order.report(), as_it_came.report(), unknown_codes=unknown)
    await _note_waiting(parts, messy, report)
    await _compare(parts, tidy, messy, as_it_came.messages, report, show)
    report.books = await balance(parts, show)
    report.seconds = round(monotonic() - began, 1)
    return report


async def _placed(parts: Parts, placed: Sequence[Placed], show: Show) -> Series:
    """Submit orders and wait for their decisions; all must be accepted."""
    units: Counter[str] = Counter()
    for one in placed:
        for line in one.submission.lines:
            units[line.sku] += line.qty
    await receive(parts, f"week-{placed[0].submission.submission_id}", units.items())
    reader = await TopicReader.open(access(parts.settings), DECIDED.name, start="end")
    try:
        sending = asyncio.create_task(_submit(parts, placed))
        ids = await _decided(reader, {one.submission.submission_id for one in placed}, show)
        await sending
    finally:
        await reader.close()
    return Series(placed, ids, {ids[one.submission.submission_id]: one.number for one in placed})


async def _submit(parts: Parts, placed: Sequence[Placed]) -> None:
    count, rest = await parts.log.partitions(SUBMITTED.name), iter(placed)
    while some := list(islice(rest, SLICE)):
        entries: dict[int, list[Entry]] = defaultdict(list)
        for one in some:
            key = f"{one.submission.channel}:{one.submission.submission_id}".encode()
            entries[partition_of(key, count)].append(Entry(key, _encode(one.submission), _now_ms()))
        await _append(parts, SUBMITTED.name, entries)


async def _decided(reader: TopicReader, wanted: set[str], show: Show) -> dict[str, UUID]:
    ids: dict[str, UUID] = {}
    decode, heard_at = msgspec.json.Decoder(Decision).decode, monotonic()
    while len(ids) < len(wanted):
        for records in (await reader.next()).values():
            for record in records:
                decision = decode(record.value or b"")
                if decision.submission_id in wanted:
                    assert decision.outcome is Outcome.ACCEPTED, f"{decision} though there was stock for all"
                    ids[decision.submission_id] = decision.order_id
                    heard_at = monotonic()
        show("orders decided", len(ids), len(wanted))
        if monotonic() - heard_at > STALLED_S:
            raise Unavailable(f"{len(wanted) - len(ids):,} orders were not decided; do intake workers run?")
    return ids


async def _sent(
    parts: Parts, heard: Sequence[Heard], rate_per_s: float | None, roles: Mapping[str, Roots], show: Show
) -> Sent:
    """Send messages and wait until all were taken. In order (no rate) an order's share a partition, else a source's."""
    count, began = await parts.log.partitions(REPORTED.name), monotonic()
    sent: list[tuple[Heard, int]] = []
    what = "reported in order" if rate_per_s is None else "reported as it comes"
    async with _metered(roles) as meter:
        while len(sent) < len(heard):
            due = len(heard) if rate_per_s is None else int((monotonic() - began) * rate_per_s)
            some = heard[len(sent) : min(due, len(sent) + SLICE)]
            if not some:
                await asyncio.sleep(0.02)
                continue
            now_ms = _now_ms()
            entries: dict[int, list[Entry]] = defaultdict(list)
            for one in some:
                key = (f"{one.order}" if rate_per_s is None else f"{one.source}:{one.order}").encode()
                headers = (*one.headers, (SOURCE_HEADER, one.source.encode()))
                entries[partition_of(key, count)].append(Entry(key, one.value, now_ms, headers))
            await _append(parts, REPORTED.name, entries)
            sent += [(one, now_ms) for one in some]
            show(f"{what}, sent", len(sent), len(heard))
        await _taken(parts, what, len(heard), show)
        seconds = monotonic() - began
    await _no_longer_waiting(parts, show)
    return Sent(sent, seconds, meter.costs())


async def _append(parts: Parts, topic: str, entries: Mapping[int, Sequence[Entry]]) -> None:
    """Hand records to Kafka; what is not confirmed is sent again, as every source would."""

    async def append(partition: int, some: Sequence[Entry]) -> None:
        max_delay_s = parts.settings.retry_max_delay_s
        await until_available("send", lambda: parts.log.append(topic, partition, some), max_delay_s=max_delay_s)

    await asyncio.gather(*(append(partition, some) for partition, some in entries.items()))


async def _taken(parts: Parts, what: str, total: int, show: Show) -> None:
    """Wait until the lifecycle workers have committed all that was sent."""
    left, moved_at = -1, monotonic()
    while left:
        waiting, _ = await lag(access(parts.settings), group("lifecycle"), REPORTED.name)
        if waiting != left:
            left, moved_at = waiting, monotonic()
        show(f"{what}, taken", max(0, total - left), total)
        if monotonic() - moved_at > STALLED_S:
            raise Unavailable(f"{left:,} reports were not taken; do lifecycle workers run?")
        await asyncio.sleep(LOOK_S)


async def _no_longer_waiting(parts: Parts, show: Show) -> None:
    """Wait until nothing waits in quarantine any more that could be taken."""
    deadline = monotonic() + STALLED_S
    while left := len(await parts.ledger.resolvable(1_000)):
        show("taking what waited for its parcel", left, 0)
        if monotonic() > deadline:
            raise Unavailable("Records wait in quarantine that could be taken; do lifecycle workers run?")
        await asyncio.sleep(LOOK_S)
    while (await parts.ledger.unsaid(to_datetime(parts.clock.now_ms()), 1))[1]:
        if monotonic() > deadline:
            raise Unavailable("Messages stand in the outbox; do lifecycle workers run?")
        await asyncio.sleep(LOOK_S)


async def _note_waiting(parts: Parts, messy: Series, report: WeekReport) -> None:
    """What waits for a person: nothing but what the script made unknown, with a ticket for each code."""
    waiting = await parts.ledger.quarantined(None, MOST_WAITING)
    report.waiting = dict(Counter(record.reason for record in waiting))
    orders = {msgspec.json.decode(record.value).get("tid") for record in waiting if record.reason == UNKNOWN_CODE}
    mine = {one.submission.channel_order_no for one in messy.placed}
    report.manual_orders = len(orders & mine)
    report.tickets = len(await parts.ledger.tickets())
    if others := {reason: count for reason, count in report.waiting.items() if reason != UNKNOWN_CODE}:
        report.unexpected.append(f"{others} still waits")
    dead, _ = await messages_of(parts.settings, [REPORTED_DLQ.name])
    if dead:
        report.unexpected.append(f"{len(dead)} reports are dead letters")


async def _compare(
    parts: Parts, tidy: Series, messy: Series, sent: list[tuple[Heard, int]], report: WeekReport, show: Show
) -> None:
    show("comparing twins", 0, 0)
    found = await positions_of(parts.settings, [*tidy.numbers, *messy.numbers])
    in_order = {number: stands(found[order_id]) for order_id, number in tidy.numbers.items()}
    as_it_came = {number: stands(found[order_id]) for order_id, number in messy.numbers.items()}
    for number, stood in in_order.items():
        twin = as_it_came[number]
        for kind, one, other in zip(("stock state", "axes", "milestones"), stood, twin, strict=True):
            if one != other:
                report.note(kind, f"order {number}: {one} in order, {other} as it came")
    report.statuses = dict(Counter(stood.axes[-1] for stood in as_it_came.values()))
    await _compare_stock(parts, tidy, messy, report)
    topics = (CHANGED.name, NOTIFICATIONS.name, PICKLISTS.name)
    ids, changes = await messages_of(parts.settings, topics)
    tidily, messily = told(ids, tidy.numbers), told(ids, messy.numbers)
    for kind, one, other in (
        ("what was told", tidily.facts, messily.facts),
        ("pick lists", tidily.picks, messily.picks),
    ):
        for difference in sorted(one ^ other):
            report.note(kind, f"{difference} only {'in order' if difference in one else 'as it came'}")
    report.told = dict(messily.counts)
    report.told_again = tidily.repeated + messily.repeated
    report.state_delay_s = delays(changes, sent, messy.numbers)
    show("comparing twins", len(in_order), len(in_order))


async def _compare_stock(parts: Parts, tidy: Series, messy: Series, report: WeekReport) -> None:
    """Unit by unit: each SKU of a series has its twin."""
    shelves: list[dict[tuple[str, str], tuple[int, int, int]]] = []
    for series in (tidy, messy):
        skus = {line.sku for one in series.placed for line in one.submission.lines}
        shelves.append(
            {
                (pool.sku.partition("-")[2], pool.pool): (pool.free, pool.held, pool.sold)
                async for pool in parts.stock.pools(sorted(skus))
            }
        )
    for shelf in sorted(shelves[0].keys() | shelves[1].keys()):
        one, other = shelves[0].get(shelf), shelves[1].get(shelf)
        if one != other:
            report.note("stock", f"{shelf}: (free, held, sold) {one} in order, {other} as it came")


@contextlib.asynccontextmanager
async def _metered(roles: Mapping[str, Roots]) -> AsyncIterator[Meter]:
    meter = Meter(roles)
    meter.start()

    async def look() -> None:
        while True:
            await asyncio.sleep(1.0)
            meter.look()

    looking = asyncio.create_task(look())
    try:
        yield meter
    finally:
        looking.cancel()
        meter.look()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
