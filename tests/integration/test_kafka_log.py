"""Producing to and reading from Apache Kafka: what tansu cannot show, as it knows no idempotence, limits or markers."""

import asyncio
import struct
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.structs import OffsetAndMetadata
from apache_kafka import Node, apache_kafka
from confluent_kafka import Producer

from infra.embedded import Broker
from streams.errors import LogRefused, LogUnavailable, RecordTooLarge, UnknownThing
from streams.stores.kafka_access import KafkaAccess
from streams.stores.log import Entry
from streams.stores.log_kafka import KafkaLog
from streams.stores.reader_kafka import TopicReader, lag

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.only_on(Broker.KAFKA, reason="tansu knows no idempotence, no limits, no markers"),
]

PRODUCE = 0
# A listener whose advertised port is a proxy's: clients that come by it are cut off when the test wants.
PROXIED = """
listeners=BROKER://127.0.0.1:{plain},PROXIED://127.0.0.1:{0},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=BROKER://127.0.0.1:{plain},PROXIED://127.0.0.1:{1}
listener.security.protocol.map=BROKER:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
"""


@pytest.fixture(scope="module")
def node(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for this module; each test has topics of its own."""
    assert broker is Broker.KAFKA
    with apache_kafka(tmp_path_factory.mktemp("kafka"), properties=PROXIED, listeners=2) as started:
        yield started


@asynccontextmanager
async def topic(node: Node, **settings: str) -> AsyncIterator[str]:
    """A new topic of one partition."""
    name = f"t{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=node.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs=settings)])
        yield name
    finally:
        await admin.close()


def entries(*values: bytes) -> list[Entry]:
    """Records without keys."""
    return [Entry(None, value, 1_790_000_000_000) for value in values]


async def values(node: Node, name: str) -> list[bytes | None]:
    """Everything in a topic."""
    reader = await TopicReader.open(node.bootstrap, name, start="beginning")
    try:
        return [record.value async for _, records in reader.until_end() for record in records]
    finally:
        await reader.close()


class Proxy:
    """Passes bytes on; the answer to the next produce request is lost with its connection, when `lose` is set."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.lose = 0
        self.lost = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        back, forth = await asyncio.open_connection("127.0.0.1", self._target)
        silent = asyncio.Event()
        answers = asyncio.create_task(self._answers(back, writer, silent))
        try:
            while True:
                head = await reader.readexactly(4)
                body = await reader.readexactly(struct.unpack(">i", head)[0])
                if self.lose > 0 and struct.unpack_from(">h", body)[0] == PRODUCE:
                    self.lose -= 1
                    silent.set()
                forth.write(head + body)
                if silent.is_set():
                    await answers
                    return
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            answers.cancel()
            forth.close()
            writer.close()

    async def _answers(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: asyncio.Event) -> None:
        while piece := await back.read(65_536):
            if silent.is_set():
                self.lost += 1  # it is answered, so it is written; nobody hears of it
                return
            writer.write(piece)
        writer.close()


@pytest.mark.parametrize(("idempotent", "copies"), [(True, 1), (False, 3)])
async def test_a_retry_writes_nothing_twice(node: Node, idempotent: bool, copies: int) -> None:
    """A batch whose answer is lost twice is sent three times and stands there once; without idempotence, thrice."""
    proxy = Proxy(node.ports["more-0"])
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", node.ports["more-1"])
    async with server, topic(node) as name:
        log = await KafkaLog.connect(KafkaAccess(bootstrap=f"127.0.0.1:{node.ports['more-1']}", idempotent=idempotent))
        await log.append(name, 0, entries(b"before"))
        proxy.lose = 2
        await log.append(name, 0, entries(b"one", b"two"))
        await log.append(name, 0, entries(b"after"))
        await log.close()
        assert proxy.lost == 2
        assert await values(node, name) == [b"before", *[b"one", b"two"] * copies, b"after"]


async def test_a_record_too_large_is_refused_and_what_follows_goes_on(node: Node) -> None:
    """The refusal is told apart from an outage; the sequence number that it used up does not hold up the rest."""
    async with topic(node, **{"max.message.bytes": "10000"}) as name:
        log = await KafkaLog.connect(KafkaAccess(bootstrap=node.bootstrap, idempotent=True))
        await log.append(name, 0, entries(b"before"))
        with pytest.raises(RecordTooLarge, match=r"max\.message\.bytes"):
            await log.append(name, 0, entries(b"x" * 20_000))
        await log.append(name, 0, entries(b"after"))
        await log.append(name, 0, entries(b"and after"))
        await log.close()
        assert await values(node, name) == [b"before", b"after", b"and after"]


async def test_a_topic_that_is_not_there_is_said_to_be(node: Node) -> None:
    """Not an outage that is waited for: a person must create it."""
    log = await KafkaLog.connect(KafkaAccess(bootstrap=node.bootstrap, idempotent=True), timeout_s=1.0)
    with pytest.raises(UnknownThing, match="floodway init"):
        await log.partitions("no.such.topic")
    await log.close()


async def test_a_producer_outlives_an_outage(tmp_path: Path, broker: Broker) -> None:
    """While the broker is down a call ends with an outage within its time, and closing does not hang; when it is back
    the same log goes on, and what was tried again stands there once.
    """
    assert broker is Broker.KAFKA
    with apache_kafka(tmp_path) as own:
        async with topic(own) as name:
            log = await KafkaLog.connect(KafkaAccess(bootstrap=own.bootstrap, idempotent=True), timeout_s=3.0)
            await log.append(name, 0, entries(b"before"))
            own.kill()
            for _ in range(2):
                with pytest.raises(LogUnavailable):
                    await asyncio.wait_for(log.append(name, 0, entries(b"meanwhile")), 10)
            own.start()
            await log.append(name, 0, entries(b"meanwhile"))
            own.kill()
            with pytest.raises(LogUnavailable):
                await log.append(name, 0, entries(b"never"))
            await asyncio.wait_for(log.close(), 10)
            own.start()
            assert await values(own, name) == [b"before", b"meanwhile"]


async def test_what_was_aborted_is_never_read_and_markers_hold_nobody_up(node: Node) -> None:
    """A reader passes over an aborted transaction, ends behind the last record although markers follow, and a group
    that has committed that has no lag.
    """
    async with topic(node) as name:
        producer = Producer({"bootstrap.servers": node.bootstrap, "transactional.id": name})
        producer.init_transactions(30)
        for value, commits in [(b"kept", True), (b"aborted", False), (b"last", True), (b"aborted too", False)]:
            producer.begin_transaction()
            producer.produce(name, value, partition=0)
            producer.flush(10)
            producer.commit_transaction(30) if commits else producer.abort_transaction(30)
        assert await asyncio.wait_for(values(node, name), 20) == [b"kept", b"last"]
        reader = await TopicReader.open(node.bootstrap, name, start="end")
        assert reader.ends == {0: 5}  # kept, marker, aborted, marker, last | marker, aborted, marker
        await reader.close()
        assert (await lag(node.bootstrap, f"g-{name}", name))[0] == 5
        await commit(node, f"g-{name}", name, 5)
        assert await lag(node.bootstrap, f"g-{name}", name) == (0, {0: 5})


async def test_nothing_but_markers_is_an_empty_topic(node: Node) -> None:
    """A topic in which every transaction was aborted has nothing to read, and nobody waits for it."""
    async with topic(node) as name:
        producer = Producer({"bootstrap.servers": node.bootstrap, "transactional.id": name})
        producer.init_transactions(30)
        for _ in range(20):
            producer.begin_transaction()
            producer.produce(name, b"aborted", partition=0)
            producer.flush(10)
            producer.abort_transaction(30)
        assert await asyncio.wait_for(values(node, name), 20) == []
        assert (await lag(node.bootstrap, f"g-{name}", name))[0] == 0


async def test_what_retention_took_is_not_waited_for(node: Node) -> None:
    """Where the log begins past offset 0 a reader begins there; a group that never committed lags by what is left."""
    async with topic(node) as name:
        log = await KafkaLog.connect(node.bootstrap)
        await log.append(name, 0, entries(*(b"%d" % n for n in range(10))))
        await log.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=node.bootstrap)
        await admin.start()
        await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=7)})
        await admin.close()
        assert await values(node, name) == [b"7", b"8", b"9"]
        assert (await lag(node.bootstrap, f"g-{name}", name))[0] == 3
        await commit(node, f"g-{name}", name, 2)  # what it had read before
        assert (await lag(node.bootstrap, f"g-{name}", name))[0] == 3


async def test_idempotence_is_not_asked_of_a_broker_that_lacks_it(node: Node) -> None:
    """Tansu refuses it: that is told with the setting to change, and is no outage."""
    from transport_kafka import embedded_broker

    with embedded_broker() as tansu, pytest.raises(LogRefused, match="FLOODWAY_KAFKA_IDEMPOTENT=false"):
        await KafkaLog.connect(KafkaAccess(bootstrap=tansu, idempotent=True))


async def commit(node: Node, group: str, name: str, offset: int) -> None:
    """Commit for a group."""
    consumer = AIOKafkaConsumer(bootstrap_servers=node.bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(name, 0)])
        await consumer.commit({TopicPartition(name, 0): OffsetAndMetadata(offset, "")})
    finally:
        await consumer.stop()
