"""The queue of submissions under review in Kafka: read from where it was decided to, up to what was released."""

from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
import pytest_asyncio
from transport_kafka import started

from infra.embedded import Broker
from streams.stores.kafka_access import KafkaAccess
from streams.stores.log import Entry
from streams.stores.log_kafka import KafkaLog
from streams.stores.reader_kafka import committed, lag
from streams.stores.review_kafka import DECIDED_GROUP, RELEASED_GROUP, KafkaReview, release, standing
from streams.stores.topics_kafka import create_topics
from streams.topics import REVIEW

pytestmark = pytest.mark.timeout(120)

ALL = frozenset({0, 1, 2})


@pytest.fixture
def brokers(broker: Broker) -> Iterator[KafkaAccess]:
    """An empty broker with the topics."""
    with started(broker) as bootstrap:
        yield KafkaAccess(bootstrap=bootstrap, idempotent=broker is Broker.KAFKA)


@pytest_asyncio.fixture
async def log(brokers: KafkaAccess) -> AsyncIterator[KafkaLog]:
    """Its producing side."""
    await create_topics(brokers, partitions=len(ALL), replication=1)
    made = await KafkaLog.connect(brokers)
    yield made
    await made.close()


async def waiting(queue: KafkaReview, partitions: frozenset[int] = ALL) -> dict[int, list[bytes]]:
    """Values that wait, by partition."""
    found: dict[int, list[bytes]] = {}
    async for partition, records in queue.waiting(partitions):
        found.setdefault(partition, []).extend(r.value or b"" for r in records)
    return found


def entries(*values: bytes) -> list[Entry]:
    """Records."""
    return [Entry(b"web:s", value, 1_790_000_000_000) for value in values]


async def test_what_was_decided_does_not_wait_any_more(brokers: KafkaAccess, log: KafkaLog) -> None:
    """Offsets are kept without a member in the group, by partition; who asks for one partition gets no other."""
    queue = KafkaReview(brokers)
    assert await waiting(queue) == {}
    await log.append(REVIEW.name, 1, entries(b"a", b"b"))
    await log.append(REVIEW.name, 1, entries(b"c"))
    await log.append(REVIEW.name, 2, entries(b"d"))
    assert await waiting(queue) == {1: [b"a", b"b", b"c"], 2: [b"d"]}
    assert await waiting(queue, frozenset({2})) == {2: [b"d"]}
    await queue.done({1: 1})
    await queue.done({2: 1})
    assert await waiting(KafkaReview(brokers)) == {1: [b"b", b"c"]}
    assert (await committed(brokers, DECIDED_GROUP, REVIEW.name)) == {1: 1, 2: 1}
    assert (await lag(brokers, DECIDED_GROUP, REVIEW.name))[0] == 2


async def test_an_operator_releases_what_stands_there_then(brokers: KafkaAccess, log: KafkaLog) -> None:
    """Nothing before; what comes after the release waits for the next one."""
    queue = KafkaReview(brokers, by_operator=True)
    await log.append(REVIEW.name, 0, entries(b"a", b"b"))
    assert await waiting(queue) == {}
    assert await release(brokers) == {0: 2}
    await log.append(REVIEW.name, 0, entries(b"c"))
    await log.append(REVIEW.name, 1, entries(b"d"))
    assert await waiting(queue) == {0: [b"a", b"b"]}
    found = [(one.partition, one.record.value, one.released) async for one in standing(brokers)]
    assert sorted(found) == [(0, b"a", True), (0, b"b", True), (0, b"c", False), (1, b"d", False)]
    await queue.done({0: 2})
    assert await waiting(queue) == {}
    assert await release(brokers) == {0: 1, 1: 1}
    assert await waiting(queue) == {0: [b"c"], 1: [b"d"]}
    assert (await committed(brokers, RELEASED_GROUP, REVIEW.name))[0] == 3


class Noting(KafkaReview):
    """Notes what is committed."""

    def __init__(self, brokers: KafkaAccess) -> None:
        super().__init__(brokers)
        self.committed: list[dict[int, int]] = []

    async def done(self, offsets: Mapping[int, int]) -> None:
        """See `ReviewQueue`."""
        self.committed.append(dict(offsets))
        await super().done(offsets)


async def test_offsets_are_kept_alive(brokers: KafkaAccess, log: KafkaLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then they are committed again as they are, those of our partitions only: else Kafka forgets them."""
    queue = Noting(brokers)
    await log.append(REVIEW.name, 1, entries(b"a", b"b"))
    await KafkaReview(brokers).done({1: 1, 2: 0})
    await waiting(queue)
    assert queue.committed == []
    monkeypatch.setattr("streams.stores.review_kafka.KEEP_S", 0.0)
    assert await waiting(queue, frozenset({0, 1})) == {1: [b"b"]}
    assert queue.committed == [{1: 1}]
