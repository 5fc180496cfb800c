"""The watch on a real Postgres: what it finds, one ticket for each cause, and what a look costs."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from time import process_time
from uuid import UUID

import asyncpg
import msgspec
import pytest
from ledger_server import Server
from ledger_values import EPOCH, NOW, booking, step, submission

from streams.core.books import Message, Quarantined, State, Step
from streams.core.tickets import to_open
from streams.core.vocabulary import BY_NAME
from streams.core.waits import Positions
from streams.messages import Ticket, TicketEvent
from streams.stores.deliveries import Done, ToDeliver
from streams.stores.deliveries_postgres import PostgresDeliveries
from streams.stores.ledger_postgres import PostgresLedger
from streams.stores.watch_postgres import SQL, PostgresWatch
from streams.watch.config import load_rules
from streams.watch.delays import mean_ms, share_ms
from streams.watch.look import Watch

pytest_plugins = ["ledger_fixtures", "delivery_fixtures"]

RULES = load_rules(None)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LOOK = timedelta(seconds=30)
UNREAD: dict[str, tuple[Positions, Positions]] = {}


@pytest.fixture
async def store(servers: tuple[Server, Server], postgres: PostgresLedger) -> AsyncIterator[PostgresWatch]:
    """What the watch asks, primary and replica."""
    made = await PostgresWatch.connect(servers[0].dsn(), servers[1].dsn(), replica_wait_s=5.0)
    yield made
    await made.close()


class World:
    """A ledger, and a watch that looks at times of the test's own."""

    def __init__(self, ledger: PostgresLedger, store: PostgresWatch) -> None:
        self.ledger, self.store = ledger, store
        self.positions: dict[str, tuple[Positions, Positions]] = {}
        self.watch = Watch(store, RULES, self._standing)

    async def _standing(self, _group: str, topic: str) -> tuple[Positions, Positions]:
        return self.positions.get(topic, ({}, {}))

    async def look(self, at: datetime, times: int = 1) -> list[tuple[str, TicketEvent, int]]:
        """What some looks in a row tell: ticket, event and how many are affected."""
        told: list[Message] = []
        for number in range(times):
            told += await self.watch.look(at + number * LOOK)
        tickets = [msgspec.json.decode(message.value, type=Ticket) for message in told]
        return [(ticket.ticket_id, ticket.event, ticket.count) for ticket in tickets]

    async def orders(self, *numbers: int, channel: str = "web") -> list[UUID]:
        """Accepted orders."""
        booked = [booking(submission(number, channel=channel), offset=number) for number in numbers]
        await self.ledger.persist(booked, EPOCH)
        return [one.order_id for one in booked]

    async def steps(self, *steps: Step) -> None:
        """Steps, as the lifecycle writes them."""
        await self.ledger.take_steps(steps, EPOCH)


@pytest.fixture
def world(postgres: PostgresLedger, store: PostgresWatch) -> World:
    """A watch that looks at an empty ledger."""
    return World(postgres, store)


def reached(order: UUID, event_id: str, milestone: str, *, after: timedelta, source: str = "wms") -> Step:
    """A step that moves no stock."""
    made = step(order, event_id, source=source, after_s=after.total_seconds())
    return made._replace(expected=(), state=None, milestone=BY_NAME[milestone].code, kind=milestone)


def paid(order: UUID) -> Step:
    """A payment, a minute after the order."""
    return step(order, "paid")._replace(milestone=BY_NAME["paid"].code)


async def test_orders_that_nobody_processes_are_one_ticket_a_channel(world: World) -> None:
    """Not before two hours; with a count that follows; closed by itself once the last is taken up."""
    first, second, third = await world.orders(1, 2, 3)
    (other,) = await world.orders(4, channel="shop")
    await world.steps(*map(paid, (first, second, third, other)))
    await world.steps(reached(third, "r3", "picking", after=HOUR))
    assert await world.look(NOW + 2 * HOUR - 2 * MINUTE, times=5) == []
    assert await world.look(NOW + 2 * HOUR + 5 * MINUTE) == [
        ("orders_unprocessed:shop", TicketEvent.OPENED, 1),
        ("orders_unprocessed:web", TicketEvent.OPENED, 2),
    ]
    assert await world.look(NOW + 2 * HOUR + 10 * MINUTE, times=3) == []
    await world.steps(reached(first, "r1", "released", after=2 * HOUR), reached(other, "r4", "shipped", after=2 * HOUR))
    assert await world.look(NOW + 2 * HOUR + 20 * MINUTE) == []
    found = await world.store.one("orders_unprocessed:web")
    assert found is not None
    assert (found[0].affected, found[0].is_open) == (1, True)
    assert str(second) in found[0].detail
    assert await world.look(NOW + 2 * HOUR + 25 * MINUTE) == [("orders_unprocessed:shop", TicketEvent.CLOSED, 1)]
    assert await world.look(NOW + 2 * HOUR + 40 * MINUTE) == [("orders_unprocessed:web", TicketEvent.ESCALATED, 1)]
    await world.steps(step(second, "c", state=State.CANCELLED, expected=(State.CONFIRMED,), after_s=9_000))
    assert await world.look(NOW + 3 * HOUR, times=5) == [("orders_unprocessed:web", TicketEvent.CLOSED, 1)]
    found = await world.store.one("orders_unprocessed:web")
    assert found is not None
    assert [one.event for one in found[1]] == ["opened", "escalated", "closed"]


