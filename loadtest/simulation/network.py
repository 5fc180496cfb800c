"""Between processes and stores: every call is a message there and a message back, and each may get lost or be late.

A call that was sent is served whatever becomes of its sender, as a request in a socket's buffer is. A caller whose
call or answer is lost learns so after a while, by the store's own error, and cannot tell the two apart.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from loadtest.simulation.loop import SimulatedLoop, SimulatedProcess
from loadtest.simulation.plan import Plan
from loadtest.simulation.trace import Trace
from streams.errors import Unavailable

T = TypeVar("T")

TIMEOUT_S = 2.0
"""After which a caller gives up."""

LATEST_S = 6.0
"""After which no message is on its way any more."""


class Network:
    """Carries calls. `heal()` ends all faults but the messages already on their way."""

    def __init__(self, loop: SimulatedLoop, rng: Random, plan: Plan, trace: Trace) -> None:
        self.down: set[str] = set()
        """Stores that answer nobody now."""
        self._loop, self._random, self._plan, self._trace = loop, rng.random, plan, trace
        self._healed = False
        self._still_until_s: dict[str, float] = {}

    def heal(self) -> None:
        """From here on every call goes through."""
        self._healed = True
        self.down.clear()

    def stall(self, process: SimulatedProcess, for_s: float) -> None:
        """A process stands still: what it says next is said after that time, what it is told it hears then."""
        self._still_until_s[process.name] = self._loop.time() + for_s

    async def call(
        self,
        caller: SimulatedProcess,
        store: str,
        method: str,
        serve: Callable[[bool], T],
        error: type[Unavailable],
        *,
        connected: bool = False,
    ) -> T:
        """What `serve` returns or raises, by way of the network; `error` when that is not known.

        `serve` is told whether nobody will hear its answer: then it may do a part only, where the protocol allows it.
        On a connection that stands (`connected`) nothing is lost or late, unless the server is down.
        """
        loop, name = self._loop, f"{store}.{method}"
        if loop.closing:
            raise asyncio.CancelledError
        answer: asyncio.Future[T] = loop.create_future()
        there, back = self._delay(), self._delay()
        if caller.name in self._still_until_s:
            there += max(0.0, self._still_until_s[caller.name] - loop.time())
        fate = self._fate(store, connected=connected)
        if fate is not None:
            self._trace.fault(caller.name, fate, name)
        if fate in {"outage", "lost call"}:
            loop.post(there, _give_up, answer, error(f"{name}: {fate}"))
            return await answer
        if fate == "late call":
            there = TIMEOUT_S + self._random() * (LATEST_S - TIMEOUT_S)
            loop.post(TIMEOUT_S, _give_up, answer, error(f"{name}: {fate}"))
        loop.post(there, self._serve, caller, name, serve, answer, back, fate, error)
        return await answer

    def _serve(
        self,
        caller: SimulatedProcess,
        name: str,
        serve: Callable[[bool], T],
        answer: "asyncio.Future[T]",
        back: float,
        fate: str | None,
        error: type[Unavailable],
    ) -> None:
        loop = self._loop
        try:
            result = serve(fate is not None)
        except AssertionError as broken:  # a store's own invariant: no caller may swallow that
            self._trace.fail("store", f"{name}: {broken}")
            return
        except Exception as refusal:
            self._trace.note(caller.name, name, type(refusal).__name__)
            loop.post(back, _give_up, answer, refusal)
            return
        if fate == "lost answer":
            loop.post(back, _give_up, answer, error(f"{name}: {fate}"))
        elif fate is None:
            loop.post(back, _answer, answer, result)

    def _fate(self, store: str, *, connected: bool) -> str | None:
        if self._healed:
            return None
        if store in self.down:
            return "outage"
        if connected:
            return None
        plan, dice = self._plan, self._random()
        if dice < plan.lost_call:
            return "lost call"
        dice -= plan.lost_call
        if dice < plan.lost_answer:
            return "lost answer"
        return "late call" if dice - plan.lost_answer < plan.late_call else None

    def _delay(self) -> float:
        """Mostly short, at times ten times as long, so that calls overtake each other."""
        share = self._random()
        return self._plan.latency_s * (share if share < 0.9 else 10 * share)


def run_at_once(call: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing, such as a fake store's: one step, indivisible."""
    try:
        call.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise RuntimeError("a fake store has waited for something; then its calls are no longer indivisible")


def listed(found: AsyncIterator[T]) -> list[T]:
    """All that a fake store streams, at once."""

    async def collect() -> list[T]:
        return [one async for one in found]

    return run_at_once(collect())


def _answer(answer: "asyncio.Future[T]", result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _give_up(answer: "asyncio.Future[Any]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
