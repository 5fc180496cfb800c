"""Fixtures of the tests of rebuilding: stocks and a ledger, all in memory or all real."""

import asyncpg
import pytest
from ledger_server import empty
from rebuild_world import RETENTION_S, Kind
from stock_kit import Server, redis_stock

from streams.stores.ledger import Ledger
from streams.stores.ledger_fake import FakeLedger
from streams.stores.ledger_postgres import PostgresLedger
from streams.stores.stock_fake import FakeStock


@pytest.fixture
def fakes() -> Kind:
    """In memory."""

    async def ledger() -> Ledger:
        return FakeLedger()

    return Kind(lambda: FakeStock(dedupe_retention_s=RETENTION_S), None, ledger)


@pytest.fixture
def real(valkey: Server, postgres: PostgresLedger, admin: "asyncpg.Connection[asyncpg.Record]") -> Kind:
    """Valkey and Postgres."""

    async def ledger() -> Ledger:
        await empty(admin)
        return postgres

    return Kind(lambda: redis_stock(valkey, dedupe_retention_s=RETENTION_S), valkey.url, ledger)


@pytest.fixture(params=["fakes", "real"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind."""
    found: Kind = request.getfixturevalue(request.param)
    return found
