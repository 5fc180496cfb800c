"""Faults put into Kafka, Redis and Postgres behind the pipeline's back, and taken out again.

Each is a context: within it the fault is there, and what it yields is what `verify` must find: the faults by name with
their number, and an example that must be told. The servers must be at rest.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from uuid import UUID, uuid4

import asyncpg
import shop
from confluent_kafka import Consumer, TopicPartition
from redis.asyncio import Redis

from agents.roles import group
from streams.parts import Parts
from streams.stores.log import Entry
from streams.stores.reader_kafka import TopicReader
from streams.stores.stock_keys import PREFIX
from streams.topics import SUBMITTED

Found = tuple[dict[str, int], str]
JOINED_WITHIN_S = 20


@dataclass(frozen=True)
class Scene:
    """A finished run, and ways to everything it left."""

    parts: Parts
    postgres: "asyncpg.Connection[asyncpg.Record]"
    redis: Redis
    member: "Member"

    async def hold(self, order_id: UUID) -> bytes:
        """An order's hold as Redis keeps it."""
        found = await self.redis.hget(redis_key("holds"), order_id.bytes)
        assert isinstance(found, bytes), order_id
        return found

    async def row(self, sql: str) -> asyncpg.Record:
        """The first row of a query that must find some."""
        found = await self.postgres.fetchrow(sql)
        assert found is not None, sql
        return found


Fault = Callable[[Scene], AbstractAsyncContextManager[Found]]


def redis_key(name: str) -> str:
    """A key of the stock."""
    return PREFIX + name


@asynccontextmanager
async def decision_deleted(scene: Scene) -> AsyncIterator[Found]:
    """A refusal that was announced is not in the ledger any more."""
    one = "(channel, submission_id) = (SELECT channel, submission_id FROM decisions WHERE verdict = 1 LIMIT 1)"
    async with _without_row(scene, "decisions", one) as row:
        yield {"missing": 1, "repeated": 1}, f"{row['channel']}:{row['submission_id']}"


TURN = "UPDATE decisions SET (verdict, held_until, total, buyer_id, currency, skus, qtys, unit_prices) = "
OF_KEY = " WHERE (channel, submission_id) = ($1, $2)"


@asynccontextmanager
async def decision_turned(scene: Scene) -> AsyncIterator[Found]:
    """The ledger says accepted of what was announced as refused."""
    row = await scene.row("SELECT channel, submission_id FROM decisions WHERE verdict = 1 LIMIT 1")
    await scene.postgres.execute(TURN + "(0, decided_at, 0, 'ann', 'EUR', '{GOOD-0}', '{1}', '{0}')" + OF_KEY, *row)
    try:
        yield {"repeated": 1, "lost_holds": 1, "redis_differs": 1}, f"{row['channel']}:{row['submission_id']}"
    finally:
        await scene.postgres.execute(TURN + "(1, NULL, NULL, NULL, NULL, NULL, NULL, NULL)" + OF_KEY, *row)


@asynccontextmanager
async def submission_passed_over(scene: Scene) -> AsyncIterator[Found]:
    """A submission was committed and never decided."""
    async with _passed_over(scene, 0, shop.encode(shop.order("passed-over", ("GOOD-0", 1)))):
        yield {"missing": 1, "unanswered": 1}, "shop:passed-over"


@asynccontextmanager
async def repeat_unanswered(scene: Scene) -> AsyncIterator[Found]:
    """A decided submission was sent once more, and not answered once more."""
    row = await scene.row("SELECT submission_id FROM decisions WHERE channel = 'shop' AND verdict = 0 LIMIT 1")
    async with _passed_over(scene, 1, shop.encode(shop.order(row["submission_id"], ("GOOD-0", 1)))):
        yield {"unanswered": 1}, f"shop:{row['submission_id']}"


@asynccontextmanager
async def dead_letter_missing(scene: Scene) -> AsyncIterator[Found]:
    """A bad record was committed and is no dead letter."""
    async with _passed_over(scene, 2, b"{not json") as at:
        yield {"missing": 1}, at


@asynccontextmanager
async def unit_added_in_redis(scene: Scene) -> AsyncIterator[Found]:
    """Redis has one unit more free than the ledger."""
    async with _changed_by(scene, "free", "GOOD-0|main", 1):
        yield {"redis_differs": 1}, "GOOD-0"


