"""The generator, a process of its own: produces a plan's records on a fixed schedule, whatever comes back.

Open model: record i is meant for `start + i / rate` and carries that time as `submitted_at`, so a queue anywhere shows
in the latency that is measured from it. When the schedule could not be kept, the report says by how much.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop

from loadtest.plan import Kind, Planned, finish
from streams.instants import to_datetime
from streams.stores.log import Entry, Log
from streams.stores.log_kafka import KafkaLog
from streams.topics import SUBMITTED

TICK_S = 0.01
LEAD_S = 0.2
MAX_WAITING = 50_000
"""Records handed to Kafka and not acknowledged; beyond that the schedule waits, and the report says so."""


class GeneratorReport(msgspec.Struct):
    """What was sent. Times in milliseconds since 1970; lateness is how far behind its time a record was handed over."""

    sent: int
    started_at_ms: int
    ended_at_ms: int
    late_ms_max: float


@dataclass(slots=True)
class Sender:
    """Keeps one ordered lane for each partition; what gathers while a request is under way goes with the next."""

    log: Log
    waiting: int = 0
    lanes: dict[int, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    busy: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    def send(self, partition: int, entry: Entry) -> None:
        """Queue a record."""
        self.lanes[partition].append(entry)
        self.waiting += 1

    def flush(self) -> None:
        """Start a request for each lane that has records and none under way."""
        for partition, entries in self.lanes.items():
            if entries and partition not in self.busy:
                self.busy[partition] = asyncio.create_task(self._drain(partition))

    async def done(self) -> None:
        """Wait until everything is acknowledged."""
        while self.busy:
            await asyncio.gather(*self.busy.values())

    async def _drain(self, partition: int) -> None:
        while entries := self.lanes[partition]:
            self.lanes[partition] = []
            await self.log.append(SUBMITTED.name, partition, entries)
            self.waiting -= len(entries)
        del self.busy[partition]


async def run(records: list[Planned], log: Log, *, rate_per_s: float) -> GeneratorReport:
    """Send all records at this rate."""
    sender = Sender(log)
    started_at_ms = time.time_ns() // 1_000_000 + int(LEAD_S * 1000)
    stamps: dict[int, bytes] = {}
    sent, late_ms_max, shown_at = 0, 0.0, time.monotonic()
    while sent < len(records):
        now_ms = time.time_ns() / 1e6
        due = min(len(records), int((now_ms - started_at_ms) / 1000 * rate_per_s))
        if due > sent and sender.waiting < MAX_WAITING:
            late_ms_max = max(late_ms_max, now_ms - (started_at_ms + sent / rate_per_s * 1000))
            for i in range(sent, due):
                record = records[i]
                intended_ms = started_at_ms + int(i * 1000 / rate_per_s)
                stamp = stamps.get(intended_ms)
                if stamp is None:
                    stamps = {intended_ms: to_datetime(intended_ms).isoformat(timespec="milliseconds").encode()}
                    stamp = stamps[intended_ms]
                value = record.head if record.kind is Kind.MALFORMED else finish(record.head, stamp)
                sender.send(record.partition, Entry(record.key, value, intended_ms))
            sent = due
            sender.flush()
        if time.monotonic() - shown_at > 0.2:
            shown_at = time.monotonic()
            print(json.dumps({"sent": sent}), flush=True)
        await asyncio.sleep(TICK_S)
    await sender.done()
    return GeneratorReport(sent, started_at_ms, time.time_ns() // 1_000_000, round(late_ms_max, 1))


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--rate", type=float, required=True)
    args = parser.parse_args()
    records = msgspec.msgpack.decode(args.plan.read_bytes(), type=list[Planned])
    log = await KafkaLog.connect(args.bootstrap)
    try:
        print(json.dumps({"ready": len(records)}), flush=True)
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(None, sys.stdin.readline):
            return  # whoever started us is gone
        report = await run(records, log, rate_per_s=args.rate)
        print(json.dumps({"report": msgspec.to_builtins(report)}), flush=True)
    finally:
        await log.close()


if __name__ == "__main__":
    uvloop.run(_main())
