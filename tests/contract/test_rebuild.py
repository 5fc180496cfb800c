"""A stock rebuilt from the ledger answers every question as the lost one would have."""

import asyncio
import re
from pathlib import Path
from time import process_time
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rebuild_world import NOW_MS, RETENTION_S, TTL_S, Kind, Shop, begin, known

from streams.clock import ManualClock
from streams.core.books import PromotionRecord, PromotionState
from streams.core.decode import Undecodable
from streams.core.intent import intent
from streams.core.stock import Code, End, Promotion, Reservation
from streams.errors import Fenced, StockUnavailable
from streams.messages import ReportType
from streams.rebuild import ensure_stock, rebuild_stock
from streams.stores.stock import Stock

pytest_plugins = ["stock_fixtures", "ledger_fixtures", "rebuild_fixtures"]

PAID, CANCELLED = ReportType.PAYMENT_SUCCEEDED, ReportType.ORDER_CANCELLED

SKUS = st.sampled_from("AAAABBBBZ")
LINES = st.lists(st.tuples(SKUS, st.integers(1, 3)), min_size=1, max_size=3)
POOLS = st.sampled_from(["main", "promo:p", "promo:q"])
PICKS = st.lists(st.integers(0, 9), min_size=1, max_size=3)
SUBMISSIONS = st.tuples(
    st.integers(0, 25), LINES, st.sampled_from([None, None, "p", "p", "q", "nowhere"]), st.sampled_from(["ann", "bob"])
)
ACTIONS = st.one_of(
    *3 * [st.tuples(st.just("submit"), st.lists(SUBMISSIONS, min_size=1, max_size=5))],
    *2 * [st.tuples(st.just("pay"), PICKS)],
    st.tuples(st.just("cancel"), PICKS),
    *2 * [st.tuples(st.just("expire"), st.sampled_from([1, 3, 6]))],
    st.tuples(st.just("receive"), st.integers(0, 3), st.integers(0, 4)),
    st.tuples(st.just("move"), st.integers(0, 9), SKUS, POOLS, POOLS, st.integers(1, 3)),
    st.tuples(st.just("open"), st.sampled_from("pq"), st.sampled_from([0, 3]), st.integers(1, 6)),
    st.tuples(st.just("close"), st.sampled_from("ppq")),
)
HISTORY = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
FEW = settings(HISTORY, max_examples=15)
"""Real servers take a second for each."""
HISTORIES = st.lists(ACTIONS, min_size=8, max_size=25)


async def live(shop: Shop, action: tuple[Any, ...]) -> None:
    """One thing that happens in a shop."""
    what, *args = action
    if what == "submit":
        asked = [shop.submission(f"s-{n}", *lines, promotion=p, buyer=buyer) for n, lines, p, buyer in args[0]]
        await shop.submit(*asked)
    elif what in ("pay", "cancel"):
        found = [shop.order_ids[-1 - pick] for pick in args[0] if pick < len(shop.order_ids)]
        await shop.report(PAID if what == "pay" else CANCELLED, *found)
    elif what == "expire":
        await shop.expire(args[0])
    elif what == "receive":
        await shop.receive(f"r-{args[0]}", ("A", args[1]), ("B", args[1]))
    elif what == "move" and args[2] != args[3]:
        await shop.move(f"m-{args[0]}", *args[1:])
    elif what == "open":
        await shop.open(args[0], args[1], ("A", args[2]), ("B", args[2]))
    elif what == "close":
        await shop.close(args[0])


async def rebuilt_after(kind: Kind, history: list[tuple[Any, ...]]) -> None:
    """Live through a history, rebuild into an empty stock, compare all they know, and then all they say."""
    ledger = await kind.ledger()
    old, new = kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        for action in history:
            await live(shop, action)
        before = await known(old, kind.url)
        done = await rebuild_stock(ledger, new, shop.clock, retention_s=RETENTION_S, reason="test")
        after = await known(new, kind.url)
        assert after.keys() == before.keys()
        for name in before:
            assert after[name] == before[name], name
        assert [p async for p in new.pools(["C"])]
        told = [await quiz(stock, epoch, shop) for stock, epoch in ((old, done.epoch - 1), (new, done.epoch))]
        assert told[0] == told[1]
    finally:
        await old.close()
        await new.close()


