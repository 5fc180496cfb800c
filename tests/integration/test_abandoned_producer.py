"""A producer that is given up in an outage lets go at once, whatever it has in hands: its worker waits for it."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded import Part, Stack
from streams.errors import LogUnavailable
from streams.stores.log import Entry
from streams.stores.log_kafka import KafkaLog, _abort
from streams.stores.topics_kafka import create_topics
from streams.topics import DECIDED

PARTITIONS = 4


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Servers of its own: the broker is frozen."""
    with Stack.start(tmp_path) as started:
        yield started


async def test_a_producer_is_given_up_at_once(stack: Stack) -> None:
    """With batches under way that could be tried again, which wait for metadata that nobody fetches any more."""
    brokers, broker = stack.addresses.kafka_bootstrap, stack.pids()[Part.KAFKA]
    await create_topics(brokers, partitions=PARTITIONS, replication=1, min_insync=1)
    log = await KafkaLog.connect(brokers)
    entries = [Entry(b"k", b"v" * 4_000, 1_790_000_000_000)]
    for partition in range(PARTITIONS):
        await log.append(DECIDED.name, partition, entries)
    os.kill(broker, signal.SIGSTOP)
    try:
        under_way = [asyncio.create_task(log.append(DECIDED.name, p, entries * 20)) for p in range(PARTITIONS)]
        await asyncio.sleep(0.5)
        producer, log._producer = log._producer, None
        assert producer is not None
        async with asyncio.timeout(4.0):  # it took for ever
            await _abort(producer)
        failed = await asyncio.gather(*under_way, return_exceptions=True)
    finally:
        os.kill(broker, signal.SIGCONT)
    assert all(isinstance(error, LogUnavailable) for error in failed)
    await log.append(DECIDED.name, 0, entries)
    await log.close()
