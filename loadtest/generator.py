"""The generator, a process of its own: produces a plan's records on a fixed schedule, whatever comes back.

Open model: each record is meant for a time of the schedule and carries it as `submitted_at`, so a queue anywhere shows
in the latency that is measured from it. When the schedule could not be kept, the report says by how much. Without a
rate it sends as fast as Kafka acknowledges, and the intended time is that of sending.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import uvloop

from loadtest import planfile
from loadtest.plan import TAIL, Kind
from loadtest.planfile import Row
from loadtest.schedule import Schedule
from loadtest.sender import Sender
from streams.instants import to_datetime
from streams.settings import load
from streams.stores.kafka_access import access
from streams.topics import SUBMITTED

TICK_S = 0.02
LEAD_S = 0.2
TELL_S = 0.2
SLOT_MS = 100
"""Counts over time are kept in slots of so many milliseconds since 1970."""
MAX_UNACKNOWLEDGED = 50_000
"""Records handed to Kafka and not acknowledged; beyond that the schedule waits, and the report says so."""
MAX_UNACKNOWLEDGED_UNPACED = 10_000
"""The same without a rate: the only bound there is."""
UNPACED_ROWS = 1_000
"""Without a rate, so many records share one time of sending."""


class GeneratorReport(msgspec.Struct):
    """What was sent. Times in milliseconds since 1970; lateness is how far behind its time a record was handed over.

    `sent_by_slot` counts the records that are due an answer, in the slots in which they were handed over.
    """

    sent: int
    started_at_ms: int
    ended_at_ms: int
    late_ms_max: float
    sent_by_slot: dict[int, int] = {}


class _Rows:
    """Takes records from a plan's frames in runs of any length."""

    def __init__(self, frames: Iterator[list[Row]]) -> None:
        self._frames = frames
        self._frame: list[Row] = []
        self._at = 0

    def take(self, count: int) -> list[Row]:
        """The next records, fewer than asked for at the end."""
        end = self._at + count
        while end > len(self._frame) and (frame := next(self._frames, None)) is not None:
            self._frame = self._frame[self._at :] + frame
            self._at, end = 0, count
        rows = self._frame[self._at : end]
        self._at += len(rows)
        return rows


def tell_sent(sent: int) -> None:
    """Say on standard output how far it is."""
    print(json.dumps({"sent": sent}), flush=True)


def no_bound() -> int:
    """Room for as many records as there are."""
    return UNPACED_ROWS


class Generator:
    """Sends the records of a plan, so many in all."""

    def __init__(
        self, frames: Iterator[list[Row]], total: int, sender: Sender, *, tell: Callable[[int], object] = tell_sent
    ) -> None:
        self._rows = _Rows(frames)
        self._total = total
        self._sender = sender
        self._by_slot: Counter[int] = Counter()
        self._tell_sent = tell
        self._told_at = 0.0
        self.sent = 0
        self.late_ms_max = 0.0

    async def run(
        self, schedule: Schedule | None, *, started_at_ms: int | None = None, room: Callable[[], int] = no_bound
    ) -> GeneratorReport:
        """Send all by the schedule or, without one, as fast as Kafka takes them and there is `room` for more.

        `started_at_ms` is when the schedule begins, in milliseconds since 1970; by default in a moment.
        """
        if started_at_ms is None:
            started_at_ms = time.time_ns() // 1_000_000 + int(LEAD_S * 1000)
        if schedule is None:
            await asyncio.sleep(max(0.0, started_at_ms / 1000 - time.time()))
            await self._unpaced(room)
        else:
            await self._paced(started_at_ms, schedule)
        ended_at_ms = time.time_ns() // 1_000_000
        await self._sender.wait_below(1)
        return GeneratorReport(self.sent, started_at_ms, ended_at_ms, round(self.late_ms_max, 1), dict(self._by_slot))

    def stop(self) -> None:
        """Send no more; `run` returns when what was sent is acknowledged."""
        self._total = self.sent

    async def _paced(self, started_at_ms: int, schedule: Schedule) -> None:
        while self.sent < self._total:
            now_ms = time.time_ns() / 1e6
            due = min(self._total, schedule.before(now_ms - started_at_ms))
            if due > self.sent and self._sender.unacknowledged < MAX_UNACKNOWLEDGED:
                self.late_ms_max = max(self.late_ms_max, now_ms - started_at_ms - schedule.at_ms(self.sent))
                # In runs that are meant for the same millisecond, and share its text.
                while self.sent < due:
                    intended_ms = int(schedule.at_ms(self.sent))
                    upto = max(self.sent + 1, schedule.before(intended_ms + 1))
                    self._put(min(due, upto) - self.sent, started_at_ms + intended_ms, now_ms)
            self._sender.flush()
            self._tell()
            await asyncio.sleep(TICK_S)

    async def _unpaced(self, room: Callable[[], int]) -> None:
        while self.sent < self._total:
            now_ms = time.time_ns() // 1_000_000
            if room() >= UNPACED_ROWS:
                self._put(min(UNPACED_ROWS, self._total - self.sent), now_ms, now_ms)
            self._sender.flush()
            self._tell()
            await asyncio.sleep(0 if room() >= UNPACED_ROWS else TICK_S / 4)
            await self._sender.wait_below(MAX_UNACKNOWLEDGED_UNPACED)

    def _put(self, count: int, intended_ms: int, now_ms: float) -> None:
        rows = self._rows.take(count)
        assert len(rows) == count, "the plan's file has fewer records than was said"
        tail = to_datetime(intended_ms).isoformat(timespec="milliseconds").encode() + TAIL
        malformed = self._sender.put(rows, Kind.MALFORMED, intended_ms, tail)
        self._by_slot[int(now_ms) // SLOT_MS] += count - malformed
        self.sent += count

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at > TELL_S:
            self._told_at = now
            self._tell_sent(self.sent)


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path)
    parser.add_argument("--total", type=int, required=True)
    parser.add_argument("--rate", type=float)
    args = parser.parse_args()
    sender = await Sender.connect(access(load()), SUBMITTED.name)
    try:
        generator = Generator(planfile.read(args.records), args.total, sender)
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        print(json.dumps({"ready": args.total}), flush=True)
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(None, sys.stdin.readline):
            return  # whoever started us is gone
        report = await generator.run(None if args.rate is None else Schedule.steady(args.rate, args.total))
        print(json.dumps({"report": msgspec.to_builtins(report, str_keys=True)}), flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)  # to be measured to the end of the surge
    finally:
        await sender.close()


if __name__ == "__main__":
    uvloop.run(_main())
