"""A circuit breaker for each thing that may be down: calls that would fail, or hang, are not even tried for a while.

A breaker is closed while all is well. When too many of the last calls failed or were slow, or somebody waits and nobody
is answered, it opens: calls are refused at once with `BreakerOpen`, which is an outage like any other to whoever asked,
so nobody needs to know of breakers to wait. After `breaker_open_s` a few calls are let through, one at a time, to see:
then it closes, or opens again. While one is open, workers take no chunk; orders wait in Kafka.

The state machine and its window are interlock's, see decision 0022; here is what joins it to our errors, settings,
stores and logs. It is not only for stores: `Breaker.call` goes around any outgoing call that raises `Unavailable`.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import uniform
from time import monotonic
from typing import Any, ParamSpec, TypeVar, cast

from interlock import CircuitBreaker, CircuitOpenError, Config, EventListener, State

from streams.errors import BreakerOpen, Unavailable
from streams.settings import Settings
from streams.waiting import BEAT_S, note_wait

P = ParamSpec("P")
T = TypeVar("T")

JITTER = 0.2
"""Breakers of many workers open together; that far apart they ask whether the server is back."""
PROBE_WAIT_S = 0.25
"""How soon to ask again while somebody else's probe is under way."""

_UNGUARDED = frozenset({"close", "partitions"})
"""Calls that need no server: giving connections back, and what the client remembers."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """How a breaker stands. `calls`, `failed` and `slow` are of its window, `for_s` is since it got into its state.

    `opened` counts how often it has opened since the process started.
    """

    name: str
    state: str
    for_s: float
    calls: int
    failed: int
    slow: int
    opened: int


class Breaker:
    """Goes around calls to one dependency, `name`. `now_s` is any clock that does not go back."""

    def __init__(self, name: str, settings: Settings, *, now_s: Callable[[], float] = monotonic) -> None:
        self.name = name
        self.on_change: Callable[[], object] = lambda: None
        """Called after each change of state."""
        self._now_s = now_s
        self._open_s = settings.breaker_open_s * uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter, no secret
        self._slow_s, self._silent_s = settings.breaker_slow_s, settings.breaker_silent_s
        self._excused_s = settings.stall_timeout_s
        self._changed_at_s = self._asked_at_s = self._heard_at_s = now_s()
        self._under_way: dict[int, float] = {}
        """When each call that has no end yet began, by a number of its own."""
        self._watching: asyncio.AbstractEventLoop | None = None
        self._opened = self._numbers = 0
        self._window_calls = settings.breaker_window_calls
        self._circuit = CircuitBreaker(
            name=name,
            config=Config(
                failure_rate_threshold=settings.breaker_trip_share,
                slow_call_rate_threshold=settings.breaker_trip_share,
                slow_call_duration_threshold=settings.breaker_slow_s,
                minimum_number_of_calls=settings.breaker_min_calls,
                window_size=settings.breaker_window_calls,
                permitted_calls_in_half_open=settings.breaker_probes,
                wait_duration_in_open=self._open_s,
            ),
            clock=_Clock(now_s),
            classifier=_Outages(),
            listener=_Listener(self._changed),
        )

    async def call(self, call: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        """The result of the call; raises `BreakerOpen` instead of making it while the breaker is open.

        An outage is told when it makes sense to try again, see `Unavailable.retry_after_s`.
        """
        number = self._begin()
        heard = True
        try:
            return await self._circuit.call_async(call, *args, **named)
        except CircuitOpenError as refused:
            heard = False
            last = "" if refused.last_failure is None else f"; the last failure was: {refused.last_failure}"
            error = BreakerOpen(f"{self.name} is left alone for a while, its breaker is open{last}")
            error.retry_after_s = self.shut_for_s or PROBE_WAIT_S
            raise error from None
        except (Unavailable, asyncio.CancelledError) as outage:
            heard = False
            if isinstance(outage, Unavailable):
                outage.retry_after_s = None if self.closed else self.shut_for_s or PROBE_WAIT_S
            raise
        finally:
            del self._under_way[number]
            if heard:
                self._heard_at_s = self._now_s()

    @property
    def shut_for_s(self) -> float:
        """Seconds until it may be tried whether the dependency is back; 0 unless the breaker is open."""
        if self._circuit.state is not State.OPEN:
            return 0.0
        return max(0.0, self._changed_at_s + self._open_s - self._now_s())

    @property
    def closed(self) -> bool:
        """Whether all is well, as far as it knows."""
        return self._circuit.state is State.CLOSED

    @property
    def forgotten(self) -> bool:
        """Whether it would let a call through to see whether all is well, and for a while nobody made one."""
        return not self.closed and not self.shut_for_s and self._now_s() - self._asked_at_s > self._open_s

    def status(self) -> BreakerStatus:
        """How it stands now."""
        window = self._circuit.snapshot()
        for_s = round(self._now_s() - self._changed_at_s, 3)
        counts = (window.total_calls, window.failed_calls, window.slow_calls)
        return BreakerStatus(self.name, self._circuit.state.value, for_s, *counts, self._opened)

    def _begin(self) -> int:
        """Enter a call, and see to it that somebody looks after it; one timer for all, for most end in no time."""
        now_s = self._asked_at_s = self._now_s()
        loop = asyncio.get_running_loop()
        if self._watching is not loop:
            self._watching = loop
            loop.call_later(self._slow_s, self._watch)
        if not self._under_way:
            self._heard_at_s = now_s
        self._numbers += 1
        self._under_way[self._numbers] = now_s
        return self._numbers

    def _watch(self) -> None:
        """Look after the calls that have no end yet.

        One that takes long excuses this process: it may come to several timeouts before it ends. Not for ever: what
        hangs without a timeout is to be found by the watchdog all the same. And where all wait and nobody is answered,
        as by a server that is frozen, it opens, long before enough of them have timed out.
        """
        loop, self._watching = self._watching, None
        if not self._under_way or loop is None:
            return
        now_s = self._now_s()
        if any(
            self._slow_s <= now_s - began_s < self._slow_s + self._excused_s for began_s in self._under_way.values()
        ):
            note_wait()
        left_s = self._heard_at_s + self._silent_s - now_s
        if left_s <= 0:
            self._open(now_s - self._heard_at_s)
        self._watching = loop
        loop.call_later(min(BEAT_S, max(left_s, 0) or BEAT_S), self._watch)

    def _open(self, silent_for_s: float) -> None:
        """Open, unless it is open: by as many failures as that takes."""

        def no_answer() -> None:
            raise Unavailable(f"{self.name} has answered nobody for {silent_for_s:.1f} s")

        for _ in range(self._window_calls):
            if self.closed:
                with suppress(Unavailable):
                    self._circuit.call_sync(no_answer)

    def _changed(self, old: State, new: State) -> None:
        before = self.status()
        self._changed_at_s = self._now_s()
        self._opened += new is State.OPEN
        logger.log(
            logging.INFO if new is State.CLOSED else logging.WARNING,
            "breaker %s: %s after %.1f s %s; of the last %d calls %d failed, %d were slow",
            *(self.name, new.value, before.for_s, old.value, before.calls, before.failed, before.slow),
        )
        self.on_change()


@dataclass(frozen=True, slots=True)
class Breakers:
    """Those of one process, around its stores."""

    stock: Breaker
    ledger: Breaker
    log: Breaker

    @classmethod
    def of(cls, settings: Settings, *, now_s: Callable[[], float] = monotonic) -> "Breakers":
        """Closed ones."""
        return cls(*(Breaker(name, settings, now_s=now_s) for name in ("redis", "postgres", "kafka")))

    def all(self) -> tuple[Breaker, Breaker, Breaker]:
        """Each of them."""
        return self.stock, self.ledger, self.log

    async def let_in(self) -> None:
        """Return when no breaker is open: before that nothing should be begun. Waits without a limit."""
        while (shut_for_s := max(breaker.shut_for_s for breaker in self.all())) > 0:
            note_wait()
            await asyncio.sleep(max(PROBE_WAIT_S, shut_for_s) * uniform(1, 1 + JITTER))  # noqa: S311

    def status(self) -> list[BreakerStatus]:
        """How they stand."""
        return [breaker.status() for breaker in self.all()]

    def on_change(self, call: Callable[[], object]) -> None:
        """Have `call` called after each change of state of any of them."""
        for breaker in self.all():
            breaker.on_change = call


def guarded(store: T, breaker: Breaker) -> T:
    """The store with its breaker around each call. Streams and blocks (`async for`, `async with`) go past it."""
    return cast("T", _Guarded(store, breaker))


class _Guarded:
    """A store's methods by name, each made once."""

    def __init__(self, store: object, breaker: Breaker) -> None:
        self._store, self._breaker = store, breaker

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if inspect.iscoroutinefunction(found) and name not in _UNGUARDED:
            direct, around = found, self._breaker.call

            async def found(*args: Any, **named: Any) -> Any:
                return await around(direct, *args, **named)

        setattr(self, name, found)
        return found


class _Clock:
    def __init__(self, now_s: Callable[[], float]) -> None:
        self.monotonic = now_s


class _Outages:
    """Only an outage says something of the dependency: a refusal is an answer."""

    def is_failure(self, *, result: object, exception: Exception | None) -> bool:
        """Whether the call failed."""
        return isinstance(exception, Unavailable)


class _Listener(EventListener):
    def __init__(self, changed: Callable[[State, State], object]) -> None:
        self._changed = changed

    def on_state_change(self, *, name: str, old: State, new: State) -> None:
        """Pass it on."""
        self._changed(old, new)
