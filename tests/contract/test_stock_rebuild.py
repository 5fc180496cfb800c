"""A stock that was restarted is fenced; it is emptied, refilled and given a new epoch, and by nobody else's hand."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from stock_kit import EPOCH, NOW_MS, TTL_MS, Server, books, campaign, oid, order, pool, redis_stock, reserve
from test_stock_commands import CALLS

from streams.core.books import Action
from streams.core.memory import (
    Carried,
    KeptDecision,
    KeptEnd,
    KeptHold,
    KeptPromotion,
    KeptRef,
    KeptUnits,
    Page,
)
from streams.core.stock import Code, End, MoveResult, Pool, Verdict
from streams.errors import Fenced, Refused
from streams.stores.stock import Stock
from streams.stores.stock_fake import FakeStock
from streams.stores.stock_redis import RedisStock

pytest_plugins = ["stock_fixtures"]

OURS, ANOTHER = UUID(int=1), UUID(int=2)
LATER = EPOCH + 1
Restart = Callable[[Stock], Awaitable[None]]


@pytest.fixture
def restart(request: pytest.FixtureRequest) -> Restart:
    """What a restart does to a stock: its data stand, its server's history is another."""

    async def restart(stock: Stock) -> None:
        if isinstance(stock, FakeStock):
            stock.restart()
            return
        assert isinstance(stock, RedisStock)
        client = Redis.from_url(request.getfixturevalue("valkey").url)
        # The other way round, for the server is shared; real ones are restarted and promoted below.
        await client.hset(stock._key("meta"), "stamp", 80 * "0")
        await client.aclose()

    return restart


async def rebuilt(stock: Stock, *pages: Page, epoch: int = LATER) -> Stock:
    """The stock, refilled with these pages."""
    await stock.begin_rebuild(epoch, OURS)
    for page in pages:
        await stock.refill(epoch, page)
    await stock.install_epoch(epoch)
    return stock


async def test_what_was_lost_again_gets_no_epoch(bare: Stock) -> None:
    """Refilled, then emptied once more before the epoch came: an empty stock is not taken for the rebuilt one."""
    with pytest.raises(Fenced, match="not being rebuilt under epoch 8 any more"):
        await bare.install_epoch(LATER, refilled=True)
    assert (await bare.carried()).epoch is None
    await rebuilt(bare)
    await bare.install_epoch(LATER, refilled=True)
    assert (await bare.carried()).epoch == LATER


