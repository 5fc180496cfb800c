"""What the exporter asks of Postgres beside what the ledger tells: what waits in it, how far the replica is behind."""

from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Self

from streams.errors import Unavailable
from streams.stores.ledger_connections import open_pool
from streams.stores.ledger_errors import outages
from streams.stores.queries import load

if TYPE_CHECKING:
    from streams.stores.ledger_connections import Pool

SQL = load("outside.sql")
POOL = 2


class Behind(NamedTuple):
    """How far the replica is behind the primary."""

    seconds: float
    num_bytes: int


class LedgerLook(NamedTuple):
    """One look. `behind` is None without a replica, and where it does not answer or is none at the moment."""

    probe_s: float
    unsaid: int
    quarantined: int
    tickets: int
    behind: Behind | None


class LedgerWatch:
    """Asks both servers, a few connections each."""

    def __init__(self, primary: "Pool", replica: "Pool | None", timeout_s: float) -> None:
        self._primary, self._replica, self._timeout_s = primary, replica, timeout_s

    @classmethod
    async def connect(cls, primary_dsn: str, replica_dsn: str | None, *, timeout_s: float) -> Self:
        """It connects when it first looks."""
        primary = await open_pool(primary_dsn, size=POOL, statement_timeout_s=timeout_s, writes=True, at_once=False)
        replica = None
        if replica_dsn is not None:
            replica = await open_pool(replica_dsn, size=POOL, statement_timeout_s=timeout_s, writes=False)
        return cls(primary, replica, timeout_s)

    async def look(self) -> LedgerLook:
        """How things stand now. Raises `LedgerUnavailable` when the primary does not answer."""
        with outages():
            async with self._primary.acquire(timeout=self._timeout_s) as connection:
                began = monotonic()
                await connection.fetchval(SQL["probe"])
                probe_s = monotonic() - began
                row = await connection.fetchrow(SQL["waiting"])
        assert row is not None
        return LedgerLook(
            probe_s, row["unsaid"], row["quarantined"], row["tickets"], await self._behind(row["written"])
        )

    async def _behind(self, written: str) -> Behind | None:
        if self._replica is None:
            return None
        try:
            with outages():
                async with self._replica.acquire(timeout=self._timeout_s) as connection:
                    row = await connection.fetchrow(SQL["shown"], written)
        except Unavailable:
            return None
        if row is None:
            return None
        # Who has all shows the newest commit there is, however old that is.
        return Behind(row["seconds"] or 0.0 if row["bytes"] else 0.0, row["bytes"])

    async def close(self) -> None:
        """Give connections back."""
        for pool in (self._primary, self._replica):
            if pool is not None:
                pool.terminate()
