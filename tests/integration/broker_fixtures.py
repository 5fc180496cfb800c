"""One broker for all modules whose tests have topics and groups of their own: Apache Kafka is slow to start."""

from collections.abc import Iterator

import pytest
from transport_kafka import started

from infra.embedded import Broker


@pytest.fixture(scope="session")
def bootstrap(broker: Broker) -> Iterator[str]:
    """Its `host:port`."""
    with started(broker) as address:
        yield address
