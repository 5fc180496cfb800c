"""What only PostgreSQL can get wrong: double writes under failures, plans, codes, what stands in the tables."""

import asyncio
import json
import random
from contextlib import suppress

import asyncpg
import pytest
from ledger_cutter import Cutter
from ledger_server import Server, empty
from ledger_values import EPOCH, accepted, booking, key, received, rejected, sold, step, submission

from streams.core.books import Booking, Conflict, Persisted
from streams.core.vocabulary import MILESTONES
from streams.errors import LedgerUnavailable
from streams.messages import ShipTo
from streams.stores.ledger_codes import ACTIONS, STATES, VERDICTS
from streams.stores.ledger_connections import SQL
from streams.stores.ledger_postgres import ORDER_ID_CONSTRAINT, PostgresLedger

pytest_plugins = ["ledger_fixtures"]

Admin = asyncpg.Connection

"""What a client says when it has sent all rows, and Postgres commits."""


def mixed(count: int) -> list[Booking]:
    """Accepted and rejected bookings, some with two lines."""
    two = (("TEA", 1, 450), ("CUP", 3, 990))
    return [rejected(n) if n % 4 == 0 else accepted(n, lines=two) for n in range(count)]


async def until_persisted(ledger: PostgresLedger, batch: list[Booking]) -> Persisted:
    """Try until it goes through, as intake does."""
    async with asyncio.timeout(60):
        while True:
            with suppress(LedgerUnavailable):
                return await ledger.persist(batch, EPOCH)
            await asyncio.sleep(0.01)


async def assert_exactly(admin: "Admin[asyncpg.Record]", batch: list[Booking]) -> None:
    """Assert that the tables hold the rows of `batch`, each once, and nothing else."""
    taken = [made for made in batch if made.reason is None]
    decisions = await admin.fetch("SELECT channel, submission_id, order_id FROM decisions")
    assert sorted(tuple(row) for row in decisions) == sorted((*key(made), made.order_id) for made in batch)
    orders = await admin.fetch("SELECT order_id FROM orders")
    assert sorted(row[0] for row in orders) == sorted(made.order_id for made in taken)
    lines = await admin.fetch("SELECT order_id, line_no, sku, qty, unit_price, pool FROM order_lines")
    assert sorted(tuple(row) for row in lines) == sorted(
        (made.order_id, place, line.sku, line.qty, line.unit_price, made.intent.pool)
        for made in taken
        for place, line in enumerate(made.intent.submission.lines, start=1)
    )


async def test_rivals_in_any_order_write_each_row_once(
    servers: tuple[Server, Server], postgres: PostgresLedger, admin: "Admin[asyncpg.Record]"
) -> None:
    """Eight writers on two pools, overlapping batches shuffled: no deadlock, no row twice, none missing."""
    other = await PostgresLedger.connect(servers[0].dsn())
    batch, chance = mixed(400), random.Random(11)
    turns = [chance.sample(batch, 300) for _ in range(8)]
    turns[0] = chance.sample(batch, 400)
    await asyncio.gather(*((postgres, other)[n % 2].persist(turn, EPOCH) for n, turn in enumerate(turns)))
    await assert_exactly(admin, batch)
    await other.close()


async def test_killed_connections_leave_one_set_of_rows(
    postgres: PostgresLedger, admin: "Admin[asyncpg.Record]"
) -> None:
    """The server ends our connections at random moments while two workers write the same: all or nothing each time."""
    batch, done = mixed(3_000), asyncio.Event()

    async def kill() -> None:
        chance = random.Random(12)
        for _ in range(12):
            await asyncio.sleep(chance.uniform(0.005, 0.06))
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'floodway'"
            )
        done.set()

    async def write() -> None:
        while not done.is_set():
            await until_persisted(postgres, batch)
            await until_persisted(postgres, batch[500:2_500])

    await asyncio.gather(kill(), write(), write())
    await until_persisted(postgres, batch)
    await assert_exactly(admin, batch)


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_commit_whose_answer_is_lost_is_not_repeated(
    servers: tuple[Server, Server], postgres: PostgresLedger, admin: "Admin[asyncpg.Record]", arrives: bool
) -> None:
    """The line breaks at the commit, before or after the server got it: trying again leaves one set of rows."""
    batch = mixed(50)
    async with Cutter(servers[0].port, at=b"COMMIT", deliver=arrives) as cutter:
        cut = await PostgresLedger.connect(f"postgresql://floodway@127.0.0.1:{cutter.port}/postgres")
        with pytest.raises(LedgerUnavailable):
            await cut.persist(batch, EPOCH)
        again = await cut.persist(batch, EPOCH)
        assert len(again.stored) == (len(batch) if arrives else 0)
        await cut.close()
    await assert_exactly(admin, batch)


