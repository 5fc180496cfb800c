"""Around the stages: how long they take with a batch, and a span for each where spans are wanted.

Without a tracer, as is the rule, a stage costs one comparison more.
"""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from time import perf_counter
from typing import Any, ParamSpec, Protocol, TypeVar

from streams.chunks import Chunk
from streams.telemetry import STAGE_S

P = ParamSpec("P")
T = TypeVar("T")


class Tracer(Protocol):
    """What makes spans; `agents.tracing` has OpenTelemetry's."""

    def stage(self, name: str, chunks: Sequence[Chunk]) -> AbstractContextManager[object]:
        """A span for the time that a stage is at work with these chunks."""
        ...


_tracer: Tracer | None = None


def trace_with(tracer: Tracer | None) -> None:
    """Have all stages of this process traced from now on; or no more."""
    global _tracer  # noqa: PLW0603 - one process, one tracer
    _tracer = tracer


def timed(stage: str) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Around a stage that waits: how long each of its calls takes, those that fail too."""
    observe = STAGE_S.labels(stage).observe

    def around(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        @wraps(call)
        async def measured(*args: P.args, **named: P.kwargs) -> T:
            began = perf_counter()
            try:
                chunks = () if _tracer is None else _chunks_of(args)
                if _tracer is None or not chunks:
                    return await call(*args, **named)
                with _tracer.stage(stage, chunks):
                    return await call(*args, **named)
            finally:
                observe(perf_counter() - began)

        return measured

    return around


def timed_at_once(stage: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """The same around a stage that does not wait."""
    observe = STAGE_S.labels(stage).observe

    def around(call: Callable[P, T]) -> Callable[P, T]:
        @wraps(call)
        def measured(*args: P.args, **named: P.kwargs) -> T:
            began = perf_counter()
            try:
                return call(*args, **named)
            finally:
                observe(perf_counter() - began)

        return measured

    return around


def _chunks_of(args: Sequence[Any]) -> Sequence[Chunk]:
    """The chunks that a call is about: those of the batch, or the one chunk, that it was given first, or after self."""
    for arg in args[:2]:
        if hasattr(arg, "chunks"):
            return tuple(arg.chunks)
        if hasattr(arg, "records"):
            return (arg,)
    return ()
