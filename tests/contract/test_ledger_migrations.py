"""Migrations: from every version to the newest with data, by several processes at once, never an edited one."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from ledger_samples import SAMPLES
from ledger_server import Server

from streams.core.books import Balance, State
from streams.errors import Refused
from streams.messages import Outcome, Reason
from streams.stores.ledger_migrations import Migration, load_migrations, migrate
from streams.stores.ledger_postgres import PostgresLedger

pytest_plugins = ["ledger_fixtures"]

MIGRATIONS = load_migrations()
ACCEPTED, REFUSED = UUID("01a20179-bf2a-7deb-b553-195073662a22"), UUID("01a20179-bf2a-7deb-b553-195073662a23")


@pytest.fixture
async def dsn(servers: tuple[Server, Server], admin: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[str]:
    """Address of a database without tables."""
    await admin.execute("CREATE DATABASE fresh")
    yield servers[0].dsn("fresh")
    await admin.execute("DROP DATABASE fresh WITH (FORCE)")


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
async def test_data_of_each_version_is_read_by_the_newest(dsn: str, version: int) -> None:
    """Written under an older schema, migrated, read by today's ledger: nothing is lost or changed its meaning."""
    connection = await asyncpg.connect(dsn)
    await migrate(connection, MIGRATIONS[:version])
    await connection.execute(SAMPLES[MIGRATIONS[version - 1].name])
    await connection.close()
    ledger = await PostgresLedger.connect(dsn)
    assert await ledger.migrate() == [migration.name for migration in MIGRATIONS[version:]]
    order = await ledger.find_order(ACCEPTED)
    assert order is not None
    assert (order.state, order.quantities, order.total) == (State.CONFIRMED, (("TEA", 2),), 900)
    refusal = await ledger.find_decision(REFUSED)
    assert refusal is not None
    assert (refusal[1].outcome, refusal[1].reason) == (Outcome.REJECTED, Reason.OUT_OF_STOCK)
    assert [balance async for balance in ledger.balances()] == [Balance("TEA", "main", 8, 0, 2)]
    assert len(await ledger.steps(ACCEPTED)) == (1 if version < 3 else 2)
    assert await ledger.epoch() == 1
    await ledger.close()


def test_each_version_has_its_sample() -> None:
    """A migration without data to try it on is not finished."""
    assert list(SAMPLES) == [migration.name for migration in MIGRATIONS]


async def test_several_processes_migrate_at_once(dsn: str) -> None:
    """Each migration is applied by exactly one of them, and all return with the schema in place."""
    ledgers = await asyncio.gather(*(PostgresLedger.connect(dsn) for _ in range(4)))
    applied = await asyncio.gather(*(ledger.migrate() for ledger in ledgers))
    assert sorted(name for names in applied for name in names) == [migration.name for migration in MIGRATIONS]
    assert [await ledger.epoch() for ledger in ledgers] == [None] * 4
    await asyncio.gather(*(ledger.close() for ledger in ledgers))


async def test_an_edited_migration_is_refused(dsn: str) -> None:
    """The checksum of what was applied is kept; another text under the same name is an error that says so."""
    connection = await asyncpg.connect(dsn)
    await migrate(connection, MIGRATIONS)
    edited = MIGRATIONS[0]._replace(sql=MIGRATIONS[0].sql + "-- one more thing")
    with pytest.raises(Refused, match="0001_books was edited after it had been applied"):
        await migrate(connection, [edited])
    await connection.close()


async def test_a_migration_that_fails_leaves_nothing(dsn: str) -> None:
    """Half a migration is none: the one before stays, the failed one can be put right and applied."""
    connection = await asyncpg.connect(dsn)
    broken = Migration("9999_broken", "CREATE TABLE half (id int); SELECT nonsense()")
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await migrate(connection, [*MIGRATIONS, broken])
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    assert await migrate(connection, [*MIGRATIONS, broken._replace(sql="CREATE TABLE half (id int)")]) == [broken.name]
    assert await migrate(connection, MIGRATIONS) == []  # an older release meets the newer schema
    await connection.close()
