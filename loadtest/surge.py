"""One rehearsed surge from plan to books: provide stock, produce, watch, pay, cancel, let expire, audit."""

import asyncio
import contextlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import msgspec

from agents.worker import group
from loadtest.generator import GeneratorReport
from loadtest.observer import Observer, Tally
from loadtest.plan import Kind, Plan
from streams.audit import AuditReport, audit
from streams.clock import SystemClock
from streams.core.stock import Promotion
from streams.errors import FloodwayError
from streams.instants import to_ms
from streams.messages import Report, ReportType
from streams.parts import Parts
from streams.promotions import open_promotion
from streams.receiving import receive
from streams.stores.log import Entry
from streams.stores.partitioner import partition_of
from streams.stores.reader_kafka import TopicReader
from streams.topics import CHANGED, DECIDED, REPORTED, SUBMITTED_DLQ

PAY, CANCEL = 0.50, 0.20
"""Shares of accepted orders that are paid and cancelled; the rest is left until its hold expires."""
STALLED_S = 30.0
"""Nothing new for so long means that nothing more will come."""
SOURCE = "demo"

Show = Callable[[str, int, int], object]
"""Told what is going on, how far it is, and of how much."""


@dataclass(slots=True)
class SurgeReport:
    """What went in, what came out, and whether the books balance."""

    submitted: int
    accepted: int
    rejected: dict[str, int]
    replayed: int
    conflicts: int
    dead_lettered: int
    orders_per_s: float
    latency_ms: dict[str, float]
    generator: GeneratorReport
    after: dict[str, int] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    books: AuditReport = field(default_factory=AuditReport)

    @property
    def passed(self) -> bool:
        """Whether all came out as planned and the books balance."""
        return self.books.balanced and not self.unexpected

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in {"books", "generator"}}
        return {**plain, "generator": msgspec.to_builtins(self.generator), "books": self.books.as_dict()}


async def provide(parts: Parts, plan: Plan, *, run: str, lasts_s: float, show: Show) -> None:
    """Put the plan's stock on the shelves and open its promotions."""
    show("stocking the shelves", 0, len(plan.stock))
    await receive(parts, f"surge{run}", plan.stock.items())
    show("stocking the shelves", len(plan.stock), len(plan.stock))
    now_ms = parts.clock.now_ms()
    for planned in plan.promotions:
        promotion = Promotion(
            planned.promotion_id, now_ms, now_ms + int(lasts_s * 1000), planned.buyer_limit, planned.quota
        )
        await open_promotion(parts, promotion)


async def surge(parts: Parts, plan: Plan, *, rate_per_s: float, show: Show) -> tuple[SurgeReport, list[str]]:
    """Produce the plan at this rate and watch until everything is answered; returns also the accepted orders' ids."""
    bootstrap = parts.settings.kafka_bootstrap
    show("submitted", 0, len(plan.records))
    answers = len(plan.records) - plan.kinds[Kind.MALFORMED]
    dead_before = await _ends(bootstrap, SUBMITTED_DLQ.name)
    reader = await TopicReader.open(bootstrap, DECIDED.name, start="end")
    observer = Observer(reader)
    try:
        async with _generator(plan, bootstrap, rate_per_s) as lines:
            produced = asyncio.create_task(_follow(lines, len(plan.records), show))
            await _watch(observer, answers, produced, show)
            generated = await produced
    finally:
        await reader.close()
    dead = await _dead_since(bootstrap, dead_before, plan)
    return _report(plan, observer.tally, generated, dead), observer.tally.accepted


async def aftermath(parts: Parts, accepted: list[str], *, timeout_s: float, show: Show) -> dict[str, int]:
    """Pay a share of the orders, cancel another, wait until the rest has expired; returns changes by kind."""
    reader = await TopicReader.open(parts.settings.kafka_bootstrap, CHANGED.name, start="end")
    try:
        await _send_reports(parts, accepted)
        changes: dict[str, str] = {}
        deadline = monotonic() + timeout_s
        decoder = msgspec.json.Decoder(_Changed)
        while len(changes) < len(accepted) and monotonic() < deadline:
            for records in (await reader.next()).values():
                for record in records:
                    changed = decoder.decode(record.value or b"")
                    changes[changed.order_id] = changed.change
            show("paying, cancelling, expiring", len(changes), len(accepted))
        return dict(Counter(changes.values()))
    finally:
        await reader.close()


async def balance(parts: Parts, show: Show) -> AuditReport:
    """Audit the books after the surge."""
    return await audit(
        parts, group("intake"), wait_s=15.0, settle_s=10.0, progress=lambda words: show(f"audit: {words}", 0, 0)
    )


class _Changed(msgspec.Struct, gc=False):
    order_id: str
    change: str


