"""The chunk transport inside one process, against a broker: hand-over, acknowledgement, commit, limits, rebalance."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from faust.types.tuples import TP
from transport_kafka import committed, create_topic, produce, running, until, until_equal

from agents.transport import Chunk, ChunkApp, TransportSettings, chunk_app, chunk_topic
from agents.transport.fetch import ChunkConsumerThread

pytest_plugins = ["broker_fixtures"]
pytestmark = pytest.mark.timeout(60)


@dataclass
class Bench:
    """A topic, and apps of one group that read it."""

    bootstrap: str
    directory: Path
    partitions: int
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")

    async def committed(self) -> list[int | None]:
        """What the group has committed."""
        return await committed(self.bootstrap, self.name, self.name, self.partitions)

    async def produce(self, *counts: int) -> None:
        """Write records, so many to each partition."""
        await produce(self.bootstrap, self.name, dict(enumerate(counts)))

    def app(self, body: Callable[[Any], Any], **limits: Any) -> ChunkApp:
        """An app with one agent."""
        app = chunk_app(
            self.name,
            self.bootstrap,
            session_timeout_s=3.0,
            commit_interval_s=0.1,
            transport=TransportSettings(**{"chunk_max_records": 10, **limits}),
            datadir=self.directory,
        )
        app.agent(chunk_topic(app, self.name))(body)
        return app


@pytest.fixture
def bench(bootstrap: str, tmp_path: Path) -> Callable[..., Any]:
    """Make a bench: the topic is created, and filled with so many records for each partition."""

    @asynccontextmanager
    async def make(*counts: int) -> AsyncIterator[Bench]:
        made = Bench(bootstrap, tmp_path, len(counts))
        await create_topic(bootstrap, made.name, len(counts))
        await made.produce(*counts)
        yield made

    return make


async def test_only_the_acknowledged_prefix_is_committed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that Faust believes done, and a chunk acknowledged before its predecessor, commit nothing (#606); a commit
    that failed is tried again; after the last acknowledgement the committed offset is the end exactly.
    """
    got: list[Chunk] = []

    async def body(stream: Any) -> None:
        async for event in stream.events():
            async with event:  # acknowledges, as far as Faust is concerned, and so does the end of the loop's body
                got.append(event.value)
            event.ack()

    async with bench(35) as b, running(b.app(body)) as app:
        await until(lambda: len(got) == 4)
        assert [(c.first_offset, c.next_offset) for c in got] == [(0, 10), (10, 20), (20, 30), (30, 35)]
        assert [record.value for record in got[3].records] == [b"%d" % n for n in range(30, 35)]
        await asyncio.sleep(0.3)  # three commit intervals
        assert await b.committed() == [None]
        assert got[1].acknowledge()
        await asyncio.sleep(0.3)
        assert await b.committed() == [None]

        thread = app.consumer._thread
        commit, failures = thread._consumer.commit, iter([KafkaTimeoutError()])

        async def fails_once(offsets: Any) -> None:
            for error in failures:
                raise error
            await commit(offsets)

        monkeypatch.setattr(thread._consumer, "commit", fails_once)
        assert got[0].acknowledge()
        assert not got[0].acknowledge()
        await until_equal(b.committed, [20])
        assert next(failures, None) is None
        assert got[2].acknowledge()
        assert got[3].acknowledge()
        await until_equal(b.committed, [35])
        assert app.monitor.messages_active == 0
        assert app.consumer.stats.records_acked == 35


