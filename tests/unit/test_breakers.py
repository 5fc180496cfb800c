"""Breakers open on failures and on slowness, let few calls through to see, and hold intake back while they are open."""

import asyncio
import json
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from builders import NOW_MS, SETTINGS, Trouble, World, chunk, outages, submission, world
from hypothesis import given
from hypothesis import strategies as st

from agents.status import StatusFile
from agents.transport.watchdog import StallWatch, Standing
from loadtest.simulation.loop import SimulatedLoop
from streams.breakers import JITTER, PROBE_WAIT_S, Breaker, Breakers, guarded
from streams.clock import ManualClock
from streams.errors import BreakerOpen, Fenced, StockUnavailable, Unavailable
from streams.intake.pipeline import Intake
from streams.parts import Parts
from streams.retry import LATER, until_available
from streams.settings import Settings
from streams.waiting import BEAT_S, last_wait_s

TUNED = Settings(breaker_window_calls=6, breaker_min_calls=3, breaker_slow_s=1.0, breaker_open_s=10.0)
OPEN_AT_MOST_S = 10.0 * (1 + JITTER)


def loop_of() -> SimulatedLoop:
    """A loop on virtual time."""
    return SimulatedLoop(Random(7))  # type: ignore[abstract]  # what it lacks is I/O


class Server:
    """A dependency that takes its time, on a clock of its own; `calls` counts what got through to it."""

    def __init__(self, settings: Settings = TUNED) -> None:
        self.now_s, self.takes_s, self.calls = 0.0, 0.0, 0
        self.error: Exception | None = None
        self.breaker = Breaker("redis", settings, now_s=lambda: self.now_s)

    async def answer(self) -> str:
        """Answer, or fail, after a while."""
        self.calls += 1
        self.now_s += self.takes_s
        if self.error is not None:
            raise self.error
        return "answer"

    def ask(self, *, fails: bool = False, takes_s: float = 0.0, error: Exception | None = None) -> str:
        """One call by way of the breaker: how it ended."""
        self.takes_s, self.error = takes_s, error or (StockUnavailable("down") if fails else None)
        try:
            return loop_of().run(self.breaker.call(self.answer))
        except BreakerOpen as refused:
            return "refused" if 0 < (refused.retry_after_s or 0) <= OPEN_AT_MOST_S else "refused without a time"
        except (Unavailable, Fenced):
            return "failed"

    def break_down(self) -> None:
        """Fail until it is open."""
        while self.breaker.closed:
            self.ask(fails=True)


def test_it_opens_once_the_share_of_failures_is_reached() -> None:
    """Not on fewer calls than the least, then at once; open, it asks the server nothing."""
    server = Server()
    assert [server.ask(fails=True) for _ in range(5)] == ["failed"] * 3 + ["refused"] * 2
    assert server.calls == 3
    status = server.breaker.status()
    assert (status.state, status.calls, status.failed, status.opened) == ("open", 3, 3, 1)


def test_slow_calls_open_it_too() -> None:
    """A server that answers, but late, is left alone as well; what is just in time is not slow."""
    quick, slow = Server(), Server()
    for _ in range(20):
        quick.ask(takes_s=0.999)
        slow.ask(takes_s=1.0)
    assert quick.breaker.closed
    assert slow.calls == 3
    assert slow.breaker.status().slow == 3


def test_a_refusal_is_an_answer() -> None:
    """A stock that refuses an epoch is there: no breaker opens for it."""
    server = Server()
    assert {server.ask(error=Fenced("other epoch")) for _ in range(20)} == {"failed"}
    assert server.breaker.closed


@pytest.mark.parametrize("probes", [1, 2, 3])
def test_it_closes_after_a_few_good_probes(probes: int) -> None:
    """When its time is up so many calls go through, and all after them; a window of before does not count."""
    server = Server(replace(TUNED, breaker_probes=probes))
    server.break_down()
    server.now_s += server.breaker.shut_for_s + 0.001
    before = server.calls
    assert [server.ask() for _ in range(probes)] == ["answer"] * probes
    assert server.breaker.closed
    assert server.calls == before + probes
    assert server.ask(fails=True) == "failed"
    assert server.breaker.closed


