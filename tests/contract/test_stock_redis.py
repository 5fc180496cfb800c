"""What only the real stock can show: lost scripts, a server that is gone or ill, keys, memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from stock_kit import EPOCH, NOW_MS, TTL_MS, Server, books, campaign, codes, oid, order, redis_stock, reserve

from streams.errors import Fenced, FloodwayError, StockUnavailable
from streams.stores.stock_redis import RedisStock

pytest_plugins = ["stock_fixtures"]


@pytest.fixture
async def stock(valkey: Server) -> AsyncIterator[RedisStock]:
    """An empty stock under EPOCH with 10 of A."""
    stock = redis_stock(valkey)
    await stock.install_epoch(EPOCH)
    await stock.receive(EPOCH, "delivery", [("A", 10)])
    yield stock
    await stock.close()


@pytest.fixture
async def client(valkey: Server) -> AsyncIterator[Redis]:
    """A connection beside the stock's own."""
    client = Redis.from_url(valkey.url, protocol=2)
    yield client
    await client.aclose()


async def test_scripts_come_back_after_a_flush(stock: RedisStock, client: Redis) -> None:
    """A server that has forgotten its scripts is given them again, unseen by the caller."""
    await reserve(stock, order(1, ("A", 1)))
    await client.script_flush()
    assert await codes(stock, order(2, ("A", 1))) == [0]


async def test_a_crash_is_noticed(tmp_path: Path) -> None:
    """A server that is killed answers as unavailable; back over its data it is refused, for who knows."""
    server = Server(tmp_path)
    server.start()
    stock = redis_stock(server, timeout_s=2.0)
    try:
        await stock.install_epoch(EPOCH)
        await stock.receive(EPOCH, "delivery", [("A", 10)])
        await reserve(stock, order(1, ("A", 1)))
        server.kill()
        for call in (stock.epoch(), reserve(stock, order(1, ("A", 1))), stock.unsettled(), books(stock)):
            with pytest.raises(StockUnavailable, match="did not answer"):
                await call
        server.start()
        with pytest.raises(Fenced, match="restarted or promoted"):
            await reserve(stock, order(1, ("A", 1)))
        assert await books(stock) == {("A", "main"): (9, 1, 0)}
    finally:
        await stock.close()
        server.kill()


async def test_a_server_that_hangs(valkey: Server, client: Redis) -> None:
    """An answer that does not come within the timeout is given up, and is not tried again in secret."""
    stock = redis_stock(valkey, timeout_s=0.2)
    await stock.install_epoch(EPOCH)
    await client.execute_command("CLIENT", "PAUSE", 400, "ALL")  # type: ignore[no-untyped-call]
    with pytest.raises(StockUnavailable, match="did not answer"):
        await stock.receive(EPOCH, "r", [("A", 1)])
    await stock.close()


@pytest.mark.parametrize(
    ("setting", "ill", "well"), [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")], ids=["full", "alone"]
)
async def test_a_server_that_is_ill(stock: RedisStock, client: Redis, setting: str, ill: str, well: str) -> None:
    """A server that may not write refuses before the script has begun: unavailable, and nothing is half done."""
    before = await books(stock)
    await client.config_set(setting, ill)
    try:
        with pytest.raises(StockUnavailable, match="check the server"):
            await reserve(stock, order(1, ("A", 1)))
    finally:
        await client.config_set(setting, well)
    assert await books(stock) == before
    assert await codes(stock, order(1, ("A", 1))) == [0]


async def test_a_key_of_another_type_is_a_defect(stock: RedisStock, client: Redis) -> None:
    """An error that waiting does not cure is no outage: it is raised as what it is, with nothing written."""
    await client.set(stock._key("seen:0"), "text")
    with pytest.raises(FloodwayError, match="defect") as caught:
        await reserve(stock, order(1, ("A", 1)))
    assert not isinstance(caught.value, StockUnavailable)
    assert await books(stock) == {("A", "main"): (10, 0, 0)}


async def test_units_without_an_epoch_get_none(stock: RedisStock, client: Redis) -> None:
    """A stock that lost its epoch but kept units is not empty: it must be rebuilt, not taken for new."""
    await client.delete(stock._key("meta"))
    with pytest.raises(Fenced, match="no epoch"):
        await stock.install_epoch(EPOCH + 1)


async def test_shards_are_apart(stock: RedisStock, valkey: Server) -> None:
    """Two prefixes on one server share nothing."""
    other = redis_stock(valkey)
    assert await other.epoch() is None
    assert await books(other) == {}
    await other.close()


async def test_keys_are_those_of_the_headers(stock: RedisStock, client: Redis) -> None:
    """Whatever the stock does, it writes a fixed set of keys, all with the prefix and its hash tag."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 5), limit=3))
    await reserve(stock, *[order(number, ("A", 1), promotion="p") for number in (1, 2)], order(3, ("A", 1)))
    await stock.confirm(EPOCH, [oid(1)])
    await stock.expire_due(EPOCH, now_ms=NOW_MS + TTL_MS, limit=1)
    await reserve(stock, order(4, ("A", 1)), ttl_ms=TTL_MS)
    plain = ["bought", "due", "free", "holds", "meta", "on_hand", "promos", "refs", "sold", "unsettled"]
    names = sorted([*plain, "ended:0", "seen:0"])
    assert sorted([key async for key in client.scan_iter(stock._key("*"))]) == [stock._key(name) for name in names]


async def test_closing_forgets_its_buyers(stock: RedisStock, client: Redis) -> None:
    """What buyers took of a closed promotion is dropped, and only of that."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 5), limit=3))
    await stock.open_promotion(EPOCH, campaign("pp", ("A", 5), limit=3))
    await reserve(stock, *[order(n, ("A", 1), promotion=name, buyer="p|x") for n, name in enumerate(("p", "pp"))])
    await stock.close_promotion(EPOCH, "p")
    assert await client.hgetall(stock._key("bought")) == {b"pp|p|x": b"1"}


async def test_due_shrinks(stock: RedisStock, client: Redis) -> None:
    """The queue of deadlines is one member a batch and empties as deadlines pass, whatever became of the holds."""
    await reserve(stock, *[order(number, ("A", 1)) for number in range(4)])
    await stock.confirm(EPOCH, [oid(0), oid(1)])
    assert await client.zcard(stock._key("due")) == 1
    await stock.expire_due(EPOCH, now_ms=NOW_MS + TTL_MS, limit=1)
    assert await client.zcard(stock._key("due")) == 1
    await stock.settle(EPOCH, [oid(2)])
    await stock.expire_due(EPOCH, now_ms=NOW_MS + TTL_MS, limit=2)
    assert await client.zcard(stock._key("due")) == 0