async def quiz(stock: Stock, epoch: int, shop: Shop) -> list[object]:
    """What a stock says to repeats, new orders, payments, late ones, and time."""
    now_ms = shop.clock.now_ms()
    told: list[object] = []
    fresh = [
        shop.submission(f"new-{n}", (sku, 1), promotion=p, buyer=b)
        for n, (sku, p, b) in enumerate((s, p, b) for s in "ABCZ" for p in (None, "p", "q") for b in ("ann", "bob"))
    ]
    asked: list[Reservation] = []
    for submission in [*shop.asked, *fresh]:
        found = intent(submission, None, 0, 0)
        assert not isinstance(found, Undecodable)
        asked.append(found.reservation)
    told.append(await stock.reserve(epoch, asked, now_ms=now_ms, held_until_ms=now_ms + 1_000))
    ids = [order_id.bytes for order_id in shop.order_ids]
    told.append(await stock.confirm(epoch, ids[::2]))
    told.append(await stock.release(epoch, ids[1::3]))
    expired = await stock.expire_due(epoch, now_ms=now_ms + 60_000, limit=5_000)
    told.append({one.order_id: one for one in expired})
    for order in asked:
        pools = ["main"] if order.promotion_id is None else [f"promo:{order.promotion_id}", "main"]
        told.append(await stock.retake(epoch, order.order_id, pools, order.quantities))
    told.append(sorted([pool async for pool in stock.pools()]))
    return told


@HISTORY
@given(history=HISTORIES)
async def test_a_rebuilt_fake_is_the_old_one(fakes: Kind, history: list[tuple[Any, ...]]) -> None:
    """Whatever has happened, what the fake ledger remembers makes the same fake stock."""
    await rebuilt_after(fakes, history)


@pytest.mark.timeout(300)
@FEW
@given(history=HISTORIES)
async def test_a_rebuilt_stock_is_the_old_one(real: Kind, history: list[tuple[Any, ...]]) -> None:
    """Whatever has happened, what Postgres remembers makes the same Redis, key by key and answer by answer."""
    await rebuilt_after(real, history)


@pytest.mark.slow
@pytest.mark.timeout(300)
@HISTORY
@given(history=HISTORIES)
async def test_a_rebuilt_stock_is_the_old_one_in_many_histories(real: Kind, history: list[tuple[Any, ...]]) -> None:
    """The same, for as many as the fakes are tried with."""
    await rebuilt_after(real, history)


async def test_every_end_of_a_hold_is_kept(kind: Kind) -> None:
    """Paid, cancelled, expired, sold late from either pool, refused; from a promotion, and after it has closed."""
    ledger = await kind.ledger()
    old, new = kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        names = [f"s-{n}" for n in range(6)]
        await shop.submit(*[shop.submission(name, ("B", 1)) for name in names])
        await shop.submit(*[shop.submission(f"p-{n}", ("A", 1), promotion="p", buyer=f"b{n % 3}") for n in range(5)])
        paid, cancelled, late, refused, left, _, *promoted = shop.order_ids
        await shop.report(PAID, paid, promoted[0])
        await shop.report(CANCELLED, cancelled, promoted[1])
        await shop.expire(TTL_S)
        await shop.report(PAID, late, promoted[2])
        await shop.receive("more", ("B", 1))
        await shop.submit(shop.submission("the-rest", ("B", 1)), shop.submission("all", ("B", 4)))
        await shop.report(PAID, refused)
        await shop.report(CANCELLED, left)
        await shop.report(PAID, left)
        await shop.submit(*[shop.submission(f"q-{n}", ("B", 1), promotion="p", buyer=f"q{n}") for n in range(3)])
        await shop.close("p")
        await shop.report(PAID, promoted[3])
        await shop.report(CANCELLED, shop.order_ids[-1])
        await shop.expire(TTL_S)
        await shop.open("q", 3, ("A", 2))
        await shop.submit(shop.submission("limited", ("A", 1), promotion="q"))
        before = await known(old, kind.url)
        letters = {
            end[:1].decode() if isinstance(end, bytes) else str(getattr(end, "end", end))
            for end in before["ended"].values()
        }
        assert letters == set("crReElLx")
        assert list(before["bought"].values()) in ([1], [b"1"])
        done = await rebuild_stock(ledger, new, shop.clock, retention_s=RETENTION_S, reason="test")
        assert await known(new, kind.url) == before
        assert await quiz(new, done.epoch, shop) == await quiz(old, done.epoch - 1, shop)
    finally:
        await old.close()
        await new.close()