@asynccontextmanager
async def pool_made_in_redis(scene: Scene) -> AsyncIterator[Found]:
    """Redis has units of a SKU that nobody ever received."""
    await scene.redis.hset(redis_key("free"), "NOBODYS|main", "3")
    try:
        yield {"redis_differs": 1}, "NOBODYS"
    finally:
        await scene.redis.hdel(redis_key("free"), "NOBODYS|main")


@asynccontextmanager
async def free_below_zero_in_redis(scene: Scene) -> AsyncIterator[Found]:
    """Redis has promised two units more than there are."""
    free = int(await scene.redis.hget(redis_key("free"), "GOOD-0|main") or 0)
    async with _changed_by(scene, "free", "GOOD-0|main", -free - 2):
        yield {"oversold": 2, "redis_differs": 1}, "GOOD-0"


RAISE_FIRST_LINE = "UPDATE decisions SET qtys[1] = qtys[1] + $2 WHERE order_id = $1"


@asynccontextmanager
async def free_below_zero_in_ledger(scene: Scene) -> AsyncIterator[Found]:
    """The ledger has promised more than there is: one order's line is larger than all that was received."""
    row = await scene.row(
        "SELECT l.order_id, l.sku FROM order_lines l JOIN orders_now o USING (order_id)"
        " WHERE o.state = 'held' AND o.submission_id LIKE 'one-%' LIMIT 1"
    )
    balance = {(b.sku, b.pool): b async for b in scene.parts.ledger.balances()}[row["sku"], "main"]
    async with _swapped(scene, RAISE_FIRST_LINE, row[0], balance.free + 3):
        yield {"oversold": 3, "redis_differs": 1}, row["sku"]


@asynccontextmanager
async def hold_without_order(scene: Scene) -> AsyncIterator[Found]:
    """Redis holds units for an order that nobody knows."""
    held, stranger = await _a_hold(scene), uuid4()
    value = await scene.hold(held)
    await scene.redis.hset(redis_key("holds"), stranger.bytes, value)
    try:
        yield {"leaked_holds": 1}, str(stranger)
    finally:
        await scene.redis.hdel(redis_key("holds"), stranger.bytes)


@asynccontextmanager
async def hold_of_another_time(scene: Scene) -> AsyncIterator[Found]:
    """Redis holds an order's units until another time than the ledger says: it is another hold."""
    held = await _a_hold(scene)
    value = await scene.hold(held)
    later = (int.from_bytes(value[8:16]) + 1).to_bytes(8)
    await scene.redis.hset(redis_key("holds"), held.bytes, value[:8] + later + value[16:])
    try:
        yield {"leaked_holds": 1}, str(held)
    finally:
        await scene.redis.hset(redis_key("holds"), held.bytes, value)


@asynccontextmanager
async def order_without_hold(scene: Scene) -> AsyncIterator[Found]:
    """The ledger has an order that holds, Redis has no hold of it."""
    held = await _a_hold(scene)
    value = await scene.hold(held)
    await scene.redis.hdel(redis_key("holds"), held.bytes)
    try:
        yield {"lost_holds": 1}, str(held)
    finally:
        await scene.redis.hset(redis_key("holds"), held.bytes, value)


@asynccontextmanager
async def movement_deleted(scene: Scene) -> AsyncIterator[Found]:
    """A paid order's units never moved from held to sold."""
    one = "order_id = (SELECT order_id FROM orders_now WHERE state = 'confirmed' LIMIT 1)"
    async with _without_row(scene, "order_movements", one) as row:
        yield {"contradictory": 1, "redis_differs": 1}, str(row["order_id"])


@asynccontextmanager
async def movement_doubled(scene: Scene) -> AsyncIterator[Found]:
    """A paid order's units were sold twice over, the second time under another name."""
    row = await scene.row(
        "INSERT INTO order_movements (at, free, held, sold, action, order_id, sku, pool)"
        " SELECT m.at, m.free, m.held, m.sold, 5, m.order_id, m.sku, m.pool"
        "   FROM order_movements m JOIN orders_now o USING (order_id) WHERE o.state = 'confirmed' LIMIT 1"
        " RETURNING order_id"
    )
    try:
        yield {"contradictory": 1, "redis_differs": 1}, str(row["order_id"])
    finally:
        await scene.postgres.execute("DELETE FROM order_movements WHERE order_id = $1 AND action = 5", row["order_id"])


