"""The contract of finding an order by a name that is not its key; on PostgreSQL by an index, however many there are."""

from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from ledger_values import EPOCH, NOW, accepted, rejected
from msgspec import structs

from streams.core.books import Quarantined
from streams.finding import find, which_order
from streams.stores.ledger import NAMED_MOST, Ledger
from streams.stores.ledger_connections import SQL
from streams.stores.ledger_postgres import PostgresLedger
from streams.why import why

if TYPE_CHECKING:
    import asyncpg

pytest_plugins = ["ledger_fixtures"]

MANY = """
INSERT INTO decisions (decided_at, submitted_at, log_offset, log_partition, verdict, order_id, fingerprint, channel,
                       submission_id, held_until, total, buyer_id, currency, trace_id, channel_order_no, skus, qtys,
                       unit_prices)
SELECT now(), now(), n, 0, 0, lpad(to_hex(n), 32, '0')::uuid, 'f', 'shop', 's-' || n, now() + interval '1 hour',
       5, 'b', 'EUR', CASE WHEN n % 2 = 0 THEN md5(n::text) END, CASE WHEN n % 3 > 0 THEN 'no-' || n END,
       '{TEA}', '{1}', '{5}'
  FROM generate_series(1, $1::int) AS n
"""
STEPS = """
INSERT INTO order_steps (at, occurred_at, state, milestone, order_id, source, event_id, kind)
SELECT now(), now(), 1, 1040, lpad(to_hex(n), 32, '0')::uuid, 'pay', 'e', 'payment.succeeded'
  FROM generate_series(1, $1::int) AS n
"""
WITHIN_S = 0.05


async def test_orders_are_found_by_number_and_by_trace(ledger: Ledger) -> None:
    """By a trace all that came under it, some of them if many; by a number the order that has it; else nothing."""
    made = [accepted(number) for number in range(1, 9)]
    traced = [one._replace(intent=structs.replace(one.intent, trace_id="a" * 32)) for one in made[:7]]
    token = (await ledger.persist([*traced, made[7], rejected(20)], EPOCH)).token
    assert await ledger.find_named(("web", "no-3"), token=token) == [made[2].order_id]
    assert await ledger.find_named(("web", "no-4"), token=token) == []
    assert await ledger.find_named(("jd", "no-3"), token=token) == []
    found = await ledger.find_named("a" * 32, token=token)
    assert len(found) == NAMED_MOST
    assert set(found) <= {one.order_id for one in traced}
    assert await ledger.find_named(made[7].intent.trace_id, token=token) == [made[7].order_id]
    assert await ledger.find_named("b" * 32, token=token) == []


async def test_what_waits_is_found_by_the_order_it_was_said_of(ledger: Ledger) -> None:
    """By its id, its channel's number, a parcel of it; not what was said of others, or what is taken by now."""
    order_id = UUID(int=5)
    empty = Quarantined(0, 0, NOW, "unknown_code", "jd", "NEW", None, None, None, None, b"", ())
    mine = [
        empty._replace(offset=1, value=b"1", order_id=order_id),
        empty._replace(offset=2, value=b"2", channel="jd", channel_order_no="77"),
        empty._replace(offset=3, value=b"3", shipment="SF1"),
    ]
    others = [
        empty._replace(offset=4, value=b"4"),
        empty._replace(offset=5, value=b"5", channel="tmall", channel_order_no="77"),
        empty._replace(offset=6, value=b"6", shipment="SF2", order_id=UUID(int=6)),
    ]
    await ledger.quarantine([*others, *mine], [])
    token = (await ledger.persist([accepted(1)], EPOCH)).token
    found = await ledger.waiting_of(order_id, ("jd", "77"), ["SF1", "SF9"], token=token)
    assert [record.offset for record in found] == [1, 2, 3]
    assert [record.offset for record in await ledger.waiting_of(order_id, None, [], token=token)] == [1]
    await ledger.release(mine)
    token = (await ledger.persist([accepted(2)], EPOCH)).token
    assert await ledger.waiting_of(order_id, ("jd", "77"), ["SF1"], token=token) == []


@pytest.mark.parametrize("orders", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.timeout(400)
async def test_every_name_is_looked_up_by_an_index(
    orders: int, postgres: PostgresLedger, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """The plan of each look-up has no scan of the table, and the whole answer is there within 50 ms."""
    await admin.execute("SET statement_timeout = 0")
    await admin.execute(MANY, orders, timeout=300)
    await admin.execute(STEPS, orders, timeout=300)
    await admin.execute("ANALYZE decisions; ANALYZE order_steps")
    wanted = (orders // 6) * 6 - 2  # it has a trace of its own, and a number
    order_id = UUID(int=wanted)
    trace = await admin.fetchval("SELECT trace_id FROM decisions WHERE order_id = $1", order_id)
    asked: dict[str, tuple[list[Any], str]] = {
        "lookup": ([["shop"], [f"s-{wanted}"]], "decisions_pkey"),
        "decision_by_order_id": ([order_id], "decisions_order_id_key"),
        "numbered": (["shop", f"no-{wanted}", NAMED_MOST], "decisions_channel_order_no"),
        "traced": ([trace, NAMED_MOST], "decisions_trace_id"),
        "orders": ([[order_id]], "decisions_order_id_key"),
        "step_records": ([order_id], "order_steps_pkey"),
    }
    for name, (arguments, index) in asked.items():
        plan = "\n".join(row[0] for row in await admin.fetch("EXPLAIN " + SQL[name], *arguments))
        assert index in plan, (name, plan)
        assert "Seq Scan" not in plan, (name, plan)
    token = await admin.fetchval("SELECT pg_current_wal_flush_lsn()::text")
    await find(postgres, order_id, token=token)
    for name in (f"shop:s-{wanted}", f"shop:no-{wanted}", str(order_id), order_id.hex, trace):
        times = []
        for _ in range(5):
            began = perf_counter()
            found = await why(postgres, which_order(name), now=datetime.now(UTC))
            times.append(perf_counter() - began)
            assert found.order_id == order_id
        print(f"{orders:,} orders, {name[:6]}…: {sorted(times)[2] * 1000:.1f} ms")
        assert sorted(times)[2] < WITHIN_S, (name, times)
