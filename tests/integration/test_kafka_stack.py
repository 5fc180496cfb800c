"""Apache Kafka as the stack's broker: what survives, what three nodes are for, what is said when Java is missing."""

import asyncio
from pathlib import Path

import pytest

from agents.bootstrap import prepare
from infra.embedded import Broker, Part, Stack, StackError, kafka
from streams.errors import LogUnavailable
from streams.settings import Settings, load
from streams.stores.kafka_access import access
from streams.stores.log import Entry
from streams.stores.log_kafka import KafkaLog
from streams.stores.reader_kafka import TopicReader
from streams.topics import DECIDED

pytestmark = [pytest.mark.timeout(180), pytest.mark.only_on(Broker.KAFKA, reason="these are its own")]


def entry(value: bytes) -> Entry:
    """A record."""
    return Entry(b"k", value, 1_790_000_000_000)


async def append(settings: Settings, value: bytes, *, timeout_s: float = 20.0) -> None:
    """One record to the first partition."""
    log = await KafkaLog.connect(access(settings), timeout_s=timeout_s)
    try:
        await log.append(DECIDED.name, 0, [entry(value)])
    finally:
        await log.close()


async def values(settings: Settings) -> list[bytes | None]:
    """What stands in the topic."""
    reader = await TopicReader.open(access(settings), DECIDED.name, start="beginning")
    try:
        return [record.value async for _, records in reader.until_end() for record in records]
    finally:
        await reader.close()


def test_topics_survive_a_restart(broker: Broker, tmp_path: Path) -> None:
    """Records and addresses are the same after stop and start; `fresh` begins anew; three nodes are another cluster."""
    with Stack.start(tmp_path, broker=broker) as first:
        settings = load(first.addresses.environment())
        assert settings.kafka_idempotent
        asyncio.run(prepare(settings))
        asyncio.run(append(settings, b"kept"))
    with Stack.start(tmp_path, broker=broker) as second:
        assert second.addresses == first.addresses
        assert asyncio.run(values(settings)) == [b"kept"]
        second.kill(Part.KAFKA)
        second.restart(Part.KAFKA)
        assert asyncio.run(values(settings)) == [b"kept"]
    with pytest.raises(StackError, match="has 1 nodes, not 3"):
        Stack.start(tmp_path, broker=broker, nodes=3)
    with Stack.start(tmp_path, broker=broker, fresh=True) as third:
        asyncio.run(prepare(load(third.addresses.environment())))
        assert asyncio.run(values(load(third.addresses.environment()))) == []


@pytest.mark.slow
def test_three_nodes_lose_one_and_nothing_else(broker: Broker, tmp_path: Path) -> None:
    """With one node killed records are acknowledged; with two nothing is; what was acknowledged is there in the end."""
    with Stack.start(tmp_path, broker=broker, nodes=3) as stack:
        settings = load(stack.addresses.environment())
        assert (settings.topic_replication, settings.topic_min_insync) == (3, 2)
        asyncio.run(prepare(settings))
        asyncio.run(append(settings, b"all"))
        stack.kill(Part.KAFKA, 1)
        asyncio.run(append(settings, b"without 1", timeout_s=40.0))
        stack.kill(Part.KAFKA, 2)
        with pytest.raises(LogUnavailable):
            asyncio.run(append(settings, b"never", timeout_s=5.0))
        assert set(stack.pids()) >= {"kafka-3"}
        stack.restart_nodes(1, 2)
        asyncio.run(append(settings, b"after", timeout_s=40.0))
        assert [v for v in asyncio.run(values(settings)) if v != b"never"] == [
            b"all",
            b"without 1",
            b"after",
        ]


def test_a_clusters_name_is_never_taken_for_an_option(broker: Broker) -> None:
    """One in 64 random names would begin with a dash, and formatting would fail with it."""
    assert broker is Broker.KAFKA
    assert not any(kafka.new_cluster_id().startswith("-") for _ in range(2_000))


@pytest.mark.parametrize(("broker_name", "nodes"), [("tansu", 3), ("kafka", 2), ("rabbit", 1)])
def test_what_there_is_not_is_refused(broker: Broker, tmp_path: Path, broker_name: str, nodes: int) -> None:
    """An unknown broker, or a number of nodes that it does not run with, is named before anything starts."""
    assert broker is Broker.KAFKA
    with pytest.raises(StackError, match=broker_name):
        Stack.start(tmp_path, broker=broker_name, nodes=nodes)
    assert not list(tmp_path.iterdir())


def test_missing_programs_are_named(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java or Maven the error says which is missing and what to install."""
    java = kafka.find_java() if broker is Broker.KAFKA else None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"needs Java 17.*apt-get install -y openjdk-17-jre-headless maven"):
        kafka.install()
    assert java is not None
    (tmp_path / "java").symlink_to(java)
    with pytest.raises(StackError, match=r"`mvn` is not installed.*apt-get install"):
        kafka.install()
    (tmp_path / "mvn").write_text("#!/bin/sh\necho 'could not resolve host'\nexit 1\n")
    (tmp_path / "mvn").chmod(0o755)
    with pytest.raises(StackError, match=r"(?s)could not bring Apache Kafka.*could not resolve host"):
        kafka.install()
    assert not list((tmp_path / "floodway").iterdir())