async def test_gaps_in_the_offsets_do_not_stall(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets that the broker never delivers, as after compaction, are passed over by the commits."""
    take = ChunkConsumerThread._take
    got: list[Chunk] = []

    async def compacted(self: Any, consumer: Any, request: Any) -> Any:
        fetched = await take(self, consumer, request)
        return [part._replace(records=[r for r in part.records if 3 <= r.offset % 10 < 7]) for part in fetched]

    async def body(stream: Any) -> None:
        async for chunk in stream:
            got.append(chunk)
            chunk.acknowledge()

    monkeypatch.setattr(ChunkConsumerThread, "_take", compacted)
    async with bench(40) as b, running(b.app(body)):
        await until_equal(b.committed, [37])
        assert [(c.first_offset, c.next_offset) for c in got] == [(n + 3, n + 7) for n in (0, 10, 20, 30)]


async def test_a_slow_agent_bounds_what_is_in_flight_and_others_go_on(bench: Any) -> None:
    """With a backlog, a partition that nobody acknowledges takes up its four chunks and no more, the other partition
    is read to its end, and one acknowledgement lets exactly one more chunk through.
    """
    stuck: list[Chunk] = []

    async def body(stream: Any) -> None:
        async for chunk in stream:
            if chunk.partition == 0:
                stuck.append(chunk)
            else:
                chunk.acknowledge()

    async with bench(5_000, 2_000) as b, running(b.app(body, chunk_max_records=50, max_inflight_records=400)) as app:
        await until_equal(b.committed, [None, 2_000])
        assert [c.first_offset for c in stuck] == [0, 50, 100, 150]
        assert app.consumer.offsets.records == 200
        stuck[0].acknowledge()
        await until(lambda: len(stuck) == 5, timeout_s=0.5)
        await asyncio.sleep(0.2)
        assert len(stuck) == 5


async def test_the_total_in_flight_is_bounded(bench: Any) -> None:
    """Over many partitions the limit in records holds, and it is shared out among them."""
    got: list[Chunk] = []

    async def body(stream: Any) -> None:
        async for chunk in stream:
            got.append(chunk)

    async with bench(500, 500, 500, 500) as b, running(b.app(body, chunk_max_records=50, max_inflight_records=220)):
        await until(lambda: len(got) == 4)
        await asyncio.sleep(0.3)
        assert sorted(c.partition for c in got) == [0, 1, 2, 3]
        assert sum(map(len, got)) == 200


async def test_a_paused_partition_rests_and_a_resumed_one_misses_nothing(bench: Any) -> None:
    """Pausing holds back even what was being fetched; resuming hands over everything, at once and in order."""
    got: dict[int, list[int]] = {0: [], 1: []}

    async def body(stream: Any) -> None:
        async for chunk in stream:
            got[chunk.partition] += [record.offset for record in chunk.records]
            chunk.acknowledge()

    async with bench(30, 30) as b, running(b.app(body)) as app:
        await until(lambda: len(got[0]) == len(got[1]) == 30)
        resting = [TP(b.name, 0)]
        app.consumer.pause_partitions(resting)
        await b.produce(25, 25)  # a fetch for both partitions was waiting when the first was paused
        await until(lambda: len(got[1]) == 55)
        await asyncio.sleep(0.3)
        assert len(got[0]) == 30
        app.consumer.resume_partitions(resting)
        await until(lambda: len(got[0]) == 55, timeout_s=0.5)
        assert got[0] == got[1] == list(range(55))
        await until_equal(b.committed, [55, 55])


async def test_a_record_is_handed_over_soon(bench: Any) -> None:
    """Faust's hard-coded fetch wait of 1.5 s is gone: a record reaches the agent of an idle worker in a moment."""
    got: list[Chunk] = []

    async def body(stream: Any) -> None:
        async for chunk in stream:
            got.append(chunk)
            chunk.acknowledge()

    async with bench(1) as b, running(b.app(body)):
        await until(lambda: len(got) == 1)
        for number in range(2, 6):
            await asyncio.sleep(0.1)
            await b.produce(1)
            await until(lambda number=number: len(got) == number, timeout_s=0.4)  # type: ignore[misc]


async def test_a_graceful_stop_commits_what_was_acknowledged(bench: Any) -> None:
    """The chunk an agent works on when the stop comes is finished and committed; the ones behind it are not begun."""
    done: list[Chunk] = []

    async def body(stream: Any) -> None:
        async for chunk in stream:
            await asyncio.sleep(0.3)
            chunk.acknowledge()
            done.append(chunk)

    async with bench(100) as b:
        app = b.app(body)
        app.conf.broker_commit_interval = 60.0  # no commit but the last
        async with running(app):
            await until(lambda: len(done) == 1)
            assert app.consumer.commit_interval == 60.0
            await asyncio.sleep(0.05)
        assert len(done) == 2
        assert await b.committed() == [20]


async def test_a_rebalance_with_chunks_in_flight_loses_nothing(bench: Any) -> None:
    """A second worker joins while the first holds unacknowledged chunks and hands over another (#229): no deadlock,
    the acknowledged prefix is committed by the revoke, late acknowledgements are ignored, everything else comes again,
    and both partitions end at their end.
    """
    first: list[Chunk] = []
    seen: dict[int, list[int]] = {0: [], 1: []}
    holding = True

    def note(chunk: Chunk) -> None:
        seen[chunk.partition] += [record.offset for record in chunk.records]
        chunk.acknowledge()

    async def holds(stream: Any) -> None:
        async for chunk in stream:
            if not holding:
                note(chunk)
            else:
                first.append(chunk)
                if chunk.first_offset == 0:
                    note(chunk)

    async def acks(stream: Any) -> None:
        async for chunk in stream:
            note(chunk)

    async with bench(200, 200) as b, AsyncExitStack() as stack:
        one = b.app(holds, handback_grace_s=0.3)
        one.conf.broker_commit_interval = 60.0  # the revoke must do it
        await stack.enter_async_context(running(one))
        await until(
            lambda: one.consumer.offsets.chunks(TP(b.name, 0)) == one.consumer.offsets.chunks(TP(b.name, 1)) == 4
        )
        assert one.consumer.commit_interval == 60.0
        one.flow_control.suspend()
        chunk = next(c for c in first if c.first_offset == 10)
        note(chunk)
        await until(lambda: one.consumer.stats.chunks_delivered == 11)  # and waits for the flow
        before = [c for c in first if c.first_offset > 0 and c is not chunk]
        holding = False
        two = await stack.enter_async_context(running(b.app(acks)))
        await until(lambda: all(set(offsets) == set(range(200)) for offsets in seen.values()))
        assert all(offsets.count(0) == 1 for offsets in seen.values())  # the revoke has committed it
        assert [c.acknowledge() for c in before] == [False] * len(before)
        assert one.consumer.stats.chunks_returned >= 8
        assert len(one.consumer.assignment()) == len(two.consumer.assignment()) == 1
        await one.consumer.commit()
        await until_equal(b.committed, [200, 200])
        assert one.monitor.messages_active == two.monitor.messages_active == 0