@pytest.mark.parametrize("arrives", [True, False])
async def test_steps_whose_commit_is_lost_are_not_repeated(
    servers: tuple[Server, Server], postgres: PostgresLedger, arrives: bool
) -> None:
    """The same for steps: the second try finds them taken, or takes them."""
    made = accepted(1)
    await postgres.persist([made], EPOCH)
    async with Cutter(servers[0].port, at=b"COMMIT", deliver=arrives) as cutter:
        cut = await PostgresLedger.connect(f"postgresql://floodway@127.0.0.1:{cutter.port}/postgres")
        paid = [step(made.order_id, "e1", movements=sold(made))]
        with pytest.raises(LedgerUnavailable):
            await cut.take_steps(paid, EPOCH)
        assert [result.value for result in (await cut.take_steps(paid, EPOCH))[1]] == [
            "repeated" if arrives else "taken"
        ]
        await cut.close()
    assert [(b.free, b.held, b.sold) async for b in postgres.balances()] == [(-2, 0, 2)]


async def test_a_statement_that_takes_too_long_is_an_outage(
    servers: tuple[Server, Server], postgres: PostgresLedger, admin: "Admin[asyncpg.Record]"
) -> None:
    """A lock held by somebody else ends the wait after the timeout, and nothing was written."""
    hasty = await PostgresLedger.connect(servers[0].dsn(), statement_timeout_s=0.3)
    async with admin.transaction():
        await admin.execute("LOCK TABLE decisions IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LedgerUnavailable):
            await hasty.persist(mixed(3), EPOCH)
    assert len((await hasty.persist(mixed(3), EPOCH)).stored) == 0
    await hasty.close()


async def test_a_commit_is_durable_whatever_the_servers_default(
    servers: tuple[Server, Server], postgres: PostgresLedger, admin: "Admin[asyncpg.Record]"
) -> None:
    """A server set to commit before it writes would let an announced decision vanish; our connections do not."""
    await admin.execute("ALTER ROLE floodway SET synchronous_commit = off")
    try:
        careful = await PostgresLedger.connect(servers[0].dsn())
        pool = careful._primary
        assert await pool.fetchval("SHOW synchronous_commit") == "on"
        assert await pool.fetchval("SHOW synchronous_commit") == "on"
        await careful.close()
    finally:
        await admin.execute("ALTER ROLE floodway RESET synchronous_commit")


async def test_the_movements_are_the_balances(postgres: PostgresLedger, admin: "Admin[asyncpg.Record]") -> None:
    """The view has every entry by name, an order's entries gain and lose nothing, and the sums are the balances."""
    two = (("TEA", 1, 450), ("CUP", 3, 990), ("TEA", 2, 400))
    batch = [accepted(number, lines=two) for number in range(20)]
    await postgres.record_movements(received("delivery", ("TEA", 100), ("CUP", 100)))
    await postgres.persist([*batch, rejected(99)], EPOCH)
    await postgres.take_steps([step(made.order_id, "e1", movements=sold(made)) for made in batch[:7]], EPOCH)
    actions = await admin.fetch("SELECT action, count(*) FROM movements GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in actions] == [
        ("confirm", 14), ("hold", 40), ("receive", 2)
    ]  # fmt: skip
    of_orders = "SELECT ref, sum(free + held + sold) FROM movements WHERE action <> 'receive' GROUP BY 1"
    assert {row[1] for row in await admin.fetch(of_orders)} == {0}
    sums = await admin.fetch(
        "SELECT sku, pool, sum(free), sum(held), sum(sold) FROM movements GROUP BY 1, 2 ORDER BY 1"
    )
    assert [tuple(row) for row in sums] == [tuple(b) async for b in postgres.balances()]
    states = await admin.fetch("SELECT state, count(*) FROM orders_now GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in states] == [("confirmed", 7), ("held", 13)]


async def test_codes_mean_the_same_in_sql(postgres: PostgresLedger, admin: "Admin[asyncpg.Record]") -> None:
    """The table that people join with has every code that the pipeline writes, under the same name."""
    expected = {("verdict", code, reason.value if reason else "accepted") for reason, code in VERDICTS.items()}
    expected |= {("state", code, state.value) for state, code in STATES.items()}
    expected |= {("action", code, action.value) for action, code in ACTIONS.items()}
    expected |= {("milestone", milestone.code, milestone.name) for milestone in MILESTONES}
    assert {tuple(row) for row in await admin.fetch("SELECT kind, code, name FROM codes")} == expected


async def test_every_named_query_is_one_that_postgres_takes(
    postgres: PostgresLedger, admin: "Admin[asyncpg.Record]"
) -> None:
    """Each parses and plans against the newest schema."""
    for name, text in SQL.items():
        assert await admin.prepare(text), name


async def test_an_address_is_kept_to_the_letter(postgres: PostgresLedger, admin: "Admin[asyncpg.Record]") -> None:
    """Any script, emoji, quotes and backslashes come back as they were given."""
    ship_to = ShipTo(name='王小明 "明" \\ O\'Brien', city="Łódź", address="🏠 12/3\u2028b", country="PL")
    made = booking(submission(1, ship_to=ship_to))
    await postgres.persist([made, accepted(2)], EPOCH)
    stored = await admin.fetch("SELECT ship_to::text FROM orders ORDER BY submission_id")
    assert json.loads(stored[0][0]) == {
        "name": ship_to.name, "city": ship_to.city, "address": ship_to.address, "country": "PL"
    }  # fmt: skip
    assert stored[1][0] is None


async def test_conflicts_stand_once(postgres: PostgresLedger, admin: "Admin[asyncpg.Record]") -> None:
    """One row for each key and fingerprint, with where it was first read."""
    first = Conflict("web", "s-1", b"12345678", 4, 5, submission(1).submitted_at)
    await postgres.record_conflicts([first, first._replace(fingerprint=b"other")])
    await postgres.record_conflicts([first._replace(offset=6)])
    found = await admin.fetch(
        "SELECT log_partition, log_offset, fingerprint, seen_at FROM conflicts ORDER BY fingerprint"
    )
    assert tuple(found[0]) == (4, 5, b"12345678", first.seen_at)
    assert len(found) == 2


async def test_a_decision_is_found_by_its_order_id_without_reading_all(
    postgres: PostgresLedger, admin: "Admin[asyncpg.Record]"
) -> None:
    """Accepted or not, the planner takes the index."""
    for start in range(0, 20_000, 5_000):
        await postgres.persist([rejected(n) if n % 2 else accepted(n) for n in range(start, start + 5_000)], EPOCH)
    await admin.execute("ANALYZE decisions")
    query = SQL["decision_by_order_id"].replace("$1", f"'{rejected(11).order_id}'")
    plan = json.loads(await admin.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}"))[0]["Plan"]
    assert (plan["Node Type"], plan["Index Name"], plan["Actual Rows"]) == ("Index Scan", ORDER_ID_CONSTRAINT, 1)
    for made in (rejected(11), accepted(12)):
        found = await postgres.find_decision(made.order_id)
        assert found is not None
        assert found[0] == key(made)
    await empty(admin)


@pytest.mark.parametrize(
    "wrong",
    ["qtys = '{0}'", "qtys = '{1,1}'", "total = NULL", "held_until = NULL", "skus = '{}'", "verdict = 1"],
)
async def test_half_an_order_is_refused_by_the_table(
    postgres: PostgresLedger, admin: "Admin[asyncpg.Record]", wrong: str
) -> None:
    """An accepted order is complete and each of its lines has units; a rejection has none of it."""
    await postgres.persist([accepted(1)], EPOCH)
    with pytest.raises(asyncpg.CheckViolationError):
        await admin.execute(f"UPDATE decisions SET {wrong}")
    await empty(admin)
