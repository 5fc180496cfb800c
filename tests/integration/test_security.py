"""Servers that demand credentials and TLS let us in with the right settings, keep others out, and no secret is told."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_kafka import Node, apache_kafka
from certificates import Certificates, certificates

from agents.transport import chunk_app, chunk_topic
from agents.transport.chunk import Chunk
from infra.embedded import Broker
from streams.errors import LogForbidden, LogUnavailable, SettingsError
from streams.settings import Settings, load
from streams.stores.kafka_access import access
from streams.stores.log import Entry
from streams.stores.log_kafka import KafkaLog
from streams.stores.reader_kafka import TopicReader, lag
from streams.stores.topics_kafka import create_topics
from streams.topics import DECIDED, SUBMITTED

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.only_on(Broker.KAFKA, reason="tansu has no such listeners"),
    # aiokafka leaves the connection open that a broker refused.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SECRET = "s3same-open"
USER, READER = "floodway", "reader"
# As a cluster has it: one listener with users and TLS, one with TLS alone, and ACLs: what none allows is forbidden.
PROPERTIES = """
listeners=BROKER://127.0.0.1:{plain},SECURE://127.0.0.1:{0},TLS://127.0.0.1:{1},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=BROKER://127.0.0.1:{plain},SECURE://127.0.0.1:{0},TLS://127.0.0.1:{1}
listener.security.protocol.map=BROKER:PLAINTEXT,SECURE:SASL_SSL,TLS:SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location=%(keystore)s
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:floodway;User:ANONYMOUS
"""


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority that signed the broker's certificate."""
    return certificates(tmp_path_factory.mktemp("pem"))


@pytest.fixture(scope="module")
def node(broker: Broker, pem: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Apache Kafka with a listener that demands TLS and SCRAM, and one that demands TLS."""
    assert broker is Broker.KAFKA
    with apache_kafka(
        tmp_path_factory.mktemp("kafka"),
        properties=PROPERTIES % {"keystore": pem.keystore},
        scram={USER: SECRET, READER: SECRET},
        listeners=2,
    ) as started:
        yield started


def secured(node: Node, pem: Certificates, **changes: str) -> Settings:
    """The settings of a worker of that cluster."""
    environ = {
        "FLOODWAY_KAFKA_BOOTSTRAP": f"127.0.0.1:{node.ports['more-0']}",
        "FLOODWAY_KAFKA_SECURITY": "SASL_SSL",
        "FLOODWAY_KAFKA_USER": USER,
        "FLOODWAY_KAFKA_PASSWORD": SECRET,
        "FLOODWAY_KAFKA_CA_FILE": str(pem.authority),
    }
    return load(environ | {f"FLOODWAY_{name.upper()}": value for name, value in changes.items()})


async def test_every_client_gets_in(node: Node, pem: Certificates, tmp_path: Path) -> None:
    """Creating topics, producing, reading, lag and a worker's chunks: all by SCRAM-SHA-512 over checked TLS."""
    brokers = access(secured(node, pem))
    await create_topics(brokers, partitions=1, replication=1)
    log = await KafkaLog.connect(brokers)
    await log.append(SUBMITTED.name, 0, [Entry(b"k", b"v", 1_790_000_000_000)])
    await log.close()
    reader = await TopicReader.open(brokers, SUBMITTED.name, start="beginning")
    assert [r.value async for _, records in reader.until_end() for r in records] == [b"v"]
    await reader.close()
    assert (await lag(brokers, "somebody", SUBMITTED.name))[0] == 1

    got: asyncio.Queue[Chunk] = asyncio.Queue()

    async def body(stream: "asyncio.Queue[Chunk]") -> None:
        async for chunk in stream:  # type: ignore[attr-defined]  # a Faust stream
            got.put_nowait(chunk)

    app = chunk_app("secured", brokers, session_timeout_s=6.0, datadir=tmp_path)
    app.agent(chunk_topic(app, SUBMITTED.name))(body)
    app.in_worker = True
    await app.start()
    try:
        assert (await asyncio.wait_for(got.get(), 30)).records[0].value == b"v"
    finally:
        await app.stop()


async def test_tls_alone(node: Node, pem: Certificates) -> None:
    """A listener with TLS and no users is SSL; without the authority's file its certificate is not trusted."""
    here = f"127.0.0.1:{node.ports['more-1']}"
    # Who comes without a name is ANONYMOUS, whom this cluster trusts.
    log = await KafkaLog.connect(access(secured(node, pem, kafka_security="SSL", kafka_bootstrap=here)))
    await log.close()
    with pytest.raises(LogUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await KafkaLog.connect(access(load({}, kafka_security="SSL", kafka_bootstrap=here)))
    with pytest.raises(SettingsError, match="FLOODWAY_KAFKA_CA_FILE=/none"):
        await KafkaLog.connect(access(secured(node, pem, kafka_ca_file="/none")))


async def test_a_wrong_password_is_no_outage(node: Node, pem: Certificates) -> None:
    """It is told at once, with the setting to look at and without the password."""
    with pytest.raises(LogForbidden, match="FLOODWAY_KAFKA_USER") as told:
        await KafkaLog.connect(access(secured(node, pem, kafka_password="wr0ng-one")))
    assert "wr0ng-one" not in str(told.value)


async def test_what_the_acls_forbid_is_not_tried_again(node: Node, pem: Certificates) -> None:
    """A user who is known but may not write or read is refused for good, on either side."""
    owner = access(secured(node, pem))
    await create_topics(owner, partitions=1, replication=1)
    other = access(secured(node, pem, kafka_user=READER, kafka_idempotent="false"))
    log = await KafkaLog.connect(other, timeout_s=5.0)
    with pytest.raises(LogForbidden, match="ACLs"):
        await log.partitions(DECIDED.name)
    with pytest.raises(LogForbidden, match="ACLs"):
        await log.append(DECIDED.name, 0, [Entry(None, b"v", 1)])
    await log.close()


def test_no_secret_is_told(node: Node, pem: Certificates, tmp_path: Path) -> None:
    """Not by a command that fails, nor by the command line of a process that works; children get it by environment."""
    settings = secured(node, pem)
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLOODWAY_")},
        "FLOODWAY_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "FLOODWAY_KAFKA_SECURITY": "SASL_SSL",
        "FLOODWAY_KAFKA_USER": READER,
        "FLOODWAY_KAFKA_PASSWORD": SECRET,
        "FLOODWAY_KAFKA_CA_FILE": str(pem.authority),
        "FLOODWAY_KAFKA_IDEMPOTENT": "false",
        "FLOODWAY_REDIS_URL": f"redis://floodway:{SECRET}@127.0.0.1:1/0",
        "FLOODWAY_POSTGRES_DSN": f"postgresql://floodway:{SECRET}@127.0.0.1:1/floodway",
    }
    floodway = str(Path(sys.executable).with_name("floodway"))
    for arguments in (["report", "payment.succeeded", "0191f2f0-0000-7000-8000-000000000000"], ["init"], ["verify"]):
        done = subprocess.run(
            [floodway, *arguments], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode != 0
        assert done.stderr
        assert SECRET not in done.stdout + done.stderr
