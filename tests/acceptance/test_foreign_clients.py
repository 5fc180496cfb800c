"""Clients that know nothing of us: librdkafka, the addresses that `floodway up` prints, and the published schemas."""

import json
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from command import FLOODWAY, CommandLine
from confluent_kafka import Consumer, Message, Producer
from schemas import validator

from infra.embedded import Broker, spawn
from infra.embedded.children import end

ORDERS = 100
STOCK = 40
"""Units of each SKU: fewer than are asked for."""
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
WITHIN_S = 40.0


class Shop(NamedTuple):
    """A running pipeline, as somebody else sees it."""

    bootstrap: str
    decisions: Consumer


def wait_for(what: Callable[[], Any], log: Path) -> Any:
    """The first true thing that `what` returns."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := what()):
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.1)
    return found


@contextmanager
def command(log: Path, *argv: str | Path, env: Mapping[str, str]) -> Iterator[None]:
    """A command that runs until told to end, and ends with 0."""
    process = spawn([FLOODWAY, *argv], log_path=log, env=env, cwd=log.parent)
    try:
        yield
    finally:
        code = end(process, grace_s=30)
    assert code == 0, log.read_text(errors="replace")


def exported(log: Path) -> dict[str, str]:
    """The `export` lines that were printed, once all are there."""
    found = dict(re.findall(r"^export (\w+)=(\S+)$", log.read_text(), re.MULTILINE)) if log.exists() else {}
    return found if len(found) == 7 else {}


@pytest.fixture(scope="module")
def shop(broker: Broker) -> Iterator[Shop]:
    """`floodway up` and `floodway worker intake`, goods on the shelves, and a consumer in its own group."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FLOODWAY_")}
    with tempfile.TemporaryDirectory(prefix="floodway-") as name:
        directory = Path(name)
        up, worker, ready = directory / "up.log", directory / "worker.log", directory / "ready"
        with command(up, "up", "--broker", broker, "--data-dir", directory / "data", env=plain):
            env = plain | wait_for(lambda: exported(up), up)
            own = {"FLOODWAY_SESSION_TIMEOUT_S": "6", "FLOODWAY_READY_FILE": str(ready)}
            with command(worker, "worker", "intake", env=env | own):
                goods = directory / "goods.csv"
                goods.write_text(
                    "sku,qty\n" + "".join(f"{codec}-{n},{STOCK}\n" for codec in [*CODECS, "again"] for n in (0, 1))
                )
                assert CommandLine(directory, env)("stock", "load", goods).code == 0
                consumer = subscribed(env["FLOODWAY_KAFKA_BOOTSTRAP"], worker)
                wait_for(ready.exists, worker)
                yield Shop(env["FLOODWAY_KAFKA_BOOTSTRAP"], consumer)
                consumer.close()


def subscribed(bootstrap: str, log: Path) -> Consumer:
    """A consumer that has its partitions."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "somebody-else",
            "session.timeout.ms": 6_000,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["orders.decided.v1"])

    def assigned() -> bool:
        assert consumer.poll(0.1) is None
        return bool(consumer.assignment())

    wait_for(assigned, log)
    return consumer


def submission(codec: str, number: int) -> dict[str, Any]:
    """A submission as its schema has it, with a field that nobody here knows."""
    return {
        "submission_id": f"{codec}-{number}",
        "channel": "elsewhere",
        "buyer_id": f"buyer-{number % 7}",
        "lines": [{"sku": f"{codec}-{number % 2}", "qty": 1, "unit_price": 1_999}],
        "currency": "JPY",
        "submitted_at": datetime.now(UTC).isoformat(),
        "loyalty": {"points": number},
    }


def produce(bootstrap: str, codec: str, bodies: list[dict[str, Any]]) -> None:
    """Produce with librdkafka, partitioned as the Java client does it, in one compressed batch a partition."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "compression.type": codec,
            "linger.ms": 200,
        }
    )
    trace = f"00-{uuid4().hex}-b7ad6b7169203331-01"
    for body in bodies:
        key = f"{body['channel']}:{body['submission_id']}"
        producer.produce("orders.submitted.v1", json.dumps(body).encode(), key, headers={"traceparent": trace})
    assert producer.flush(20) == 0


def consume(consumer: Consumer, count: int) -> list[Message]:
    """So many decisions; fewer when they do not come in time."""
    messages: list[Message] = []
    deadline = time.monotonic() + 20
    while len(messages) < count and time.monotonic() < deadline:
        messages += consumer.consume(count - len(messages), timeout=0.2)
    assert not any(message.error() for message in messages)
    return messages


def test_repeats_meet_in_one_partition(shop: Shop) -> None:
    """The same submissions from another producer are answered as repeats, with the orders they made the first time."""
    bodies = [submission("again", number) for number in range(20)]
    heard: list[dict[str, Any]] = []
    for _ in range(2):
        produce(shop.bootstrap, "none", bodies)
        heard += [json.loads(message.value() or b"") for message in consume(shop.decisions, len(bodies))]
    first, second = ({d["submission_id"]: d for d in some} for some in (heard[:20], heard[20:]))
    assert first.keys() == second.keys() == {body["submission_id"] for body in bodies}
    for name, decision in first.items():
        assert decision["outcome"] == "accepted"
        assert not decision.get("replay", False)
        assert second[name]["replay"]
        assert second[name]["order_id"] == decision["order_id"]


@pytest.mark.parametrize("codec", CODECS)
def test_every_submission_is_decided(shop: Shop, codec: str) -> None:
    """What fits the published schema is decided, whatever it was compressed with; what comes back fits its own."""
    bodies = [submission(codec, number) for number in range(ORDERS)]
    for body in bodies:
        validator("submission").validate(body)
    produce(shop.bootstrap, codec, bodies)
    messages = consume(shop.decisions, ORDERS)
    decisions = [json.loads(message.value() or b"") for message in messages]
    assert sorted(d["submission_id"] for d in decisions) == sorted(body["submission_id"] for body in bodies)
    for message, decision in zip(messages, decisions, strict=True):
        validator("decision").validate(decision)
        assert (message.key() or b"").decode() == decision["order_id"]
    assert Counter(d["outcome"] for d in decisions) == {"accepted": 2 * STOCK, "rejected": ORDERS - 2 * STOCK}
    assert len({d["trace_id"] for d in decisions}) == 1
