"""Which of Kafka's errors may pass and which stay: told apart by type, so that no refusal is retried for ever."""

from typing import Any

import pytest
from aiokafka import errors as kafka

from streams.errors import LogForbidden, LogRefused, LogUnavailable, RecordTooLarge, UnknownThing
from streams.stores.kafka_faults import FORBIDDEN, REFUSED, TOO_LARGE, UNKNOWN, explain

ALL: list[Any] = [
    kind for kind in vars(kafka).values() if isinstance(kind, type) and issubclass(kind, kafka.KafkaError)
]
FOR_GOOD = {*FORBIDDEN, *TOO_LARGE, *REFUSED, *UNKNOWN}


def test_what_aiokafka_calls_retriable_is_an_outage() -> None:
    """Whatever goes away by itself is tried again; a topic that is not there is not, its metadata was waited for."""
    retriable = {kind for kind in ALL if kind.retriable}
    assert len(retriable) > 10
    assert retriable & FOR_GOOD <= {kafka.UnknownTopicOrPartitionError}
    for kind in retriable - FOR_GOOD:
        assert type(explain(kind(), "append")) is LogUnavailable


@pytest.mark.parametrize(
    ("kinds", "ours"),
    [(FORBIDDEN, LogForbidden), (TOO_LARGE, RecordTooLarge), (REFUSED, LogRefused), (UNKNOWN, UnknownThing)],
)
def test_what_stays_refused_is_not_tried_again(kinds: tuple[type[Exception], ...], ours: type[Exception]) -> None:
    """Each is told with what did not happen and what to do."""
    for kind in kinds:
        found = explain(kind(), "confirm records of orders-3")
        assert type(found) is ours
        assert "confirm records of orders-3" in str(found)


def test_every_authorization_error_is_known() -> None:
    """A new aiokafka with another error of that name would otherwise be an outage to us."""
    named = {kind for kind in ALL if "Authorization" in kind.__name__ or "Sasl" in kind.__name__}
    assert named - {kafka.DelegationTokenAuthorizationFailed} <= {*FORBIDDEN}