async def test_orders_that_went_on_without_their_expiry(kind: Kind) -> None:
    """Expired in the stock, unbooked, then sold late, refused, or cancelled: listed as expired again, not alive.

    One that nothing more has happened to lives again, for its expiry is known to nobody.
    """
    ledger = await kind.ledger()
    old, new = kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        await shop.submit(
            shop.submission("late", ("A", 1)),
            shop.submission("late-p", ("A", 2), promotion="p"),
            shop.submission("refused", ("B", 5)),
            shop.submission("cancelled", ("A", 1)),
        )
        late, late_p, refused, cancelled = shop.order_ids
        shop.clock.advance(TTL_S)
        await old.expire_due(1, now_ms=shop.clock.now_ms(), limit=99)
        await shop.submit(shop.submission("takes-the-rest", ("B", 6)))
        await shop.report(PAID, late, late_p, refused)
        await shop.report(CANCELLED, cancelled)
        before = await known(old, kind.url)
        assert set(before["unsettled"]) == {one.bytes for one in (late, late_p, refused, cancelled)}
        done = await rebuild_stock(ledger, new, shop.clock, retention_s=RETENTION_S, reason="test")
        assert await known(new, kind.url) == before
        assert await quiz(new, done.epoch, shop) == await quiz(old, done.epoch - 1, shop)
    finally:
        await old.close()
        await new.close()


async def test_an_expiry_that_nobody_booked_comes_again(kind: Kind) -> None:
    """The stock had given the units back, the ledger has not heard of it: the hold lives again, and expires again."""
    ledger = await kind.ledger()
    old, new = kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        await shop.submit(shop.submission("a", ("A", 3)))
        shop.clock.advance(TTL_S)
        (expired,) = await old.expire_due(1, now_ms=shop.clock.now_ms(), limit=9)
        done = await rebuild_stock(ledger, new, shop.clock, retention_s=RETENTION_S, reason="test")
        assert await new.held([shop.order_ids[0].bytes]) == {shop.order_ids[0].bytes}
        assert await new.expire_due(done.epoch, now_ms=shop.clock.now_ms(), limit=9) == [expired]
    finally:
        await old.close()
        await new.close()


async def test_a_promotion_that_was_sold_from_before_it_was_booked(kind: Kind) -> None:
    """Opened in the stock, drawn from, and the stock lost before the opening was booked: the rebuild books it.

    One that nobody has drawn from is as if it had not been opened.
    """
    ledger = await kind.ledger()
    old, new = kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        now_ms = shop.clock.now_ms()
        terms = [Promotion(name, now_ms, now_ms + 60_000, 0, (("A", 3),)) for name in ("drawn", "idle")]
        for one in terms:
            await ledger.save_promotion(PromotionRecord(one, PromotionState.OPENING))
            assert await old.open_promotion(1, one) == []
        await shop.submit(shop.submission("a", ("A", 2), promotion="drawn"))
        done = await rebuild_stock(ledger, new, shop.clock, retention_s=RETENTION_S, reason="test")
        pools = {p.pool: p[2:] async for p in new.pools(["A"])}
        assert pools == {"main": (4, 0, 0), "promo:p": (5, 0, 0), "promo:drawn": (1, 2, 0)}
        assert await new.promotion("idle") is None
        assert await new.open_promotion(done.epoch, terms[0]) == []
        assert {p.pool: p.free async for p in new.pools(["A"])}["promo:drawn"] == 1
        assert [r.promotion.promotion_id for r in await ledger.promotions(PromotionState.OPENING)] == ["idle"]
    finally:
        await old.close()
        await new.close()