def test_a_failed_probe_opens_it_again() -> None:
    """For as long as the first time; the server hears a few calls each time and no more."""
    server = Server()
    server.break_down()
    for spell in range(2, 6):
        server.now_s += server.breaker.shut_for_s + 0.001
        before = server.calls
        assert [server.ask(fails=True) for _ in range(9)] == ["failed"] * 2 + ["refused"] * 7
        assert server.calls == before + TUNED.breaker_probes
        assert server.breaker.status().opened == spell
        assert 10.0 * (1 - JITTER) <= server.breaker.shut_for_s <= OPEN_AT_MOST_S


async def test_one_probe_at_a_time_and_a_cancelled_one_gives_its_place_back() -> None:
    """Who comes beside a probe is told to come again soon; a probe that never ended keeps nobody out."""
    server = Server()
    for _ in range(3):
        server.error = StockUnavailable("down")
        with pytest.raises(StockUnavailable):
            await server.breaker.call(server.answer)
    server.now_s += server.breaker.shut_for_s + 0.001
    server.error = None
    probe = asyncio.create_task(server.breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    with pytest.raises(BreakerOpen) as refused:
        await server.breaker.call(server.answer)
    assert refused.value.retry_after_s == PROBE_WAIT_S
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert await server.breaker.call(server.answer) == "answer"
    assert await server.breaker.call(server.answer) == "answer"
    assert server.breaker.closed


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60),
    st.integers(1, 8),
    st.integers(0, 6),
    st.sampled_from([0.1, 0.3, 0.5, 1.0]),
)
def test_it_opens_exactly_when_the_window_says_so(
    course: list[tuple[bool, bool]], least: int, more: int, share: float
) -> None:
    """For every course of failures and slow calls: at the first call with enough of them in the window."""
    tuned = replace(TUNED, breaker_min_calls=least, breaker_window_calls=least + more, breaker_trip_share=share)
    server, window = Server(tuned), deque[tuple[bool, bool]](maxlen=least + more)
    for fails, slow in course:
        server.ask(fails=fails, takes_s=2.0 if slow else 0.0)
        window.append((fails, slow))
        worst = max(sum(column) / len(window) for column in zip(*window, strict=True))
        assert server.breaker.closed == (len(window) < least or worst < share)
        if not server.breaker.closed:
            return


@given(st.lists(st.tuples(st.sampled_from(["good", "bad", "slow"]), st.floats(0, 8)), max_size=80))
def test_however_it_goes_it_stays_within_its_rules(course: list[tuple[str, float]]) -> None:
    """Open, no call gets through before its time; good again, it closes within the time and the probes it was given."""
    server = Server()
    for kind, pause_s in course:
        server.now_s += pause_s
        shut, calls = server.breaker.shut_for_s > 0, server.calls
        ended = server.ask(fails=kind == "bad", takes_s=1.5 if kind == "slow" else 0.0)
        assert (ended == "refused") == (server.calls == calls)
        if shut:
            assert ended == "refused"
    for _ in range(2):  # the first may only end what the course has begun
        server.now_s += OPEN_AT_MOST_S
        for _ in range(TUNED.breaker_probes):
            server.ask()
    assert server.breaker.closed


def virtual(main: Callable[[SimulatedLoop], Awaitable[None]]) -> None:
    """Run on virtual time."""
    loop = loop_of()

    async def run() -> None:
        await main(loop)

    loop.run(run())


def test_a_long_outage_costs_few_calls_and_little_time_after_it() -> None:
    """Ten minutes down: a few calls for each time it was open, never a busy loop; then back within that time."""

    async def main(loop: SimulatedLoop) -> None:
        settings = Settings()
        breaker, calls = Breaker("redis", settings, now_s=loop.time), 0

        async def answer() -> float:
            nonlocal calls
            calls += 1
            if loop.time() < 600:
                raise StockUnavailable("down")
            return loop.time()

        back_s = await until_available("reserve", lambda: breaker.call(answer), max_delay_s=5.0)
        open_s = settings.breaker_open_s
        assert 600 <= back_s <= 600 + open_s * (1 + JITTER) * LATER[1] + 1
        assert calls <= settings.breaker_min_calls + settings.breaker_probes * math.ceil(600 / (open_s * (1 - JITTER)))
        assert calls >= 100

    virtual(main)


