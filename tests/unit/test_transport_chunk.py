"""What an agent holds in its hand, the limits around it, and the app that is made with them."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from faust.transport.drivers import TRANSPORTS
from faust.types.tuples import TP

from agents.transport import Chunk, ChunkApp, Transport, TransportSettings, chunk_app, chunk_topic, register
from agents.transport.chunk import ChunkMessage
from agents.transport.failure import StopWorkerSupervisor


@dataclass
class FakeRecord:
    """A broker record as far as a chunk looks at it."""

    offset: int
    timestamp: int = 1_700_000_000_123
    key: bytes | None = None
    value: bytes | None = b"v"
    headers: tuple[tuple[str, bytes], ...] = ()


def test_a_chunk_knows_its_offsets() -> None:
    """The offset to commit is one past the last record, whatever gaps lie between."""
    chunk = Chunk("orders", 3, [FakeRecord(5), FakeRecord(9), FakeRecord(40)])
    assert (chunk.first_offset, chunk.last_offset, chunk.next_offset, len(chunk)) == (5, 40, 41, 3)


def test_a_chunk_that_came_from_nowhere_can_be_acknowledged_to_nobody() -> None:
    """Code that takes chunks can be tested without a consumer."""
    assert Chunk("orders", 0, [FakeRecord(0)]).acknowledge() is False


def test_an_empty_chunk_is_a_broken_invariant() -> None:
    """There is always a first and a last record."""
    with pytest.raises(AssertionError):
        Chunk("orders", 0, [])


def test_faust_cannot_acknowledge_a_chunk() -> None:
    """All of Faust's ways to acknowledge look at `acked` first, and find it set; asking the message does nothing."""
    calls: list[str] = []

    def on_acknowledge() -> bool:
        calls.append("acked")
        return True

    chunk = Chunk("orders", 0, [FakeRecord(7)], on_acknowledge)
    message = ChunkMessage.of(chunk, TP("orders", 0), 4)
    assert message.acked
    assert message.ack(object()) is False
    assert message.on_final_ack(object()) is False
    assert calls == []
    assert chunk.acknowledge() is True
    assert calls == ["acked"]


def test_the_message_tells_the_monitor_how_far_was_read() -> None:
    """Faust's monitor takes a message's offset as the read position: that is the last record's."""
    chunk = Chunk("orders", 2, [FakeRecord(7), FakeRecord(8)])
    message = ChunkMessage.of(chunk, TP("orders", 2), 4)
    assert (message.offset, message.partition, message.generation_id) == (8, 2, 4)
    assert message.value is chunk
    assert message.timestamp == 1_700_000_000.123


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"chunk_max_records": 100, "max_inflight_records": 99}, "max_inflight_records.*chunk_max_records"),
        ({"fetch_max_bytes": 10}, "fetch_max_bytes.*max_partition_fetch_bytes"),
        ({"max_inflight_chunks_per_partition": 0}, "max_inflight_chunks_per_partition"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(limits: dict[str, int], named: str) -> None:
    """The error names the settings that have to change."""
    with pytest.raises(ValueError, match=named):
        TransportSettings(**limits)  # type: ignore[arg-type]  # one is a function


def test_the_scheme_selects_the_transport() -> None:
    """`chunks://` leads to this transport, registered once or often."""
    register()
    register()
    assert TRANSPORTS.by_url("chunks://localhost:9092") is Transport


@pytest.fixture
def app(tmp_path: Path) -> ChunkApp:
    """An app with limits of its own."""
    limits = TransportSettings(fetch_max_wait_ms=70, fetch_min_bytes=3, max_partition_fetch_bytes=4096)
    return chunk_app("unit", "one:9092,two:9093", transport=limits, datadir=tmp_path)


def test_the_app_is_set_up_for_at_least_once(app: ChunkApp) -> None:
    """The settings that Faust must not have otherwise: no leader topic, no endless wait, no restart after a failure."""
    conf = app.conf
    assert [str(url) for url in conf.broker] == ["chunks://one:9092", "chunks://two:9093"]
    assert conf.topic_disable_leader
    assert not conf.topic_allow_declare
    assert not conf.stream_wait_empty
    assert conf.processing_guarantee.value == "at_least_once"
    assert conf.consumer_auto_offset_reset == "earliest"
    assert conf.agent_supervisor is StopWorkerSupervisor
    assert not conf.web_enabled


async def test_raw_topics_pass_a_chunk_through_untouched(app: ChunkApp) -> None:
    """The schema's raw codec hands the very object on, so nothing is copied per record."""
    app.finalize()
    topic = chunk_topic(app, "orders")
    chunk = Chunk("orders", 0, [FakeRecord(0)])
    event = await topic.decode(ChunkMessage.of(chunk, TP("orders", 0), 1))
    assert event.value is chunk


async def test_the_fetch_limits_reach_aiokafka(app: ChunkApp) -> None:
    """Faust hard-codes a fetch wait of 1.5 s; ours replaces it, with the other limits, where aiokafka reads them."""
    app.finalize()
    thread = app.consumer._thread
    made = thread._create_worker_consumer(app.transport)
    try:
        assert isinstance(made, AIOKafkaConsumer)
        assert (made._fetch_max_wait_ms, made._fetch_min_bytes, made._max_partition_fetch_bytes) == (70, 3, 4096)
        assert made._fetch_max_bytes == app.transport_settings.fetch_max_bytes
    finally:
        made._closed = True  # it was never started
        thread.thread_loop.close()
