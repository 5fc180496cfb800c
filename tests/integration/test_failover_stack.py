"""The stack's standby: promoted, made anew from what it was a copy of, and the same after a restart."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from processes import query, soon

from infra.embedded import Part, Stack, StackError, Standby

pytestmark = pytest.mark.timeout(180)

WHERE = "SELECT inet_server_port()"
WAITS = "SELECT current_setting('synchronous_standby_names')"
SYNC = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


def port_of(stack: Stack, part: Part) -> int:
    """Where one of the two servers listens: the address names first Postgres, then the replica."""
    hosts = stack.addresses.postgres_dsn.split("@")[1].split("/")[0].split(",")
    return int(hosts[part is Part.REPLICA].split(":")[1])


def test_a_standby_takes_over_and_the_old_primary_follows(tmp_path: Path) -> None:
    """Kill, promote, make the old one a replica, twice over and across a restart: every row stays."""
    with Stack.start(tmp_path, standby=Standby.SYNC) as stack:
        dsn, replica = stack.addresses.postgres_dsn, stack.addresses.postgres_replica_dsn
        assert query(dsn, SYNC) == 1
        query(dsn, "CREATE TABLE kept AS SELECT 1 AS n")
        assert query(replica, WHERE) == port_of(stack, Part.REPLICA)
        stack.kill(Part.POSTGRES)
        stack.promote()
        assert stack.primary() is Part.REPLICA
        assert query(dsn, WHERE) == port_of(stack, Part.REPLICA)
        query(dsn, "INSERT INTO kept VALUES (2)")  # alone it waits for nobody
        stack.restart(Part.POSTGRES)
        assert query(replica, WHERE) == port_of(stack, Part.POSTGRES)
        assert soon(lambda: query(dsn, SYNC) == 1)
        assert query(dsn, WAITS) == "replica"
        query(dsn, "INSERT INTO kept VALUES (3)")
    with Stack.start(tmp_path, standby=Standby.SYNC) as stack:
        assert stack.primary() is Part.POSTGRES
        assert stack.addresses.postgres_dsn == dsn
        assert query(dsn, WHERE) == port_of(stack, Part.POSTGRES)
        assert query(dsn, "SELECT array_agg(n ORDER BY n) FROM kept") == [1, 2, 3]
        stack.promote()  # kills the living one first: there are never two
        assert Part.POSTGRES not in stack.pids()
        query(dsn, "INSERT INTO kept VALUES (4)")
        stack.restart(Part.POSTGRES)
        stack.promote()
        assert query(dsn, "SELECT array_agg(n ORDER BY n) FROM kept") == [1, 2, 3, 4]
        assert query(dsn, WHERE) == port_of(stack, Part.POSTGRES)
    with Stack.start(tmp_path) as stack:
        assert query(stack.addresses.postgres_dsn, "SELECT count(*) FROM kept") == 4
        assert query(stack.addresses.postgres_dsn, WAITS) == ""


def test_a_commit_waits_for_a_synchronous_standby(tmp_path: Path) -> None:
    """With the standby away no commit returns; with a replica that is none, nobody waits and nothing is promoted."""
    with Stack.start(tmp_path, standby=Standby.SYNC) as stack:
        stack.kill(Part.REPLICA)
        dsn = stack.addresses.postgres_dsn

        async def create() -> None:
            connection = await asyncpg.connect(dsn)
            try:
                await connection.execute("CREATE TABLE waited ()", timeout=2)
            finally:
                connection.terminate()

        with pytest.raises(TimeoutError):
            asyncio.run(create())
        stack.restart(Part.REPLICA)
        query(dsn, "CREATE TABLE went_on ()")
    with Stack.start(tmp_path) as stack:
        stack.kill(Part.REPLICA)
        query(stack.addresses.postgres_dsn, "CREATE TABLE alone ()")
        with pytest.raises(StackError, match="reading only"):
            stack.promote()
