"""Which partition a key belongs to: murmur2, as the Java client, aiokafka and librdkafka's `murmur2_random` have it."""

from aiokafka.partitioner import murmur2


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of a key among so many."""
    found: int = (murmur2(key) & 0x7FFFFFFF) % partitions
    return found
