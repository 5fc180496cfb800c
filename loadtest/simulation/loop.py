"""An event loop without a clock and without I/O: time is virtual, and a seed chooses what runs next.

Every callback that is ready may run next, whatever was ready first: asyncio promises an order that real networks,
threads and other processes do not keep. Time stands still while anything is ready, then jumps to the next timer.

Tasks belong to the simulated process in whose context they were made. When that is killed, nothing of it runs any
more, no `finally` either, as after SIGKILL; what it had sent is on its way all the same.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

MAX_STEPS = 200_000
"""Callbacks in one run; far more than any schedule needs, so whoever gets here goes round in circles."""

_CLEANUP_STEPS = 100_000


class SimulatedProcess:
    """What can be killed. Tasks are made its own by running them in a context of `context()`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True

    def kill(self) -> None:
        """Nothing of it runs any more."""
        self.alive = False

    def context(self) -> Context:
        """A context in which tasks belong to this process."""
        context = copy_context()
        context.run(_PROCESS.set, self)
        return context


_PROCESS: ContextVar[SimulatedProcess | None] = ContextVar("process", default=None)


class Deadlock(Exception):
    """Nothing is ready and no timer runs, but the work is not done."""


class Livelock(Exception):
    """The work is not done after MAX_STEPS callbacks."""


class _Entry:
    """A callback and the process it belongs to: as much of an asyncio handle as is ever asked for, for less."""

    __slots__ = ("_is_cancelled", "_when", "args", "callback", "context", "process")

    def __init__(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self._when, self.callback, self.args, self.context = when, callback, args, context
        self.process: SimulatedProcess | None = None if context is None else context.get(_PROCESS)
        self._is_cancelled = False

    def cancel(self) -> None:
        """It is passed over when its time comes."""
        self._is_cancelled = True

    def cancelled(self) -> bool:
        """Whether it will not run."""
        return self._is_cancelled

    def when(self) -> float:
        """Its time, in virtual seconds."""
        return self._when


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Runs one main coroutine to its end; everything it does not have (sockets, threads, signals) raises."""

    def __init__(self, choices: Random, *, max_steps: int = MAX_STEPS) -> None:
        self.steps = 0
        self._choose = choices.random
        self._max_steps = max_steps
        self._now_s = 0.0
        self._ready: list[_Entry] = []
        self._timers: list[tuple[float, int, _Entry]] = []  # numbered, so that their order is total
        self._of_the_dead: list[_Entry] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._numbers = 0
        self._failure: BaseException | None = None
        self._closing = False

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """The result of `main`; raises what `fail` was told, `Deadlock` or `Livelock`."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main)
            self._spin(task)
            if self._failure is not None:
                raise self._failure
            return task.result()
        finally:
            try:
                self._clean_up()
            finally:
                asyncio._set_running_loop(None)

    def fail(self, failure: BaseException) -> None:
        """End the run with this; the first failure counts."""
        if self._failure is None:
            self._failure = failure

    def _spin(self, task: "asyncio.Task[Any]") -> None:
        ready, choose, done = self._ready, self._choose, task.done
        pop, most = ready.pop, self._max_steps
        while not done():
            if self._failure is not None:
                raise self._failure
            if self.steps >= most:
                raise Livelock(f"not done after {self.steps} steps, at {self._now_s:.3f} s")
            if not ready:
                self._advance()
            self.steps += 1
            count = len(ready)
            entry = pop(int(choose() * count)) if count > 1 else pop()
            process = entry.process
            if process is not None and not process.alive:
                self._of_the_dead.append(entry)
            elif not entry._is_cancelled:
                self._run(entry)

    def _run(self, entry: _Entry) -> None:
        try:
            if entry.context is None:
                entry.callback(*entry.args)
            else:
                entry.context.run(entry.callback, *entry.args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if not self._closing:  # what tasks raise is their owner's business; this was a callback of ours
                self.fail(error)

    def _advance(self) -> None:
        """Let time jump to the next timer that still matters."""
        timers = self._timers
        while timers:
            when, _, entry = heapq.heappop(timers)
            if entry._is_cancelled:
                continue
            if entry.process is not None and not entry.process.alive:
                self._of_the_dead.append(entry)
                continue
            self._now_s = max(self._now_s, when)
            self._ready.append(entry)
            while timers and timers[0][0] <= self._now_s:
                self._ready.append(heapq.heappop(timers)[2])
            return
        raise Deadlock(f"nothing is ready and no timer runs, at {self._now_s:.3f} s")

    def _clean_up(self) -> None:
        """Unwind all tasks, those of the dead too, so that none is destroyed while pending. Effects are off by then."""
        self._closing = True
        self._ready += self._of_the_dead
        for task in self._tasks:
            task.cancel()
        for _ in range(_CLEANUP_STEPS):
            if not self._ready:
                break
            entry = self._ready.pop()
            if not entry.cancelled():
                self._run(entry)
        self._tasks.clear()
        self._timers.clear()
        self._of_the_dead.clear()

    @property
    def closing(self) -> bool:
        """Whether the run is over, and tasks are only unwound."""
        return self._closing

    # --- what asyncio asks of a loop -------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self._now_s

    def call_soon(  # type: ignore[override]  # typeshed's is variadic in types, and a handle of asyncio's costs more
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Entry:
        """Make a callback ready."""
        entry = _Entry(self._now_s, callback, args, copy_context() if context is None else context)
        self._ready.append(entry)
        return entry

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Entry:
        """Make a callback ready at a time."""
        entry = _Entry(when, callback, args, copy_context() if context is None else context)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, entry))
        return entry

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Entry:
        """Make a callback ready after a while."""
        when = self._now_s + delay  # `call_at`, without the call: this is done some hundred times a run
        entry = _Entry(when, callback, args, copy_context() if context is None else context)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, entry))
        return entry

    def post(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        """Make a callback ready after a while that belongs to no process, such as a message on its way."""
        when = self._now_s + delay_s
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, _Entry(when, callback, args, None)))

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """See asyncio. The loop keeps its tasks: one that nobody else holds would be collected at a time of its own."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Do nothing: an error that nobody asked a task for is its owner's business."""

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Always."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False
