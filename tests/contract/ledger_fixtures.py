"""Fixtures of the ledger's tests: one primary and one replica for all, an empty ledger for each."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from ledger_server import REPLICA_WAIT_S, Server, empty, primary_and_replica

from streams.stores.ledger import Ledger
from streams.stores.ledger_fake import FakeLedger
from streams.stores.ledger_postgres import PostgresLedger


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[Server, Server]]:
    """A primary and its streaming replica."""
    with primary_and_replica() as both:
        yield both


@pytest.fixture
async def admin(servers: tuple[Server, Server]) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A connection to the primary beside the ledger's own."""
    connection = await asyncpg.connect(servers[0].dsn())
    yield connection
    await connection.close()


@pytest.fixture
async def postgres(
    servers: tuple[Server, Server], admin: "asyncpg.Connection[asyncpg.Record]"
) -> AsyncIterator[PostgresLedger]:
    """An empty ledger on PostgreSQL, under its first epoch."""
    primary, replica = servers
    ledger = await PostgresLedger.connect(primary.dsn(), replica.dsn(), replica_wait_s=REPLICA_WAIT_S)
    await ledger.migrate()
    await empty(admin)
    await ledger.issue_epoch("first")
    yield ledger
    await ledger.close()


@pytest.fixture(params=["fake", "postgres"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """An empty ledger of each kind, under its first epoch."""
    if request.param == "fake":
        fake = FakeLedger()
        fake.epochs.append("first")
        return fake
    found: Ledger = request.getfixturevalue("postgres")
    return found
