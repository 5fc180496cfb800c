"""Spans of stages: one trace a batch, linked to its orders' own, and nothing at all where they are not wanted."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agents import tracing
from streams import timing

Headers = tuple[tuple[str, bytes | None], ...]
PARENT = (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)


@dataclass(frozen=True)
class Record:
    """One record, perhaps with its order's trace."""

    offset: int
    headers: Headers = ()
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None


@dataclass
class Chunk:
    """Records of one partition."""

    records: list[Record]
    topic: str = "orders.submitted.v1"
    partition: int = 4

    def acknowledge(self) -> bool:
        """Nobody asks."""
        raise AssertionError


@dataclass
class Batch:
    """Chunks that share round trips."""

    chunks: list[Chunk] = field(default_factory=list)


@timing.timed("reserve")
async def reserve(batch: Batch, *, fails: bool = False) -> str:
    """A stage."""
    await asyncio.sleep(0)
    if fails:
        raise RuntimeError("boom")
    return "done"


@timing.timed("announce")
async def announce(batch: Batch) -> None:
    """The next stage."""


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What was traced."""
    kept = InMemorySpanExporter()
    provider = tracing.start("intake", SimpleSpanProcessor(kept))
    yield kept
    timing.trace_with(None)
    provider.shutdown()


async def test_stages_of_a_batch_are_one_trace_with_links(spans: InMemorySpanExporter) -> None:
    """Both stages, and a repetition, are in the trace of the batch's first record; each links to the orders' traces."""
    batch = Batch([Chunk([Record(7, PARENT), Record(8)]), Chunk([Record(1, (("traceparent", b"rubbish"),))])])
    assert await reserve(batch) == "done"
    await announce(batch)
    await reserve(batch)
    await reserve(Batch([Chunk([Record(9)])]))
    found = spans.get_finished_spans()
    assert [span.name for span in found] == ["reserve", "announce", "reserve", "reserve"]
    traces = [span.context.trace_id for span in found]
    assert len(set(traces[:3])) == 1
    assert traces[3] != traces[0]
    assert [f"{link.context.trace_id:032x}" for link in found[0].links] == ["0af7651916cd43dd8448eb211c80319c"]
    assert found[0].attributes is not None
    assert found[0].attributes["messaging.batch.message_count"] == 3
    assert found[0].attributes["messaging.kafka.offset"] == 7
    assert found[0].resource.attributes["service.name"] == "floodway-intake"


async def test_a_stage_that_fails_is_told(spans: InMemorySpanExporter) -> None:
    """Its span ends with the error, which goes on to whoever called."""
    with pytest.raises(RuntimeError, match="boom"):
        await reserve(Batch([Chunk([Record(7)])]), fails=True)
    (span,) = spans.get_finished_spans()
    assert not span.status.is_ok
    assert span.events[0].name == "exception"


async def test_links_are_bounded(spans: InMemorySpanExporter) -> None:
    """A batch of thousands links to the first orders only."""
    await reserve(Batch([Chunk([Record(n, PARENT) for n in range(tracing.MAX_LINKS + 50)])]))
    assert len(spans.get_finished_spans()[0].links) == tracing.MAX_LINKS


async def test_what_is_about_no_chunk_has_no_span(spans: InMemorySpanExporter) -> None:
    """A batch without chunks is timed and not traced."""
    await reserve(Batch())
    assert not spans.get_finished_spans()


async def test_without_a_tracer_nothing_is_made() -> None:
    """Off, as is the rule: no links are looked for, so not even a chunk is looked at."""

    class Untouched:
        @property
        def chunks(self) -> list[Chunk]:
            raise AssertionError

    assert await reserve(Untouched()) == "done"  # type: ignore[arg-type]  # that is the point
