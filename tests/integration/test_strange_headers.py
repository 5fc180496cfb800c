"""Header names that are no UTF-8: Kafka takes them, and neither they nor their neighbours are lost."""

from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchBuilderPy
from transport_kafka import create_topic, running, until

from agents.transport import chunk_app, chunk_topic
from streams.stores.reader_kafka import TopicReader

pytest_plugins = ["broker_fixtures"]
pytestmark = pytest.mark.timeout(90)

CODECS = [DefaultRecordBatch.CODEC_NONE, DefaultRecordBatch.CODEC_GZIP, DefaultRecordBatch.CODEC_LZ4]


class Name(str):
    """A header's name that encodes to bytes that are none."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """No UTF-8, whatever is asked for."""
        return b"trace\xff\xfe"


async def produce(bootstrap: str, topic: str, codec: int) -> None:
    """Five records in one batch, the third with such a name and a value of any bytes; then one more batch."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, 0, 100_000)
        for number in range(5):
            headers = [(Name("x"), b"\xff"), ("good", b"1")] if number == 2 else []
            batch.append(key=b"\xff%d" % number, value=b"%d" % number, timestamp=1, headers=headers)
        await (await producer.send_batch(batch, topic, partition=0))
        await producer.send_and_wait(topic, b"5", key=b"\xff5", partition=0)
    finally:
        await producer.stop()


@pytest.mark.parametrize("codec", CODECS)
async def test_a_strange_name_holds_nobody_up(bootstrap: str, codec: int, tmp_path: Path) -> None:
    """A worker and a reader get all records, key, value and header values byte for byte, the name in readable form."""
    topic = f"strange-{codec}"
    await create_topic(bootstrap, topic, 1)
    await produce(bootstrap, topic, codec)
    got: list[Any] = []

    async def body(stream: Any) -> None:
        async for chunk in stream:
            got.extend(chunk.records)
            chunk.acknowledge()

    app = chunk_app(f"g-{topic}", bootstrap, session_timeout_s=6.0, datadir=tmp_path)
    app.agent(chunk_topic(app, topic))(body)
    async with running(app):
        await until(lambda: len(got) >= 6, 30.0)
    reader = await TopicReader.open(bootstrap, topic, start="beginning")
    read = [record async for _, records in reader.until_end() for record in records]
    await reader.close()
    for records in (got, read):
        assert [(r.offset, r.key, r.value) for r in records] == [(n, b"\xff%d" % n, b"%d" % n) for n in range(6)]
        assert [tuple(r.headers) for r in records if r.headers] == [(("trace\\xff\\xfe", b"\xff"), ("good", b"1"))]
