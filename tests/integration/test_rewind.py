"""Offsets put back to a time, on a group without workers; refused while there are some."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from transport_kafka import committed, create_topic, until

from infra.embedded import Broker
from streams.errors import Refused
from streams.stores.rewind_kafka import rewind

pytest_plugins = ["broker_fixtures"]
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.only_on(Broker.KAFKA, reason="tansu looks nothing up by its time, and forgets no member"),
]

GROUP, TOPIC = "g-rewound", "rewound"
FIRST_MS, APART_MS, COUNT = 1_790_000_000_000, 1_000, 10


async def read_to(bootstrap: str, *offsets: int) -> None:
    """Commit in the group's name, partition by partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=GROUP, enable_auto_commit=False)
    await consumer.start()
    partitions = [TopicPartition(TOPIC, n) for n in range(len(offsets))]
    consumer.assign(partitions)
    await consumer.commit(dict(zip(partitions, offsets, strict=True)))
    await consumer.stop()


async def test_a_group_reads_again_from_a_time_on(bootstrap: str) -> None:
    """Back to the first record since then, never forward; partitions without such records, or unread, stay."""
    await create_topic(bootstrap, TOPIC, 3)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for partition in (0, 1):
            for number in range(COUNT):
                await producer.send_and_wait(
                    TOPIC, b"x", partition=partition, timestamp_ms=FIRST_MS + number * APART_MS
                )
    await read_to(bootstrap, 8, 3)
    assert await rewind(bootstrap, GROUP, TOPIC, FIRST_MS + 5 * APART_MS) == 3  # partition 1 had not come so far
    assert (await committed(bootstrap, GROUP, TOPIC, 3))[:2] == [5, 3]
    assert await rewind(bootstrap, GROUP, TOPIC, FIRST_MS + 99 * APART_MS) == 0
    assert await rewind(bootstrap, GROUP, TOPIC, 0) == 8
    assert (await committed(bootstrap, GROUP, TOPIC, 3))[:2] == [0, 0]
    assert await rewind(bootstrap, "g-nobody", TOPIC, 0) == 0


async def test_a_group_with_workers_is_left_alone(bootstrap: str) -> None:
    """Their next commit would undo it: it is refused, and says what to do first."""
    await read_to(bootstrap, 8, 3)
    member = AIOKafkaConsumer(TOPIC, bootstrap_servers=bootstrap, group_id=GROUP, enable_auto_commit=False)
    await member.start()
    try:
        await until(lambda: bool(member.assignment()), 60.0)
        with pytest.raises(Refused, match="has workers; stop them all, rewind, and start them again"):
            await rewind(bootstrap, GROUP, TOPIC, 0, wait_s=1.0)
        assert (await committed(bootstrap, GROUP, TOPIC, 3))[:2] == [8, 3]
    finally:
        await member.stop()
