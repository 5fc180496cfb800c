"""Has a consumer group read again what it has committed already: redelivery, for everything since a time.

Whatever was read once may be read once more: Redis repeats its decisions, the ledger keeps what it has and takes what
it lacks. So this brings back what the ledger has lost.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError

from streams.errors import Refused
from streams.stores.kafka_access import Brokers, access_to
from streams.stores.reader_kafka import committed, explained, group_consumer

if TYPE_CHECKING:
    from streams.stores.reader_kafka import Positions


LEFT_WITHIN_S = 15.0
"""Members that have ended may count until their session is over."""
LOOK_S = 1.0


async def rewind(brokers: Brokers, group: str, topic: str, since_ms: int, *, wait_s: float = LEFT_WITHIN_S) -> int:
    """Put a group's offsets back to the first records since a time, by the records' own; returns how many that is.

    Raises `Refused` when the group has members after `wait_s`, `Unavailable` when Kafka does not answer.
    """
    before = await committed(brokers, group, topic)
    consumer = group_consumer(access_to(brokers), group)
    try:
        await consumer.start()
        partitions = [TopicPartition(topic, partition) for partition in before]
        consumer.assign(partitions)
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms)) if partitions else {}
        back: Positions = {
            at.partition: min(answer.offset, before[at.partition]) for at, answer in found.items() if answer is not None
        }
        if back:
            await _commit(consumer, {TopicPartition(topic, partition): at for partition, at in back.items()}, wait_s)
        return sum(before[partition] - offset for partition, offset in back.items())
    except CommitFailedError as error:
        raise Refused(
            f"{group} has workers; stop them all, rewind, and start them again. (The embedded tansu counts those that "
            "have ended until another comes, and looks nothing up by its time: this takes Apache Kafka.)"
        ) from error
    except (KafkaError, OSError) as error:
        raise await explained(access_to(brokers), error, f"rewind {group}") from error
    finally:
        await consumer.stop()


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int], wait_s: float) -> None:
    deadline = monotonic() + wait_s
    while True:
        try:
            await consumer.commit(offsets)
            return
        except CommitFailedError:
            if monotonic() > deadline:
                raise
        await asyncio.sleep(LOOK_S)