@pytest.mark.parametrize("name", CALLS)
async def test_a_restarted_stock_refuses_everything(stock: Stock, restart: Restart, name: str) -> None:
    """Under its own epoch, with all its data: it may be of an older time, so a call changes nothing."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 2)))
    await reserve(stock, order(1, ("A", 1)))
    before = await books(stock)
    await restart(stock)
    assert (await stock.carried()).restarted
    with pytest.raises(Fenced, match=r"restarted or promoted since epoch 7.*rebuild"):
        await CALLS[name](stock, EPOCH)
    assert await books(stock) == before


async def test_a_rebuild_begins_with_nothing(stock: Stock) -> None:
    """Units, holds, memory, references: all is dropped at once, and nobody is let in until the epoch is installed."""
    await stock.open_promotion(EPOCH, campaign("p", ("A", 2)))
    await reserve(stock, order(1, ("A", 1)))
    await stock.begin_rebuild(LATER, OURS)
    assert await stock.carried() == Carried(None, OURS, LATER, False)
    assert await books(stock) == {}
    assert await stock.promotion("p") is None
    for epoch in (EPOCH, LATER):
        with pytest.raises(Fenced, match="no epoch"):
            await stock.receive(epoch, "r", [("A", 1)])
    await stock.install_epoch(LATER)
    assert await stock.carried() == Carried(LATER, OURS, None, False)
    assert await stock.receive(LATER, "first delivery", [("A", 1)])
    assert await books(stock) == {("A", "main"): (1, 0, 0)}


async def test_what_is_refilled_is_there(bare: Stock) -> None:
    """Each thing of a page answers as if it had been done here."""
    hold = KeptHold(oid(1), None, "ann", NOW_MS, NOW_MS + TTL_MS, (("A", 2), ("B", 1)), None)
    memo = KeptDecision(order(2, ("A", 1)).key, b"\x00print\xff\x00", Code.OUT_OF_STOCK, oid(2), NOW_MS, 0)
    await rebuilt(
        bare,
        Page(promotions=[KeptPromotion(campaign("p", ("A", 3), limit=2), None)]),
        Page(promotions=[KeptPromotion(campaign("q", ("A", 3)), (("A", 3),))]),
        Page(pools=[Pool("A", "main", 5, 2, 1), Pool("A", "promo:p", 3, 0, 0), Pool("B", "main", 0, 1, 0)]),
        Page(bought=[KeptUnits("p", "ann", 2)], holds=[hold], decisions=[memo]),
        Page(ends=[KeptEnd(oid(3), End.CONFIRMED, None, "ann"), KeptEnd(oid(4), End.EXPIRED, "p", "bob")]),
        Page(refs=[KeptRef(Action.RECEIVE, "delivery"), KeptRef(Action.MOVE, "moved")]),
    )
    assert await pool(bare, "A") == (5, 2, 1)
    assert await bare.reserve(LATER, [order(2, ("A", 1))], now_ms=NOW_MS, held_until_ms=NOW_MS) == [
        Verdict(Code.OUT_OF_STOCK, True, False, oid(2), NOW_MS, 0)
    ]
    (limited,) = await bare.reserve(LATER, [order(5, ("A", 1), promotion="p")], now_ms=NOW_MS, held_until_ms=NOW_MS)
    assert limited.code is Code.BUYER_LIMIT
    (closed,) = await bare.reserve(LATER, [order(6, ("A", 1), promotion="q")], now_ms=NOW_MS, held_until_ms=NOW_MS)
    assert closed.code is Code.PROMOTION_CLOSED
    assert await bare.close_promotion(LATER, "q") == [("A", 3)]
    assert await bare.open_promotion(LATER, campaign("p", ("A", 3), limit=2)) == []
    assert await bare.confirm(LATER, [oid(3), oid(4), oid(1)]) == [End.CONFIRMED, End.EXPIRED, End.CONFIRMED]
    assert await bare.retake(LATER, oid(4), ["promo:p"], [("A", 1)]) is End.LATE_FROM_POOL
    assert not await bare.receive(LATER, "delivery", [("A", 1)])
    assert await bare.move(LATER, "moved", "A", "main", "promo:p", 1) is MoveResult.MOVED
    assert await pool(bare, "A") == (5, 0, 3)
    assert await pool(bare, "B") == (0, 0, 1)


async def test_a_rebuilt_stock_may_owe(bare: Stock) -> None:
    """What was given back and sold again, unbooked, is less than nothing; nobody sells it, what comes makes it good.

    A closing promotion hands its debt to main, for from then on what is given back goes there.
    """
    holds = [KeptHold(oid(n), None, "ann", NOW_MS, NOW_MS + TTL_MS, (("A", n),), None) for n in (1, 2)]
    in_promotion = KeptHold(oid(3), "p", "ann", NOW_MS, NOW_MS + TTL_MS, (("B", 3),), None)
    await rebuilt(
        bare,
        Page(promotions=[KeptPromotion(campaign("p", ("B", 3)), None)]),
        Page(pools=[Pool("A", "main", -9, 3, 9), Pool("B", "main", 5, 0, 0), Pool("B", "promo:p", -3, 3, 3)]),
        Page(holds=[*holds, in_promotion]),
    )
    (verdict,) = await bare.reserve(LATER, [order(7, ("A", 1))], now_ms=NOW_MS, held_until_ms=NOW_MS + TTL_MS)
    assert verdict.code is Code.OUT_OF_STOCK
    assert await bare.release(LATER, [oid(1)]) == [End.RELEASED]
    assert [one.order_id for one in await bare.expire_due(LATER, now_ms=NOW_MS + TTL_MS, limit=1)] == [oid(2)]
    with pytest.raises(Refused):
        await bare.receive(LATER, "stolen", [("A", -1)])
    assert await bare.receive(LATER, "delivery", [("A", 4)])
    assert await pool(bare, "A") == (-2, 0, 9)
    assert await bare.close_promotion(LATER, "p") == [("B", -3)]
    assert (await pool(bare, "B"), await pool(bare, "B", "promo:p")) == ((2, 0, 0), (0, 3, 3))
    assert await bare.release(LATER, [oid(3)]) == [End.RELEASED_TO_MAIN]
    assert (await pool(bare, "B"), await pool(bare, "B", "promo:p")) == ((5, 0, 0), (0, 0, 3))


async def test_holds_expire_on_time_after_a_rebuild(bare: Stock) -> None:
    """Deadlines are kept, those past included; one that had expired before is listed until it is settled."""
    kept = [
        KeptHold(oid(n), None, "ann", NOW_MS, NOW_MS + n, (("A", 1),), End.LATE_REFUSED if n == 3 else None)
        for n in (1, 2, 3)
    ]
    await rebuilt(bare, Page(pools=[Pool("A", "main", 0, 3, 0)]), Page(holds=kept[:1]), Page(holds=kept[1:]))
    assert await pool(bare, "A") == (1, 2, 0)
    assert await bare.unsettled() == 1
    assert await bare.confirm(LATER, [oid(3)]) == [End.LATE_REFUSED]
    assert await bare.held([oid(1), oid(3), oid(4)]) == {oid(1), oid(3)}
    found = await bare.expire_due(LATER, now_ms=NOW_MS + 1, limit=9)
    assert [(one.order_id, one.end, one.due_ms) for one in found] == [
        (oid(1), End.EXPIRED, NOW_MS + 1),
        (oid(3), End.EXPIRED, NOW_MS + 3),
    ]
    assert await books(bare) == {("A", "main"): (2, 1, 0)}


async def test_memory_lasts_one_more_retention(bare: Stock) -> None:
    """What was decided before the rebuild is remembered for at least the retention, and is then dropped."""
    day_ms = 86_400_000
    memo = KeptDecision(order(2, ("A", 1)).key, b"\x00print\xff\x00", Code.OUT_OF_STOCK, oid(2), NOW_MS, 0)
    await rebuilt(bare, Page(pools=[Pool("A", "main", 5, 0, 0)], decisions=[memo]))
    for now_ms, replay in ((NOW_MS, True), (NOW_MS + day_ms - 1, True), (NOW_MS + day_ms, False)):
        (verdict,) = await bare.reserve(LATER, [order(2, ("A", 1))], now_ms=now_ms, held_until_ms=now_ms + 1)
        assert verdict.replay is replay


async def test_a_rebuild_is_fenced(stock: Stock, restart: Restart) -> None:
    """Another epoch's pages, a late second beginning, and a restart in the middle are refused; nothing is installed."""
    page = Page(pools=[Pool("A", "main", 99, 0, 0)])
    with pytest.raises(Fenced, match="rebuilt"):
        await stock.refill(EPOCH, page)
    for epoch in (EPOCH - 1, EPOCH):
        with pytest.raises(Fenced):
            await stock.begin_rebuild(epoch, OURS)
    assert await pool(stock, "A") == (10, 0, 0)
    await stock.begin_rebuild(LATER, OURS)
    await stock.refill(LATER, page)
    for late in (stock.begin_rebuild(LATER, OURS), stock.begin_rebuild(EPOCH, OURS), stock.refill(EPOCH, Page())):
        with pytest.raises(Fenced):
            await late
    with pytest.raises(Fenced):
        await stock.install_epoch(LATER + 1)
    assert await pool(stock, "A") == (99, 0, 0)
    await restart(stock)
    for broken in (stock.refill(LATER, page), stock.install_epoch(LATER)):
        with pytest.raises(Fenced):
            await broken
    assert await stock.epoch() is None
    await rebuilt(stock, page, epoch=LATER + 1)
    with pytest.raises(Fenced, match="rebuilt"):
        await stock.refill(LATER + 1, Page(pools=[Pool("A", "main", 1, 0, 0)]))
    assert await books(stock) == {("A", "main"): (99, 0, 0)}