async def test_what_a_closing_promotion_had_swept_stays_in_main(kind: Kind) -> None:
    """Closed in the stock, its units sold from main, the stock lost before that was booked: the rebuild books it."""
    ledger = await kind.ledger()
    old, new = kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        (record,) = await ledger.promotions(PromotionState.OPEN)
        await ledger.save_promotion(record._replace(state=PromotionState.CLOSING))
        assert sorted(await old.close_promotion(1, "p")) == [("A", 5), ("B", 4)]
        await shop.submit(shop.submission("a", ("A", 12)))
        done = await rebuild_stock(ledger, new, shop.clock, retention_s=RETENTION_S, reason="test")
        assert {p.pool: p[2:] async for p in new.pools(["A"])} == {"main": (0, 12, 0), "promo:p": (0, 0, 0)}
        assert sorted(await new.close_promotion(done.epoch, "p")) == [("A", 5), ("B", 4)]
        assert [r.promotion.promotion_id for r in await ledger.promotions(PromotionState.CLOSED)] == ["p"]
    finally:
        await old.close()
        await new.close()


async def _in_pool(stock: Stock, sku: str) -> dict[str, tuple[int, ...]]:
    return {p.pool: p[2:] async for p in stock.pools([sku])}


@pytest.mark.parametrize("how", ["expired", "cancelled"])
async def test_units_given_back_before_a_promotion_closed_are_not_sold_twice(kind: Kind, how: str) -> None:
    """Given back to the promotion, unbooked, and swept to main with the rest, booked; then the stock is lost.

    The hold ends again, and its units go to main, for the promotion has closed: main had them by the sweep already.
    """
    ledger = await kind.ledger()
    old, new = kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        (order_id,) = await shop.submit(shop.submission("a", ("A", 4), promotion="p"))
        if how == "expired":
            shop.clock.advance(TTL_S)
            assert len(await old.expire_due(1, now_ms=shop.clock.now_ms(), limit=9)) == 1
        else:
            assert await old.release(1, [order_id.bytes]) == [End.RELEASED]
        await shop.close("p")
        await shop.submit(shop.submission("all", ("A", 12)))
        assert await _in_pool(old, "A") == {"main": (0, 12, 0), "promo:p": (0, 0, 0)}
        await rebuild_stock(ledger, new, shop.clock, retention_s=RETENTION_S, reason="test")
        shop = Shop(new, ledger, shop.clock)
        if how == "expired":
            await shop.expire(0)
        else:
            assert await _in_pool(new, "A") == {"main": (-4, 12, 0), "promo:p": (0, 4, 0)}
            await shop.submit(shop.submission("one-more", ("A", 1)))
            assert shop.order_ids == []
            await shop.report(CANCELLED, order_id)
        assert await _in_pool(new, "A") == {"main": (0, 12, 0), "promo:p": (0, 0, 0)}
        booked = {(b.sku, b.pool): b[2:] async for b in ledger.balances(["A"])}
        assert booked == {("A", "main"): (0, 12, 0), ("A", "promo:p"): (0, 0, 0)}
    finally:
        await old.close()
        await new.close()