class Streamed:
    """A store with a call, a stream and an end."""

    def __init__(self) -> None:
        self.down = True

    async def call(self, number: int, *, times: int) -> int:
        """Fails while down."""
        if self.down:
            raise StockUnavailable("down")
        return number * times

    async def stream(self) -> AsyncIterator[int]:
        """Never fails."""
        for number in range(3):
            yield number

    async def close(self) -> None:
        """Never fails."""


async def test_a_guarded_store_is_the_store_with_a_breaker() -> None:
    """Calls go through it with their arguments, streams past it, and closing works while it is open."""
    breaker, store = Breaker("redis", TUNED), Streamed()
    proxy = guarded(store, breaker)
    for _ in range(3):
        with pytest.raises(StockUnavailable):
            await proxy.call(2, times=3)
    with pytest.raises(BreakerOpen, match=r"redis is left alone .* the last failure was: down"):
        await proxy.call(2, times=3)
    assert [number async for number in proxy.stream()] == [0, 1, 2]
    await proxy.close()
    store.down = False
    again = guarded(store, Breaker("redis", TUNED))
    assert await again.call(2, times=3) == 6


def tripped(made: World, settings: Settings, now_s: Callable[[], float], trouble: Trouble | None = None) -> Parts:
    """Parts behind breakers, which can trip."""
    breakers = Breakers.of(settings, now_s=now_s)
    plain = made.parts(trouble, settings)
    stores = guarded(plain.stock, breakers.stock), guarded(plain.ledger, breakers.ledger)
    return Parts(*stores, guarded(plain.log, breakers.log), plain.clock, settings, breakers=breakers)


@pytest.mark.parametrize("which", ["stock", "ledger", "log"])
def test_intake_takes_no_chunk_while_a_breaker_is_open(which: str) -> None:
    """Whichever it is: the chunk waits with its feeder, is decided after, and the wait counts as no stall."""

    async def main(loop: SimulatedLoop) -> None:
        made = await world()
        parts = tripped(made, replace(SETTINGS, breaker_open_s=10.0), loop.time)
        assert parts.breakers is not None
        breaker = getattr(parts.breakers, which)

        async def fail() -> None:
            raise Unavailable("down")

        while breaker.closed:
            with pytest.raises(Unavailable):
                await breaker.call(fail)
        before_s, waits_to_s = last_wait_s(), loop.time() + breaker.shut_for_s
        intake = Intake(parts)
        loop.create_task(intake.run())
        one = chunk(submission())
        taking = loop.create_task(intake.take(one))
        await asyncio.sleep(breaker.shut_for_s * 0.9)
        assert not taking.done()
        assert made.decisions() == []
        assert last_wait_s() > before_s
        await one.done.wait()
        assert loop.time() >= waits_to_s
        assert len(made.decisions()) == 1

    virtual(main)


def test_an_idle_worker_asks_whether_the_server_is_back() -> None:
    """With nothing to do an open breaker closes all the same, by a few calls, and none is made while all is well."""

    async def main(loop: SimulatedLoop) -> None:
        made, trouble = await world(), outages(["stock.epoch", "ledger.epoch"], times=5)
        parts = tripped(made, replace(SETTINGS, breaker_open_s=2.0), loop.time, trouble)
        assert parts.breakers is not None
        asking = loop.create_task(parts.ask_when_idle())
        await asyncio.sleep(100)
        assert trouble.calls == []
        for store in (parts.stock, parts.ledger):
            for _ in range(5):
                with pytest.raises(Unavailable):
                    await store.epoch()
        assert len(trouble.calls) == 2 * SETTINGS.breaker_min_calls
        await asyncio.sleep(100)
        assert parts.breakers.stock.closed
        assert parts.breakers.ledger.closed
        assert len(trouble.calls) <= 2 * (5 + 2 * SETTINGS.breaker_probes)
        asking.cancel()

    virtual(main)


