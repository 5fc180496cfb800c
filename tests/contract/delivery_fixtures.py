"""Fixtures of the tests of deliveries: a book on the ledger's server."""

from collections.abc import AsyncIterator

import pytest
from ledger_server import Server

from streams.stores.deliveries_postgres import PostgresDeliveries
from streams.stores.ledger_postgres import PostgresLedger


@pytest.fixture
async def deliveries(servers: tuple[Server, Server], postgres: PostgresLedger) -> AsyncIterator[PostgresDeliveries]:
    """An empty book."""
    made = await PostgresDeliveries.connect(servers[0].dsn(), lanes=4)
    yield made
    await made.close()
