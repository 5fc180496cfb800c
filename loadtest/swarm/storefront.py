"""A storefront, a process of its own beside each of Locust's: submits its share of the orders and sees them decided.

Locust's processes run on gevent, which replaces the sockets and threads that asyncio stands on; so Kafka's clients live
here, on a loop of their own, and Locust hears four times a second what has happened (decision 0032). It is told on
standard input when to start, and by the end of that to go.
"""

import asyncio
import contextlib
import gc
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import uvloop

from loadtest.generator import Generator, GeneratorReport
from loadtest.outcome import outcome
from loadtest.plan import Plan, id_prefix
from loadtest.planfile import Row
from loadtest.sender import Sender
from loadtest.swarm.deadlines import Deadlines
from loadtest.swarm.words import BEAT_S, Beat, Ended, Share, plain, share_from
from loadtest.tally import Tally
from streams.errors import FloodwayError
from streams.settings import load
from streams.stores.kafka_access import access
from streams.stores.reader_kafka import TopicReader
from streams.topics import DECIDED, SUBMITTED

LOOK_S = 0.1
CHUNK_RECORDS = 2_000
FRAME_ROWS = 250
"""Records are made as they are needed, so many at a time: a millisecond's work."""
LINGER_S = 1.0
"""So long decisions are still listened for when all have come: more would be repeats."""
LEAP_MS = 1_000.0