async def test_units_that_nobody_booked_are_left_in_no_closed_promotion(kind: Kind) -> None:
    """Held or sold late as the promotion closed, the stock lost before that was booked: they can be sold from main."""
    ledger = await kind.ledger()
    old, new, newest = kind.make(), kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        found = intent(shop.submission("a", ("A", 2), promotion="p"), None, 0, 0)
        assert not isinstance(found, Undecodable)
        now_ms = shop.clock.now_ms()
        (verdict,) = await old.reserve(1, [found.reservation], now_ms=now_ms, held_until_ms=now_ms + 1_000)
        assert verdict.code is Code.ACCEPTED
        await shop.close("p")
        for stock in (new, newest):  # once, however often it is rebuilt
            done = await rebuild_stock(ledger, stock, shop.clock, retention_s=RETENTION_S, reason="test")
            assert await _in_pool(stock, "A") == {"main": (12, 0, 0), "promo:p": (0, 0, 0)}
            booked = {b.pool: b[2:] async for b in ledger.balances(["A"])}
            assert booked == {"main": (12, 0, 0), "promo:p": (0, 0, 0)}
        assert sorted(await newest.close_promotion(done.epoch, "p")) == [("A", 3), ("B", 4)]
    finally:
        for stock in (old, new, newest):
            await stock.close()


async def test_units_of_an_expired_hold_are_not_sold_twice(kind: Kind) -> None:
    """Expired in the stock, unbooked, its units sold again, and the stock lost: a payment finds the hold ended."""
    ledger = await kind.ledger()
    old, new = kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        (first,) = await shop.submit(shop.submission("first", ("A", 7)))
        shop.clock.advance(TTL_S)
        assert len(await old.expire_due(1, now_ms=shop.clock.now_ms(), limit=9)) == 1
        await shop.submit(shop.submission("second", ("A", 7)))
        shop.clock.advance(-0.5)  # the rebuilder's clock is behind the keeper's
        done = await rebuild_stock(ledger, new, shop.clock, retention_s=RETENTION_S, reason="test")
        assert {p.pool: p[2:] async for p in new.pools(["A"])}["main"] == (0, 7, 0)
        assert await new.confirm(done.epoch, [first.bytes]) == [End.EXPIRED]
        assert await new.retake(done.epoch, first.bytes, ["main"], [("A", 7)]) is End.LATE_REFUSED
    finally:
        await old.close()
        await new.close()


async def test_memory_older_than_the_retention_stays_away(kind: Kind) -> None:
    """Decisions and ends of before are the ledger's alone; live holds and references are kept however old."""
    ledger = await kind.ledger()
    old, new = kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        await shop.submit(shop.submission("ended", ("A", 1)), shop.submission("held", ("A", 1)))
        await shop.report(PAID, shop.order_ids[0])
        shop.clock.advance(RETENTION_S + 1)
        await shop.submit(shop.submission("young", ("A", 1)))
        done = await rebuild_stock(ledger, new, shop.clock, retention_s=RETENTION_S, reason="test")
        assert {name: done.counts[name] for name in ("decisions", "ends", "holds", "refs")} == {
            "decisions": 1,
            "ends": 0,
            "holds": 2,
            "refs": 1,
        }
        assert not await new.receive(done.epoch, "first#0", [("A", 12)])
    finally:
        await old.close()
        await new.close()


async def test_two_rebuilders_make_one_rebuild(kind: Kind) -> None:
    """Several processes find the stock lost: one rebuilds, the others wait and go on; one epoch more is issued."""
    ledger = await kind.ledger()
    old, stock = kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        find = [ensure_stock(ledger, stock, shop.clock, retention_s=RETENTION_S, reason="lost") for _ in range(3)]
        done = await asyncio.gather(*find)
        assert [one.epoch for one in done if one is not None] == [2]
        assert await ledger.epoch() == await stock.epoch() == 2
    finally:
        await old.close()
        await stock.close()


class Dying:
    """A stock whose page-th refill is the process' last call."""

    def __init__(self, stock: Stock, page: int) -> None:
        self._stock, self._left = stock, page

    def __getattr__(self, name: str) -> Any:
        if name in {"refill", "install_epoch"}:
            self._left -= 1
            if self._left <= 0:
                raise StockUnavailable("the process died")
        return getattr(self._stock, name)


