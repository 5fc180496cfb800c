"""Keys go where every other client of Kafka would put them."""

from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from streams.stores.partitioner import murmur2, partition_of


@given(st.binary(max_size=200))
def test_the_hash_is_that_of_other_clients(key: bytes) -> None:
    """Bit by bit the one that aiokafka took over from the Java client, for keys of any length."""
    assert murmur2(key) == reference(key)
    assert 0 <= partition_of(key, 12) < 12


def test_known_values_of_the_java_client() -> None:
    """The test vectors of Kafka's own `UtilsTest`, so that not two mistakes agree."""
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for key, signed in known.items():
        assert murmur2(key) == signed & 0xFFFFFFFF