def test_a_call_that_takes_long_is_a_wait_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come to several timeouts before it fails; one that never ends is a stall after all."""

    async def main(loop: SimulatedLoop) -> None:
        noted: list[float] = []
        monkeypatch.setattr("streams.breakers.note_wait", lambda: noted.append(loop.time()))
        breaker = Breaker("postgres", Settings(breaker_slow_s=3.0, stall_timeout_s=60.0), now_s=loop.time)
        await breaker.call(asyncio.sleep, 2.9)
        assert noted == []
        await breaker.call(asyncio.sleep, 30)
        assert 5.9 <= noted[0] <= 5.9 + BEAT_S
        assert len(noted) >= 13
        assert all(later - sooner <= BEAT_S for sooner, later in pairwise(noted))
        hanging = loop.create_task(breaker.call(asyncio.Event().wait))
        await asyncio.sleep(1_000)
        assert 60 <= noted[-1] - 32.9 <= 64
        hanging.cancel()

    virtual(main)


def test_silence_opens_it_before_calls_time_out() -> None:
    """A server that is frozen answers nobody and fails nobody: open within 5 s of the first that waits, and closed
    again soon after it answers, though nothing had timed out.
    """

    async def main(loop: SimulatedLoop) -> None:
        breaker = Breaker("postgres", Settings(), now_s=loop.time)
        thawed = asyncio.Event()
        assert await breaker.call(asyncio.sleep, 0.1, "answer") == "answer"
        await asyncio.sleep(0.5)
        waiting = [loop.create_task(breaker.call(thawed.wait)) for _ in range(2)]
        await asyncio.sleep(5.0)
        assert breaker.status().state == "open"
        with pytest.raises(BreakerOpen, match=r"postgres has answered nobody for 4\.\d s"):
            await breaker.call(thawed.wait)
        await asyncio.sleep(20.0)
        thawed.set()
        assert await asyncio.gather(*waiting) == [True, True]
        for _ in range(Settings().breaker_probes):
            await asyncio.sleep(breaker.shut_for_s)
            assert await breaker.call(thawed.wait)
        assert breaker.closed

    virtual(main)


def test_one_slow_call_among_quick_ones_is_no_silence() -> None:
    """Who waits long for one answer while others get theirs has asked for much; the server is there."""

    async def main(loop: SimulatedLoop) -> None:
        breaker = Breaker("postgres", Settings(), now_s=loop.time)
        report = loop.create_task(breaker.call(asyncio.sleep, 25, "report"))
        while not report.done():
            await breaker.call(asyncio.sleep, 0.5)
            assert breaker.closed
        assert report.result() == "report"

    virtual(main)


def test_waiting_for_a_breaker_is_no_stall() -> None:
    """The watch that ends workers which stand still is told of the wait, however long the breaker stays open."""
    watch = StallWatch(10, 0)
    settings = Settings()
    stuck = {("t", 0): Standing(read_to=5, acknowledged_to=None, chunks_in_work=1, end=9)}
    longest_s = settings.breaker_open_s * (1 + JITTER) * (1 + JITTER)
    now_s = 0.0
    while now_s < 1_000:
        now_s += longest_s
        assert watch.look(now_s, stuck, flowing=True, excused_at_s=now_s - longest_s) is None


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What breakers log."""
    with caplog.at_level(logging.INFO, logger="streams.breakers"):
        yield caplog


def test_changes_are_logged_and_written_down(said: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """A line for each change of state; the status file tells the newest, but not before the worker is ready."""
    now_s = 0.0
    breakers = Breakers.of(TUNED, now_s=lambda: now_s)
    path = tmp_path / "intake-0.ready"
    status = StatusFile(path, breakers, ManualClock(NOW_MS))

    async def fail() -> None:
        raise Unavailable("down")

    def trip(breaker: Breaker) -> None:
        while breaker.closed:
            with pytest.raises(Unavailable):
                asyncio.run(breaker.call(fail))

    trip(breakers.ledger)
    assert not path.exists()
    status.ready()
    trip(breakers.stock)
    told = json.loads(path.read_text())
    assert told["at"].startswith("2026-09-21T")
    assert {name: one["state"] for name, one in told["breakers"].items()} == {
        "redis": "open",
        "postgres": "open",
        "kafka": "closed",
    }
    assert [r.getMessage().split(";")[0] for r in said.records] == [
        "breaker postgres: open after 0.0 s closed",
        "breaker redis: open after 0.0 s closed",
    ]
    assert list(tmp_path.iterdir()) == [path]
