"""Which partition a key belongs to: murmur2, as the Java client, aiokafka and librdkafka's `murmur2_random` have it.

aiokafka's own takes 7 us for a key of 24 bytes, as long as all of decoding an order; this one a quarter of that. It
takes words instead of bytes, and cuts to 32 bits only where upper bits would count.
"""

from struct import Struct

_M, _SEED, _32 = 0x5BD1E995, 0x9747B28C, 0xFFFFFFFF
_words: dict[int, Struct] = {}


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of a key among so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """The hash of a key, 32 bits, unsigned."""
    length = len(key)
    count = length >> 2
    words = _words.get(count)
    if words is None:
        words = _words[count] = Struct(f"<{count}I")
    h = _SEED ^ length
    for word in words.unpack_from(key):
        k = word * _M & _32
        h = (h * _M ^ (k ^ k >> 24) * _M) & _32
    tail = count << 2
    if tail < length:
        h = (h ^ int.from_bytes(key[tail:], "little")) * _M
    h &= _32
    h = (h ^ h >> 13) * _M & _32
    return h ^ h >> 15
