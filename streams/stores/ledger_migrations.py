"""Brings the ledger's schema up to date, file by file, each in its own transaction.

Rules for `sql/migrations/`: numbered without gaps, only ever added to, and each one leaves the schema usable by the
release before it (workers are replaced one by one).
"""

from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from streams.errors import Refused

if TYPE_CHECKING:
    from streams.stores.ledger_connections import Connection

_LOCK = 0x666C6F6F64  # any number that others will hardly use
TIMEOUT_S = 600
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text COLLATE "C" PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""


class Migration(NamedTuple):
    """One file: its name without ending, and its text."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Digest of the text."""
        return sha256(self.sql.encode()).hexdigest()


def load_migrations() -> list[Migration]:
    """All migrations in their order."""
    folder = files("streams.stores") / "sql" / "migrations"
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    migrations = [Migration(f.name.removesuffix(".sql"), f.read_text(encoding="utf-8")) for f in found]
    numbers = [int(migration.name[:4]) for migration in migrations]
    assert numbers == list(range(1, len(numbers) + 1)), f"migrations are not numbered without gaps: {numbers}"
    return migrations


async def migrate(connection: "Connection", migrations: Sequence[Migration]) -> list[str]:
    """Apply what is missing; returns the names applied here. Several processes may call it at once.

    Migrations that the database has beyond `migrations` are a newer release's and are left alone. Raises `Refused`
    when one that was applied has been edited since.
    """
    applied = []
    for migration in migrations:
        async with connection.transaction():
            # Without bounds a forgotten transaction elsewhere would let a migration, and all behind it, wait for ever.
            await connection.execute(f"SET LOCAL statement_timeout = '{TIMEOUT_S}s'; SET LOCAL lock_timeout = '60s'")
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(_TABLE)
            known = await connection.fetchval("SELECT checksum FROM schema_migrations WHERE name = $1", migration.name)
            if known is None:
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)",
                    migration.name,
                    migration.checksum,
                )
                applied.append(migration.name)
            elif known != migration.checksum:
                raise Refused(
                    f"Migration {migration.name} was edited after it had been applied; put its text back and write a "
                    "new migration instead."
                )
    return applied