@contextlib.asynccontextmanager
async def _generator(plan: Plan, bootstrap: str, rate_per_s: float) -> AsyncIterator[asyncio.StreamReader]:
    """The generator's process, started and told to go; its standard output."""
    with tempfile.TemporaryDirectory(prefix="floodway-") as directory:
        file = Path(directory) / "plan.msgpack"
        file.write_bytes(msgspec.msgpack.encode(plan.records))
        argv = [sys.executable, "-m", "loadtest.generator", str(file), "--bootstrap", bootstrap]
        process = await asyncio.create_subprocess_exec(
            *argv, "--rate", str(rate_per_s), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ready = await process.stdout.readline()
            if not ready:
                raise FloodwayError(f"The generator ended with {await process.wait()} before it was ready.")
            process.stdin.write(b"go\n")
            await process.stdin.drain()
            yield process.stdout
        finally:
            process.stdin.close()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            await process.wait()


async def _follow(lines: asyncio.StreamReader, total: int, show: Show) -> GeneratorReport:
    async for line in lines:
        said = json.loads(line)
        if "report" in said:
            show("submitted", total, total)
            return msgspec.convert(said["report"], GeneratorReport)
        show("submitted", said["sent"], total)
    raise FloodwayError("The generator ended without a report.")


async def _watch(observer: Observer, answers: int, produced: "asyncio.Task[GeneratorReport]", show: Show) -> None:
    """Look until everything is answered, or nothing has come for long after everything was sent."""
    tally, heard_at, heard = observer.tally, monotonic(), 0
    while tally.decided < answers:
        await observer.look()
        show("decided", tally.decided, answers)
        if tally.decided > heard:
            heard, heard_at = tally.decided, monotonic()
        if produced.done():
            produced.result()
            if monotonic() - heard_at > STALLED_S:
                return


def _report(plan: Plan, tally: Tally, generated: GeneratorReport, dead_lettered: int) -> SurgeReport:
    p50, p99 = tally.latency_ms(0.5, 0.99)
    seconds = max(0.001, (tally.last_at_ms - generated.started_at_ms) / 1000)
    report = SurgeReport(
        submitted=generated.sent,
        accepted=len(tally.accepted),
        rejected=dict(tally.rejected.most_common()),
        replayed=tally.replayed,
        conflicts=tally.conflicts,
        dead_lettered=dead_lettered,
        orders_per_s=round(tally.decided / seconds, 1),
        latency_ms={"p50": p50, "p99": p99},
        generator=generated,
    )
    expected = {
        "decided": (tally.decided, len(plan.records) - plan.kinds[Kind.MALFORMED]),
        "replayed": (report.replayed, plan.kinds[Kind.REPEAT]),
        "conflicts": (report.conflicts, plan.kinds[Kind.CONFLICT]),
        "dead letters": (report.dead_lettered, plan.kinds[Kind.MALFORMED]),
        "units of the hot SKU": (tally.accepted_by_promotion[plan.flash_id], plan.flash_units),
    }
    report.unexpected = [f"{what}: {got}, planned {want}" for what, (got, want) in expected.items() if got != want]
    return report


async def _send_reports(parts: Parts, accepted: list[str]) -> None:
    """Report payments and cancellations, spread over the orders, as their systems would."""
    count = await parts.log.partitions(REPORTED.name)
    encode, now = msgspec.json.Encoder().encode, datetime.now(UTC)
    entries: dict[int, list[Entry]] = {partition: [] for partition in range(count)}
    for number, order_id in enumerate(accepted):
        share = number * 0.618_033_988_749 % 1  # evenly spread, and the same in every run
        if share >= PAY + CANCEL:
            continue
        kind = ReportType.PAYMENT_SUCCEEDED if share < PAY else ReportType.ORDER_CANCELLED
        message = Report(f"{kind.value}-{order_id}", SOURCE, kind, UUID(order_id), now)
        key = order_id.encode()
        entries[partition_of(key, count)].append(Entry(key, encode(message), to_ms(now)))
    await asyncio.gather(*(parts.log.append(REPORTED.name, p, some) for p, some in entries.items() if some))


async def _ends(bootstrap: str, topic: str) -> int:
    reader = await TopicReader.open(bootstrap, topic, start="end")
    await reader.close()
    return sum(reader.ends.values())


async def _dead_since(bootstrap: str, before: int, plan: Plan) -> int:
    """Dead letters since `before`; those of the last chunk may be a moment behind the last decision."""
    deadline = monotonic() + 5.0
    while (found := await _ends(bootstrap, SUBMITTED_DLQ.name) - before) < plan.kinds[Kind.MALFORMED]:
        if monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    return found


def run_name() -> str:
    """A suffix for ids that no earlier surge on the same servers has used."""
    return f"-{SystemClock().now_ms() // 1000:x}"
