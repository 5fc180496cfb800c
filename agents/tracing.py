"""OpenTelemetry: a span for each stage of a batch, in a trace for each batch, linked to its orders' own traces.

Off unless `FLOODWAY_TRACING=true`; then OpenTelemetry's own variables say where spans go and which are sampled
(`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME`). Needs the extra `tracing`. A batch has the
orders of many customers, so it is in none of their traces: it links to them, as the conventions for messaging say.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

from streams import timing
from streams.chunks import Chunk, Record
from streams.core.decode import traceparent

MAX_LINKS = 128
"""OpenTelemetry's own limit of a span; the first of a batch's orders that have a trace."""


def start(role: str, processor: SpanProcessor | None = None) -> TracerProvider:
    """Have stages make spans from now on. `shutdown` of what is returned sends the last."""
    resource = Resource.create({SERVICE_NAME: f"floodway-{role}"})  # OTEL_SERVICE_NAME wins
    ids = BatchIds()
    provider = TracerProvider(resource=resource, id_generator=ids)
    provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
    timing.trace_with(Spans(provider.get_tracer("floodway"), ids))
    return provider


class Spans:
    """Makes the spans. See `timing.Tracer`."""

    def __init__(self, tracer: trace.Tracer, ids: "BatchIds") -> None:
        self._tracer, self._ids = tracer, ids

    @contextmanager
    def stage(self, name: str, chunks: Sequence[Chunk]) -> Iterator[None]:
        """A span around a stage: the trace is that of the batch's first chunk, whatever stage it is in."""
        first = chunks[0]
        attributes: dict[str, Any] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": first.topic,
            "messaging.batch.message_count": sum(len(chunk.records) for chunk in chunks),
            "messaging.destination.partition.id": str(first.partition),
            "messaging.kafka.offset": first.records[0].offset,
        }
        links = links_of(chunks)
        with self._ids.of(first):
            span = self._tracer.start_span(name, Context(), SpanKind.CONSUMER, attributes, links)
        with trace.use_span(span, end_on_exit=True):
            yield


class BatchIds(RandomIdGenerator):
    """Trace ids that are a function of where a batch begins, so that all its stages, and a repetition, are in one."""

    def __init__(self) -> None:
        self._trace_id: int | None = None

    @contextmanager
    def of(self, first: Chunk) -> Iterator[None]:
        """Spans that are made within belong to the batch that begins with this chunk."""
        place = f"{first.topic}/{first.partition}/{first.records[0].offset}"
        self._trace_id = int.from_bytes(sha256(place.encode()).digest()[:16])
        try:
            yield
        finally:
            self._trace_id = None

    def generate_trace_id(self) -> int:
        """See the base."""
        return self._trace_id or super().generate_trace_id()


def links_of(chunks: Sequence[Chunk]) -> list[Link]:
    """Links to the traces that the records came with."""
    found: list[Link] = []
    for chunk in chunks:
        for record in chunk.records:
            context = _context(record)
            if context is not None:
                found.append(Link(context))
                if len(found) == MAX_LINKS:
                    return found
    return found


def _context(record: Record) -> SpanContext | None:
    parsed = traceparent(record.headers) if record.headers else None
    if parsed is None:
        return None
    trace_id, span_id, flags = parsed
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