@pytest.mark.parametrize("page", range(1, 8))
async def test_a_rebuild_that_died_is_done_again(kind: Kind, page: int) -> None:
    """Wherever it ended, the stock has no epoch and refuses everybody; the next one begins anew, and finishes."""
    ledger = await kind.ledger()
    old, new = kind.make(), kind.make()
    try:
        shop = await begin(old, ledger)
        await shop.submit(shop.submission("a", ("A", 1)), shop.submission("b", ("A", 1), promotion="p"))
        await shop.report(PAID, shop.order_ids[0])
        before = await known(old, kind.url)
        dying: Any = Dying(new, page)
        with pytest.raises(StockUnavailable, match="died"):
            await ensure_stock(ledger, dying, shop.clock, retention_s=RETENTION_S, reason="lost")
        assert await new.epoch() is None
        with pytest.raises(Fenced, match="no epoch"):
            await new.settle(2, [])
        for _ in range(100):  # the server notices in a moment that the dead one's connection is gone
            async with ledger.rebuilding() as mine:
                if mine:
                    break
            await asyncio.sleep(0.02)
        done = await ensure_stock(ledger, new, shop.clock, retention_s=RETENTION_S, reason="lost")
        assert done is not None
        assert done.epoch == 3
        assert await known(new, kind.url) == before
    finally:
        await old.close()
        await new.close()


MANY = 200_000
GROWTH_BYTES = 24_000_000
"""What a rebuild may take beside what it has already; the orders that it carries over would be more."""
FILL = f"""
INSERT INTO command_movements
SELECT now(), 1000000, 0, 0, 0, 'd-' || n, 'SKU-' || n, 'main' FROM generate_series(0, 99) n;
INSERT INTO decisions (decided_at, submitted_at, log_offset, held_until, total, log_partition, verdict, order_id,
                       fingerprint, channel, submission_id, buyer_id, currency, skus, qtys, unit_prices)
SELECT to_timestamp({NOW_MS} / 1000), now(), n, to_timestamp({NOW_MS} / 1000 + n % 500), 5, 0, 0, gen_random_uuid(),
       'fingerpr', 'web', 'many-' || n, 'buyer', 'EUR', ARRAY['SKU-' || n % 100], ARRAY[1], ARRAY[5]
  FROM generate_series(1, {MANY}) n;
INSERT INTO order_movements
SELECT decided_at, 0, -1, 1, 2, order_id, skus[1], 'main' FROM decisions WHERE log_offset % 2 = 0;
"""


def resident_bytes(which: str) -> int:
    """VmRSS or VmHWM of this process."""
    (found,) = re.findall(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found) * 1024


@pytest.mark.slow
async def test_many_orders_stream_through(
    real: Kind, admin: "asyncpg.Connection[asyncpg.Record]", capsys: pytest.CaptureFixture[str]
) -> None:
    """200,000 orders, half of them held: memory does not grow with them, and the rate is told."""
    ledger = await real.ledger()
    await admin.execute(FILL)
    stock = real.make()
    try:
        clock = ManualClock(NOW_MS)
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before, cpu_s = resident_bytes("VmRSS"), process_time()
        done = await rebuild_stock(ledger, stock, clock, retention_s=RETENTION_S, reason="many")
        cpu_s, growth = process_time() - cpu_s, resident_bytes("VmHWM") - before
        assert (done.counts["decisions"], done.counts["holds"], done.counts["ends"]) == (MANY, MANY // 2, MANY // 2)
        assert sum([p.held async for p in stock.pools()]) == MANY // 2
        assert growth < GROWTH_BYTES
        with capsys.disabled():
            print(f"\n{done}; {1e6 * cpu_s / MANY:.1f} us of CPU an order, {growth / 1e6:.1f} MB more memory")
    finally:
        await stock.close()