async def test_paid_without_stock_is_found(world: World) -> None:
    """A payment of an order whose hold has ended, with no refund under way; one with a refund due is not."""
    bare, owed, fine = await world.orders(1, 2, 3)
    for order in (bare, owed):
        await world.steps(step(order, "e", state=State.EXPIRED, after_s=10))
    await world.steps(reached(bare, "p", "paid", after=MINUTE, source="pay"), paid(fine))
    await world.steps(
        step(owed, "p", state=State.REFUND_DUE, expected=(State.EXPIRED,))._replace(milestone=BY_NAME["paid"].code)
    )
    told = await world.look(NOW + HOUR, times=5)
    assert told == [("paid_unlocked:web", TicketEvent.OPENED, 1)]
    found = await world.store.one("paid_unlocked:web")
    assert found is not None
    assert str(bare) in found[0].detail
    assert "Stock sync fault" in found[0].cause
    # The refund that is owed is a matter for people a day later.
    assert ("refund_waiting:web", TicketEvent.OPENED, 1) in await world.look(NOW + 25 * HOUR, times=9)
    await world.steps(reached(owed, "r", "refunding", after=25 * HOUR, source="pay"))
    closed = await world.look(NOW + 26 * HOUR, times=6)
    assert ("refund_waiting:web", TicketEvent.CLOSED, 1) in closed


async def test_sources_are_heard_and_fall_silent(world: World) -> None:
    """How late each is adds up over looks; six hours after the last report there is a ticket, until it is back."""
    orders = await world.orders(*range(1, 102))
    late = [reached(order, "s", "shipped", after=HOUR, source="sf") for order in orders]
    await world.steps(*(one._replace(occurred_at=one.at - timedelta(seconds=60)) for one in late[:100]))
    await world.steps(late[100]._replace(occurred_at=late[100].at - HOUR))
    assert await world.look(NOW + 2 * HOUR, times=6) == []
    found = (await world.store.delays_since(NOW))["sf"]
    assert sum(reports for reports, _ in found.values()) == 101
    assert 60_000 <= share_ms(found, 0.5) <= 66_000
    assert 3_600_000 <= share_ms(found, 1.0) <= 3_960_000
    assert mean_ms(found) == pytest.approx((100 * 60_000 + 3_600_000) / 101)
    told = await world.look(NOW + 7 * HOUR + MINUTE, times=2)
    assert told == [("source_quiet:sf", TicketEvent.OPENED, 1)]
    await world.steps(reached(orders[0], "d", "delivered", after=7 * HOUR + 2 * MINUTE, source="sf"))
    assert await world.look(NOW + 7 * HOUR + 3 * MINUTE, times=4) == [("source_quiet:sf", TicketEvent.CLOSED, 1)]


async def test_records_that_wait_are_a_ticket_after_five_minutes(world: World) -> None:
    """By what the group has committed, not by the records' times; closed when it has caught up."""
    topic = "orders.reported.v1"
    world.positions[topic] = ({0: 100, 1: 7}, {0: 60, 1: 7})
    assert await world.look(NOW, times=9) == []
    assert await world.look(NOW + 5 * MINUTE) == [(f"reports_unconsumed:{topic}", TicketEvent.OPENED, 40)]
    world.positions[topic] = ({0: 150, 1: 7}, {0: 150, 1: 7})
    assert await world.look(NOW + 6 * MINUTE, times=5) == [(f"reports_unconsumed:{topic}", TicketEvent.CLOSED, 40)]


