"""Intake fed with poison: it lives, nothing bad is lost, and no good neighbour is touched."""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec
import pytest
import schemas
import watch
from confluent_kafka import KafkaError, Message, Producer
from pipeline import Workers, books, until
from poison import CHANNEL, SKU, Dose, doses
from shop import encode, order, stock_up

from streams.chunks import Record
from streams.dead_letters import CUT_VALUE_BYTES, read_letter
from streams.messages import DeadLetter, Decision
from streams.parts import Parts
from streams.stores.reader_kafka import TopicReader
from streams.topics import SUBMITTED, SUBMITTED_DLQ

pytest_plugins = ["stack_fixtures"]

GOOD, BAD = 2_000, 10_000
PARTITIONS = (3, 7)
"""Few, so that good and bad share chunks."""

Place = tuple[int, int]


class Grave(NamedTuple):
    """A dead letter and the record that carries it."""

    letter: DeadLetter
    record: Record


class Named(msgspec.Struct):
    """The key of a submission, whatever stands around it."""

    channel: str
    submission_id: str


@pytest.mark.timeout(120)
async def test_poison_between_good_neighbours(parts: Parts, running: Workers) -> None:
    """The same workers live on; each bad record is one dead letter, byte for byte; each good one is decided."""
    await stock_up(parts, "poison", [(SKU, 1_000_000)])
    given = list(doses(GOOD, BAD, seed=1))
    validity = [schemas.is_valid(dose.value) for dose in given]
    pids, deaths = running.pids(), list(running.deaths)
    async with watch.decisions(parts) as answers:
        places = produce(parts.settings.kafka_bootstrap, given)
        graves: dict[Place, Grave] = {}

        async def all_dealt_with() -> bool:
            await answers.look()
            graves.update(await dead_letters(parts, places))
            return answers.count + len(graves) >= len(given)

        await until(all_dealt_with, within_s=60, what=running.logs())
    assert running.pids() == pids, running.logs()
    assert running.deaths == deaths
    assert answers.count + len(graves) == len(given)
    for dose, place, valid in zip(given, places, validity, strict=True):
        if valid is not None:
            assert (place not in graves) == valid, dose
        if place in graves:
            check_grave(dose, graves[place])
    check_decided(answers.heard, given, places, graves)
    assert Counter(validity)[None] < BAD / 20, "hardly anything was clear-cut"
    report = await books(parts)
    assert report.balanced, report


@pytest.mark.parametrize("codec", ["gzip", "lz4"])
async def test_what_unpacks_to_megabytes_is_cut_and_holds_nobody_up(parts: Parts, running: Workers, codec: str) -> None:
    """A record of 5 MB in a batch that Kafka takes, as it packs well: a dead letter says where it stands and what it
    was, and a good neighbour behind it in the partition is decided.
    """
    await stock_up(parts, f"packed-{codec}", [(SKU, 1_000)])
    huge, name = b"\0" * 5_000_000, f"behind-{codec}"
    async with watch.decisions(parts) as answers:
        producer = Producer(
            {
                "bootstrap.servers": parts.settings.kafka_bootstrap,
                "message.max.bytes": 10_000_000,
                "compression.type": codec,
            }
        )
        told: list[Message] = []
        for value in (huge, encode(order(name, (SKU, 1), channel=CHANNEL))):
            producer.produce(SUBMITTED.name, value, partition=5, on_delivery=lambda _, message: told.append(message))
            assert producer.flush(30) == 0
        assert not any(message.error() for message in told)
        await answers.until(lambda: (CHANNEL, name) in answers.heard, within_s=60)
    offset = told[0].offset()
    assert offset is not None
    grave = (await dead_letters(parts, [(5, offset)]))[5, offset]
    assert grave.letter.reason == "too_large"
    assert grave.letter.value_bytes == len(huge)
    assert grave.letter.value_sha256 == sha256(huge).hexdigest()
    assert grave.record.value == huge[:CUT_VALUE_BYTES]


def produce(bootstrap: str, given: Sequence[Dose]) -> list[Place]:
    """Produce with librdkafka, which knows nothing of us; returns partition and offset of each."""
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 1_100_000, "linger.ms": 50})
    places: dict[int, Place] = {}
    for number, dose in enumerate(given):

        def delivered(error: KafkaError | None, message: Message, number: int = number) -> None:
            assert error is None, error
            places[number] = message.partition(), message.offset()

        producer.produce(
            SUBMITTED.name,
            key=dose.key,
            value=dose.value,
            headers=dose.headers,
            partition=PARTITIONS[number % len(PARTITIONS)],
            on_delivery=delivered,
        )
    assert producer.flush(30) == 0
    return [places[number] for number in range(len(given))]


async def dead_letters(parts: Parts, places: Sequence[Place]) -> dict[Place, Grave]:
    """All dead letters on these places."""
    wanted = set(places)
    reader = await TopicReader.open(parts.settings.kafka_bootstrap, SUBMITTED_DLQ.name, start="beginning")
    found: dict[Place, Grave] = {}
    try:
        async for _, records in reader.until_end():
            for record in records:
                letter = read_letter(record)
                if letter is None:  # the note of a replay, of another test
                    continue
                place = (letter.partition, letter.offset)
                if place in wanted:
                    assert place not in found, "buried twice"
                    found[place] = Grave(letter, record)
    finally:
        await reader.close()
    return found


def check_grave(dose: Dose, grave: Grave) -> None:
    """The original, byte for byte, with one header more; and a reason that fits."""
    letter, record = grave
    assert record.key == dose.key
    assert record.value == dose.value
    assert list(record.headers[:-1]) == dose.headers
    assert letter.topic == SUBMITTED.name
    assert letter.detail
    if not dose.value:
        assert letter.reason == "empty"
    elif len(dose.value) > schemas.MAX_BYTES:
        assert letter.reason == "too_large"
    else:
        assert letter.reason in {"not_json", "invalid_field"}, letter
        assert (letter.reason == "invalid_field") == (letter.field is not msgspec.UNSET)


def check_decided(
    heard: dict[tuple[str, str], list[Decision]],
    given: Sequence[Dose],
    places: Sequence[Place],
    graves: dict[Place, Grave],
) -> None:
    """What is no dead letter was decided, under the key that it had."""
    decided = Counter({key: len(some) for key, some in heard.items()})
    asked: Counter[tuple[str, str]] = Counter()
    for dose, place in zip(given, places, strict=True):
        if place not in graves:
            named = msgspec.json.decode((dose.value or b"").decode("utf-8", "replace"), type=Named)
            asked[named.channel, named.submission_id] += 1
    assert decided == asked
    assert sum(asked[key] for key in asked if key[0] == CHANNEL and key[1].startswith("good-")) >= GOOD