class Storefront:
    """One share at work."""

    def __init__(self, share: Share, plan: Plan, sender: Sender | None, reader: TopicReader) -> None:
        self._share, self._plan, self._sender, self._reader = share, plan, sender, reader
        self._tally = Tally(share.run, plan.sends, late_after_ms=share.timeout_s * 1000)
        self._ours = id_prefix(share.run).encode()
        self._schedule = share.schedule
        self._leaps_ms = [s * 1000 for s in self._schedule.jumps_s()] if self._schedule else []
        self._generator = Generator(_frames(plan), plan.total, sender, tell=_say_nothing) if sender else None
        self._started_at_ms = 0
        self._counted = 0  # decisions that are in a beat
        self._told_sent = 0
        self._told_outcomes: Counter[str] = Counter()
        self._decided: Counter[int] = Counter()
        self._leapt: Counter[int] = Counter()
        self._marks: list[tuple[float, int]] = []  # without a schedule: when how many had been sent
        self._deadlines = Deadlines(self._meant_before, self._tally.is_due, share.timeout_s * 1000)
        self._trouble = ""
        self._stopped, self._submitted = False, 0
        self._told_to_stop = asyncio.Event()
        self._began_cpu_s = 0.0

    async def run(self, started_at_ms: int, told_to_stop: "asyncio.Task[str]") -> Ended:
        """Submit and look, from this moment on, until all is decided or has timed out; beats go to standard output."""
        self._started_at_ms, self._began_cpu_s = started_at_ms, time.process_time()
        sending = asyncio.create_task(self._send())
        next_beat_ms = started_at_ms + BEAT_S * 1000
        complete_at: float | None = None
        while complete_at is None or time.monotonic() - complete_at < LINGER_S:
            await self._look(until_ms=next_beat_ms)
            now_ms = time.time_ns() / 1e6
            if now_ms >= next_beat_ms:
                # Of the second in which most of it happened, also when a beat comes late.
                self._beat(now_ms, int((next_beat_ms - started_at_ms - BEAT_S * 500) // 1000))
                next_beat_ms += BEAT_S * 1000 * max(1, (now_ms - next_beat_ms) // (BEAT_S * 1000))
            if told_to_stop.done() and not self._stopped:
                self._stop(int(told_to_stop.result() or 0))
            if self._generator is not None and self._schedule is None and self._is_too_late(now_ms):
                self._generator.stop()  # those on their way will not be decided, and there is no room for others
            if complete_at is None and sending.done() and self._is_over(now_ms):
                complete_at = time.monotonic()
        now_ms = time.time_ns() / 1e6
        self._beat(now_ms, int((now_ms - started_at_ms) // 1000))
        return self._ended(await sending)

    async def _send(self) -> GeneratorReport:
        if self._generator is None:
            # Others submit; when the last is due to have been sent, nothing more comes from us.
            assert self._schedule is not None, "without a rate, who submits decides when"
            left_s = self._started_at_ms / 1000 + self._schedule.seconds - time.time()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_stop.wait(), left_s)
            return GeneratorReport(self._sent(), self._started_at_ms, int(time.time() * 1000), 0.0)
        try:
            return await self._generator.run(self._schedule, started_at_ms=self._started_at_ms, room=self._room)
        except FloodwayError as error:
            self._trouble = str(error)
            now_ms = time.time_ns() // 1_000_000
            return GeneratorReport(self._generator.sent, self._started_at_ms, now_ms, self._generator.late_ms_max)

    def _room(self) -> int:
        assert self._generator is not None
        return self._share.window - (self._generator.sent - self._tally.decided)

    def _sent(self) -> int:
        if self._generator is not None:
            return self._generator.sent
        if self._stopped:
            return self._submitted
        assert self._schedule is not None
        return self._schedule.before(time.time_ns() / 1e6 - self._started_at_ms)

    def _stop(self, submitted: int) -> None:
        """Submit no more; others say how many they have submitted, where they do."""
        self._stopped, self._submitted = True, submitted
        self._mark(time.time_ns() / 1e6)
        self._told_to_stop.set()
        if self._generator is not None:
            self._generator.stop()

    def _is_over(self, now_ms: float) -> bool:
        """Whether no order waits for a decision, or none may wait any longer."""
        if self._tally.left == 0 or (self._stopped and self._tally.left <= self._plan.total - self._sent()):
            return True
        return self._is_too_late(now_ms - BEAT_S * 2000)

    def _is_too_late(self, now_ms: float) -> bool:
        """Whether the last order that was, or is to be, submitted has timed out."""
        if self._schedule is not None and not self._stopped:
            last_ms = self._schedule.seconds * 1000
        else:
            last_ms = self._marks[-1][0] if self._marks else 0.0
        return now_ms - self._started_at_ms > last_ms + self._share.timeout_s * 1000

    def _mark(self, now_ms: float) -> None:
        """Note when how many had been sent, where no schedule tells."""
        sent = self._sent()
        if not self._marks or sent > self._marks[-1][1]:
            self._marks.append((now_ms - self._started_at_ms, sent))

    def _meant_before(self, ms: float) -> int:
        if self._schedule is not None:
            return self._schedule.before(ms)
        return max((sent for at_ms, sent in self._marks if at_ms < ms), default=0)

    async def _look(self, *, until_ms: float) -> None:
        left_s = min(LOOK_S, max(0.001, until_ms / 1000 - time.time()))
        arrived = await self._reader.next(timeout_s=left_s, max_records=CHUNK_RECORDS)
        if not arrived:
            return
        now_ms = time.time_ns() / 1e6
        ours = self._ours if self._share.of > 1 else b""  # others' decisions need not be decoded
        for records in arrived.values():
            self._tally.add([r.value for r in records if r.value is not None and ours in r.value], now_ms)
        latencies = self._tally.latencies_ms(self._counted)
        self._counted = self._tally.decided
        timeout_ms = self._share.timeout_s * 1000
        in_time = latencies if not self._tally.late else [ms for ms in latencies if ms <= timeout_ms]
        self._decided.update(map(int, in_time))
        for leap_ms in self._leaps_ms:
            begin = now_ms - self._started_at_ms - leap_ms  # latency of an order meant for the leap itself
            if begin >= 0 and in_time and max(in_time) >= begin - LEAP_MS:
                self._leapt.update(int(ms) for ms in in_time if begin - LEAP_MS < ms <= begin)

    def _beat(self, now_ms: float, at_s: int) -> None:
        sent, outcomes = self._sent(), self._tally.outcomes()
        if self._schedule is None:
            self._mark(now_ms)
        limit = sent if self._stopped or self._schedule is None else self._plan.total
        timed_out = self._deadlines.pass_to(now_ms - self._started_at_ms, self._tally.late, of=limit)
        self._tally.late.clear()
        beat = Beat(
            at_s=max(0, at_s),
            sent=sent - self._told_sent,
            produced=dict(self._sender.acknowledged_after_ms) if self._sender else {},
            decided=dict(self._decided),
            leapt=dict(self._leapt),
            outcomes=dict(outcomes - self._told_outcomes),
            timed_out=timed_out,
        )
        if self._trouble and self._sender is not None:
            beat.unproduced, beat.why = self._sender.unacknowledged, self._trouble
            self._trouble = ""
        self._told_sent, self._told_outcomes = sent, outcomes
        self._decided.clear()
        self._leapt.clear()
        if self._sender is not None:
            self._sender.acknowledged_after_ms.clear()
        _say("beat", beat)

    def _ended(self, sent: GeneratorReport) -> Ended:
        tally = self._tally.report(self._started_at_ms)
        found = outcome(self._plan, tally, sent, 0)
        partly = self._stopped or sent.sent < self._plan.total
        return Ended(
            index=self._share.index,
            sent=sent.sent,
            decided=tally.decided,
            started_at_ms=self._started_at_ms,
            last_at_ms=int(tally.last_at_ms),
            late_ms_max=sent.late_ms_max,
            missing=max(0, tally.missing - (self._plan.total - sent.sent)),
            repeated=tally.repeated,
            unexpected=[] if partly else found.unexpected,
            cpu_us_per_order=round((time.process_time() - self._began_cpu_s) * 1e6 / max(1, sent.sent), 2),
            stopped=self._stopped,
        )


def _frames(plan: Plan) -> Iterator[list[Row]]:
    rows = iter(plan.records)
    while frame := list(islice(rows, FRAME_ROWS)):
        yield [tuple(row) for row in frame]  # type: ignore[misc]  # a Planned is four values


def _say(what: str, value: object) -> None:
    print(json.dumps({what: plain(value)}), flush=True)


def _say_nothing(_: int) -> None:
    """The beats tell."""


def _told() -> "asyncio.Queue[str]":
    """Lines of standard input as they come, an empty one for its end. By a thread that nobody waits for at the end."""
    told, loop = asyncio.Queue[str](), asyncio.get_running_loop()

    def read() -> None:
        while line := sys.stdin.readline():
            loop.call_soon_threadsafe(told.put_nowait, line.strip())
        with contextlib.suppress(RuntimeError):  # the loop may be closed by then
            loop.call_soon_threadsafe(told.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    return told


async def _main() -> None:
    share = share_from(json.loads(sys.argv[1]))
    brokers = access(load())
    plan = share.plan()
    reader = await TopicReader.open(brokers, DECIDED.name, start="end")
    sender = await Sender.connect(brokers, SUBMITTED.name) if share.sends else None
    try:
        storefront = Storefront(share, plan, sender, reader)
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        told = _told()
        _say("ready", share.index)
        if started_at_ms := await told.get():  # else whoever started us is gone
            _say("ended", await storefront.run(int(started_at_ms), asyncio.create_task(told.get())))
    finally:
        await reader.close()
        if sender is not None:
            with contextlib.suppress(FloodwayError):
                await sender.close()


if __name__ == "__main__":
    uvloop.run(_main())