@asynccontextmanager
async def order_deleted(scene: Scene) -> AsyncIterator[Found]:
    """A paid order is gone, what it moved is still booked."""
    one = "order_id = (SELECT order_id FROM orders_now WHERE state = 'confirmed' LIMIT 1)"
    async with _without_row(scene, "decisions", one) as row:
        yield {"missing": 1, "repeated": 1, "contradictory": 1, "redis_differs": 1}, str(row["order_id"])


@asynccontextmanager
async def half_a_transfer(scene: Scene) -> AsyncIterator[Found]:
    """Units came into a promotion's pool that never left main: there are more than were received."""
    one = "action = (SELECT code FROM codes WHERE kind = 'action' AND name = 'open') AND pool = 'main'"
    async with _without_row(scene, "command_movements", one) as row:
        yield {"unbalanced_skus": 1, "redis_differs": 1}, row["sku"]


UNDOABLE: tuple[Fault, ...] = (
    decision_deleted,
    decision_turned,
    submission_passed_over,
    repeat_unanswered,
    dead_letter_missing,
    unit_added_in_redis,
    pool_made_in_redis,
    free_below_zero_in_redis,
    free_below_zero_in_ledger,
    hold_without_order,
    hold_of_another_time,
    order_without_hold,
    movement_deleted,
    movement_doubled,
    order_deleted,
    half_a_transfer,
)


async def _a_hold(scene: Scene) -> UUID:
    row = await scene.row("SELECT order_id FROM orders_now WHERE state = 'held' LIMIT 1")
    held: UUID = row["order_id"]
    return held


@asynccontextmanager
async def _without_row(scene: Scene, table: str, condition: str) -> AsyncIterator[asyncpg.Record]:
    """The one row is gone, and comes back."""
    taken = await scene.postgres.fetch(f"DELETE FROM {table} WHERE {condition} RETURNING *")
    try:
        assert len(taken) == 1, condition
        yield taken[0]
    finally:
        if taken:
            rows = [tuple(row) for row in taken]
            await scene.postgres.copy_records_to_table(table, records=rows, columns=list(taken[0].keys()))


@asynccontextmanager
async def _updated(scene: Scene, sql: str, *args: object) -> AsyncIterator[None]:
    """A change of one row that undoes itself when made twice."""
    assert await scene.postgres.execute(sql, *args) == "UPDATE 1"
    try:
        yield
    finally:
        await scene.postgres.execute(sql, *args)


@asynccontextmanager
async def _swapped(scene: Scene, sql: str, key: object, by: int) -> AsyncIterator[None]:
    """A number of one row is larger by so much for a while."""
    assert await scene.postgres.execute(sql, key, by) == "UPDATE 1"
    try:
        yield
    finally:
        await scene.postgres.execute(sql, key, -by)


@asynccontextmanager
async def _changed_by(scene: Scene, account: str, field: str, units: int) -> AsyncIterator[None]:
    await scene.redis.hincrby(redis_key(account), field, units)
    try:
        yield
    finally:
        await scene.redis.hincrby(redis_key(account), field, -units)


@asynccontextmanager
async def _passed_over(scene: Scene, partition: int, value: bytes) -> AsyncIterator[str]:
    """A record that intake has committed without doing anything about it; yields where it stands.

    Afterwards it is one that waits for intake, and each needs a partition of its own, or the next would commit it.
    """
    parts, commit = scene.parts, scene.member.commit
    reader = await TopicReader.open(parts.settings.kafka_bootstrap, SUBMITTED.name, start="end")
    await reader.close()
    at = reader.ends[partition]
    await parts.log.append(SUBMITTED.name, partition, [Entry(None, value, parts.clock.now_ms())])
    await asyncio.to_thread(commit, partition, at + 1)
    try:
        yield f"{partition}-{at}"
    finally:
        await asyncio.to_thread(commit, partition, at)


class Member:
    """A member of intake's group that commits whatever it is told to. None of intake's own workers may run."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group("intake"),
                "session.timeout.ms": 6_000,
                "enable.auto.commit": False,
            }
        )
        self._consumer.subscribe([SUBMITTED.name])
        deadline = monotonic() + JOINED_WITHIN_S
        while not self._consumer.assignment():
            assert monotonic() < deadline, "the broker let nobody into the group"
            self._consumer.poll(0.1)

    def commit(self, partition: int, offset: int) -> None:
        """Commit in intake's name."""
        self._consumer.commit(offsets=[TopicPartition(SUBMITTED.name, partition, offset)], asynchronous=False)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()