async def test_another_installations_stock_is_left_alone(stock: Stock) -> None:
    """Whatever its epoch, with or without units: only a person's word takes it over."""
    await rebuilt(stock, Page(pools=[Pool("A", "main", 99, 0, 0)]))
    with pytest.raises(Fenced, match="another installation"):
        await stock.begin_rebuild(LATER + 5, ANOTHER)
    assert await stock.carried() == Carried(LATER, OURS, None, False)
    assert await books(stock) == {("A", "main"): (99, 0, 0)}
    await stock.begin_rebuild(LATER - 3, ANOTHER, take_over=True)
    assert await stock.carried() == Carried(None, ANOTHER, LATER - 3, False)


@pytest.fixture
async def replicas(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server and a replica of it."""
    first, second = Server(tmp_path_factory.mktemp("first")), Server(tmp_path_factory.mktemp("second"))
    first.start()
    second.start()
    yield first, second
    first.kill()
    second.kill()


async def test_a_promoted_replica_is_seen(replicas: tuple[Server, Server]) -> None:
    """A replica that takes over, with all data and the epoch, is refused; so is the master when it comes back."""
    first, second = replicas
    stock, client, other = redis_stock(first), Redis.from_url(second.url), Redis.from_url(first.url)
    promoted = RedisStock.connect(second.url, timeout_s=5.0, dedupe_retention_s=9.0, prefix=stock._prefix.decode())
    try:
        await stock.install_epoch(EPOCH)
        await stock.receive(EPOCH, "delivery", [("A", 10)])
        await client.replicaof("127.0.0.1", str(first.port))
        while await promoted.epoch() != EPOCH:
            pass
        await client.replicaof("NO", "ONE")
        assert await books(promoted) == {("A", "main"): (10, 0, 0)}
        with pytest.raises(Fenced, match="restarted or promoted"):
            await reserve(promoted, order(1, ("A", 1)))
        await reserve(stock, order(1, ("A", 1)))  # that a replica came and went is nothing to the master
        await other.replicaof("127.0.0.1", str(second.port))
        while await pool(stock, "A") != (10, 0, 0):
            pass
        await other.replicaof("NO", "ONE")
        with pytest.raises(Fenced, match="restarted or promoted"):
            await reserve(stock, order(2, ("A", 1)))
    finally:
        for connection in (client, other):
            await connection.aclose()
        await stock.close()
        await promoted.close()


async def test_a_stock_goes_on_under_another_epoch(stock: Stock, restart: Restart) -> None:
    """With all it has, once or twice told; not from an epoch that it does not carry, and not after a restart."""
    await reserve(stock, order(1, ("A", 1)))
    before = await books(stock)
    with pytest.raises(Fenced, match="carries epoch 7"):
        await stock.adopt_epoch(LATER + 1, LATER)
    for _ in range(2):
        await stock.adopt_epoch(LATER, EPOCH)
    assert (await stock.carried()).epoch == LATER
    assert await books(stock) == before
    with pytest.raises(Fenced, match="carries epoch 8, newer than 7"):
        await stock.settle(EPOCH, [])
    with pytest.raises(Fenced, match="carries epoch 8"):
        await stock.adopt_epoch(LATER + 1, EPOCH)
    await restart(stock)
    with pytest.raises(Fenced, match="restarted or promoted"):
        await stock.adopt_epoch(LATER + 1, LATER)
    with pytest.raises(Fenced):
        await stock.adopt_epoch(LATER, LATER)


async def test_an_empty_stock_is_not_taken_over(bare: Stock) -> None:
    """It carries no epoch: nobody knows what it would go on with."""
    with pytest.raises(Fenced, match="carries no epoch"):
        await bare.adopt_epoch(LATER, EPOCH)
