"""The topics: names that carry a version, and a dead-letter topic beside each that is read from outside."""

import re

import msgspec

from streams import messages
from streams.topics import ALL, CHANGED, DEAD_LETTER_HEADER, DECIDED, REPORTED, REPORTED_DLQ, SUBMITTED, SUBMITTED_DLQ


def test_names_are_distinct_and_carry_a_version() -> None:
    """The version is in the topic's name, so two versions can live side by side; Kafka allows such names."""
    names = [topic.name for topic in ALL]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(\.[a-z]+)*\.v\d+(\.dlq)?", name) for name in names)


def test_every_topic_of_the_module_is_created() -> None:
    """ALL is what `floodway init` creates; none may be missing there."""
    from streams import topics

    assert {t.name for t in vars(topics).values() if isinstance(t, topics.Topic)} == {topic.name for topic in ALL}


def test_dead_letters_lie_beside_their_topic_and_longer() -> None:
    """What was read from outside has its dead-letter topic, with the same message, kept longer for a replay."""
    for topic, dlq in ((SUBMITTED, SUBMITTED_DLQ), (REPORTED, REPORTED_DLQ)):
        assert dlq.name == topic.name + ".dlq"
        assert dlq.message is topic.message
        assert int(dlq.settings["retention.ms"]) > int(topic.settings["retention.ms"])


def test_a_dead_letter_may_be_larger_than_what_died() -> None:
    """The largest record that Kafka takes can still be buried: its dead letter has one header more, of bounded size."""
    for topic, dlq in ((SUBMITTED, SUBMITTED_DLQ), (REPORTED, REPORTED_DLQ)):
        room = int(dlq.settings["max.message.bytes"]) - int(topic.settings["max.message.bytes"])
        assert room >= 6 * 512 + 4_096  # the detail, each character escaped in six bytes, and the other fields


def test_a_topic_takes_the_largest_message() -> None:
    """No valid message, with the header of a dead letter on top, is refused by the broker."""
    for topic in ALL:
        assert int(topic.settings["max.message.bytes"]) > 2 * messages.MAX_MESSAGE_BYTES


def test_each_topic_says_what_it_carries() -> None:
    """Key, message and summary are there for the generated documents; messages are of the wire's types."""
    assert [t.message for t in (SUBMITTED, DECIDED, REPORTED, CHANGED)] == [
        messages.Submission,
        messages.Decision,
        messages.Report,
        messages.OrderChanged,
    ]
    for topic in ALL:
        assert topic.key
        assert topic.summary.endswith(".")
        assert issubclass(topic.message, msgspec.Struct)
        assert topic.settings["cleanup.policy"] == "delete"
    assert DEAD_LETTER_HEADER == "floodway-dead-letter"