async def test_deliveries_that_wait_or_fail_are_tickets(world: World, deliveries: PostgresDeliveries) -> None:
    """One for a target that takes nothing, one for a target that refuses, with what it said."""
    one = ToDeliver("shop", "n-1", "notifications.v1", 0, 0, b"k", b"{}")
    await deliveries.add([one, one._replace(delivery_id="n-2")], NOW)
    await deliveries.enter("mail", [Done("n-3", 1, NOW, "refused: 550")])
    assert await world.look(NOW + MINUTE) == [("deliveries_failed:mail", TicketEvent.OPENED, 1)]
    assert await world.look(NOW + 20 * MINUTE) == [("deliveries_waiting:shop", TicketEvent.OPENED, 2)]
    found = await world.store.one("deliveries_failed:mail")
    assert found is not None
    assert "refused: 550" in found[0].detail


async def test_quarantine_and_watch_share_their_tickets(world: World) -> None:
    """The ticket that opens with the first record is counted up by the watch, and closed when none is left."""
    record = Quarantined(0, 1, NOW, "unknown_code", "tmall", "NEW", None, None, None, None, b"x", ())
    ticket = Ticket("unknown_code:tmall:NEW", "unknown_code", "tmall: NEW", "detail", "fix", NOW)
    second = record._replace(offset=2, value=b"y")
    assert len(await world.ledger.quarantine([record, second], [to_open(ticket)])) == 1
    assert await world.look(NOW + MINUTE) == []
    found = await world.store.one(ticket.ticket_id)
    assert found is not None
    assert (found[0].affected, [one.event for one in found[1]]) == (2, ["opened"])
    await world.ledger.release([record, second])
    assert await world.look(NOW + 2 * MINUTE, times=2) == [(ticket.ticket_id, TicketEvent.CLOSED, 2)]
    assert await world.ledger.tickets() == []


async def test_two_watches_count_nothing_twice(world: World) -> None:
    """What one look has added up, another that began with it does not add again."""
    (order,) = await world.orders(1)
    await world.steps(reached(order, "s", "shipped", after=HOUR, source="sf"))
    before = await world.store.marks()
    assert before == {}
    beside = World(world.ledger, world.store)
    facts = await beside.watch._facts(NOW + 90 * MINUTE, before)
    for _ in range(5):
        await world.look(NOW + 90 * MINUTE)
    async with world.store.turn() as mine, world.store.turn() as theirs:
        assert (mine is None, theirs is None) == (False, True)
    assert await world.store.marks() != facts.marks
    found = (await world.store.delays_since(NOW))["sf"]
    assert sum(reports for reports, _ in found.values()) == 1


MANY = 200_000
FILL = """
    INSERT INTO decisions (decided_at, submitted_at, log_offset, log_partition, verdict, order_id, fingerprint, channel,
                           submission_id, held_until, total, buyer_id, currency, skus, qtys, unit_prices)
    SELECT $1::timestamptz + n * interval '50 ms', $1, n, 0, 0,
           ('01a20179-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'f',
           'web', 'm-' || n, $1, 1, 'b', 'EUR', '{TEA}', '{1}', '{1}'
      FROM generate_series(1, $2::int) n
"""
FILL_STEPS = """
    INSERT INTO order_steps (at, occurred_at, state, milestone, order_id, source, event_id, kind)
    SELECT $1::timestamptz + n * interval '50 ms', $1, $3::smallint, $4::smallint,
           ('01a20179-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, $5, 'e', 'k'
      FROM generate_series(1, $2::int) n
"""


async def test_a_look_costs_what_came_in_not_what_there_is(
    world: World, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Beside 200,000 orders and twice as many steps a look at a minute reads a small part of them, by indexes."""
    await admin.execute(FILL, NOW, MANY)
    await admin.execute(FILL_STEPS, NOW + MINUTE, MANY, 1, 1040, "pay")
    await admin.execute(FILL_STEPS, NOW + 2 * MINUTE, MANY - 10, None, 3010, "wms")
    await admin.execute("VACUUM ANALYZE decisions, order_steps")
    end = NOW + MANY * timedelta(milliseconds=50)
    for check in ("orders_unprocessed", "paid_unlocked", "refund_waiting"):
        async with admin.transaction():
            await admin.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off")
            rows = await admin.fetch(
                f"EXPLAIN (ANALYZE, BUFFERS) {SQL[check]}", end - 2 * MINUTE, end - MINUTE, check, 50_000
            )
        plan = "\n".join(row[0] for row in rows)
        assert "Seq Scan on order_steps" not in plan, plan
        assert "Seq Scan on decisions" not in plan, plan
    before = process_time()
    assert await world.look(NOW + 6 * HOUR, times=5) == [("orders_unprocessed:web", TicketEvent.OPENED, 10)]
    assert process_time() - before < 5.0
