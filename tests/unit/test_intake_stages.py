"""Each stage of intake by itself: what it asks of the stores, in which order, and what it makes of the answers."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from builders import (
    NOW,
    NOW_MS,
    PARTITIONS,
    RETENTION_S,
    SETTINGS,
    Crash,
    FakeChunk,
    FakeRecord,
    Hit,
    Trouble,
    World,
    chunk,
    outages,
    promotion,
    submission,
    world,
)

from streams.adoption import adopt_stock
from streams.chunks import Chunk
from streams.core.stock import Code, End
from streams.dead_letters import read_letter
from streams.guard import StockGuard
from streams.instants import to_datetime
from streams.intake.announce import announce
from streams.intake.batch import Batch
from streams.intake.decode import decode
from streams.intake.persist import persist
from streams.intake.recall import recall
from streams.intake.reserve import reserve
from streams.messages import Decision, Outcome, Reason
from streams.parts import Parts
from streams.promotions import close_promotion, open_promotion
from streams.rebuild import rebuild_stock
from streams.stores.log import Headers
from streams.topics import DEAD_LETTER_HEADER, DECIDED, SUBMITTED_DLQ

DELAY_S = SETTINGS.retry_max_delay_s
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def through_reserve(parts: Parts, *chunks: Chunk, under: StockGuard | None = None) -> Batch:
    """A batch of these chunks, decoded and reserved."""
    batch = decode(chunks[0])
    for one in chunks[1:]:
        batch.absorb(decode(one))
    await reserve(batch, parts.stock, under or guard(parts), parts.clock, hold_ttl_s=SETTINGS.hold_ttl_s)
    return batch


async def through_persist(parts: Parts, *chunks: Chunk) -> Batch:
    """A batch of these chunks, with its answers."""
    shared = guard(parts)
    batch = await through_reserve(parts, *chunks, under=shared)
    bounds: dict[str, Any] = {"hold_ttl_s": SETTINGS.hold_ttl_s, "max_delay_s": DELAY_S}
    await persist(batch, parts.ledger, parts.stock, shared, parts.clock, **bounds)
    return batch


def guard(parts: Parts) -> StockGuard:
    """A guard of these parts."""
    return StockGuard(parts.ledger, max_delay_s=DELAY_S)


def told(batch: Batch) -> list[tuple[Outcome, Reason | None, bool]]:
    """The answers of a batch in short."""
    return [(d.outcome, d.reason, d.replay) for d in batch.decisions]


ACCEPTED = (Outcome.ACCEPTED, None, False)
AGAIN = (Outcome.ACCEPTED, None, True)
CONFLICT = (Outcome.REJECTED, Reason.CONFLICTING_REPEAT, False)


# decode


def test_a_bad_record_leaves_its_neighbours_alone() -> None:
    """Good records become intents in their order, bad ones dead letters with their reason, each with its place."""
    long_ago = submission("s-9", submitted_at=NOW - timedelta(days=20_000))
    batch = decode(chunk(submission("s-1"), b"{", None, submission("s-2"), long_ago, partition=1, first=40))
    assert [(i.submission_key[1], i.partition, i.offset) for i in batch.intents] == [
        ("s-1", 1, 40),
        ("s-2", 1, 43),
    ]
    assert [(d.record.offset, d.partition, d.why.reason) for d in batch.dead] == [
        (41, 1, "not_json"),
        (42, 1, "empty"),
        (44, 1, "invalid_field"),
    ]
    assert len(batch) == 5


def test_the_trace_comes_from_the_records_header() -> None:
    """With a traceparent its trace id goes on; without, the order's own id serves."""
    value = msgspec.json.encode(submission())
    header = ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())
    batch = decode(FakeChunk([FakeRecord(0, value, headers=(header,)), FakeRecord(1, value)]))
    assert [i.trace_id for i in batch.intents] == [TRACE, batch.intents[1].order_id.hex]


def test_batches_that_merge_keep_their_order() -> None:
    """The second one's records stand behind the first one's; a batch past reserve takes no more."""
    one, two = decode(chunk(submission("s-1"), b"x")), decode(chunk(submission("s-2"), first=2))
    one.absorb(two)
    assert [i.submission_key[1] for i in one.intents] == ["s-1", "s-2"]
    assert (len(one.dead), len(one.chunks), len(one)) == (1, 2, 3)


async def test_nothing_is_merged_past_reserve() -> None:
    """A batch with verdicts has its place in the order of things."""
    reserved = await through_reserve((await world()).parts(), chunk(submission()))
    with pytest.raises(AssertionError):
        reserved.absorb(decode(chunk(submission("s-2"))))


# reserve


async def test_one_call_decides_the_batch() -> None:
    """Several chunks cost one call; verdicts run parallel to intents; holds last for the settings' time."""
    made, trouble = await world({"TEA": 3}), Trouble()
    chunks = (
        chunk(submission("s-1"), b"x", submission("s-2")),
        chunk(submission("s-3", lines=(("NO", 1, 1),)), partition=1),
    )
    batch = await through_reserve(made.parts(trouble), *chunks)
    assert [v.code for v in batch.verdicts] == [Code.ACCEPTED, Code.OUT_OF_STOCK, Code.UNKNOWN_SKU]
    assert batch.verdicts[0].held_until_ms == NOW_MS + 1_800_000
    assert trouble.calls == ["ledger.epoch", "stock.reserve"]


async def test_dead_records_alone_ask_nobody() -> None:
    """A batch without a valid submission costs no round trip to Redis or Postgres."""
    made, trouble = await world(), Trouble()
    batch = await through_persist(made.parts(trouble), chunk(b"x", b"y"))
    assert trouble.calls == []
    assert (batch.verdicts, batch.decisions) == ([], [])


async def test_a_reserve_whose_reply_was_lost_is_asked_again() -> None:
    """The second try meets the first one's memory: the same verdicts, one hold, and it is booked all the same."""
    made = await world()
    batch = await through_persist(made.parts(outages(["stock.reserve"], when="after")), chunk(submission()))
    assert told(batch) == [ACCEPTED]
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


# persist


async def test_a_fresh_batch_is_one_write() -> None:
    """No look-up is spent on what is new."""
    made, trouble = await world(), Trouble()
    batch = await through_persist(made.parts(trouble), chunk(submission("s-1"), submission("s-2")))
    assert told(batch) == [ACCEPTED, ACCEPTED]
    assert trouble.calls == ["ledger.epoch", "stock.reserve", "ledger.persist"]


async def test_repeats_within_a_batch_share_one_decision() -> None:
    """Two chunks of one batch with the same submission thrice: one booking, one answer first, two replays."""
    made = await world()
    batch = await through_persist(made.parts(), chunk(submission(), submission()), chunk(submission(), first=2))
    assert told(batch) == [ACCEPTED, AGAIN, AGAIN]
    assert len({d.order_id for d in batch.decisions}) == 1
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


async def test_a_repeat_with_another_time_gets_the_first_order() -> None:
    """A client that stamps each try anew is told of the first one's order id, in this batch and in the next."""
    made = await world()
    again = submission(submitted_at=NOW + timedelta(minutes=1))
    first = await through_persist(made.parts(), chunk(submission(), again))
    later = await through_persist(made.parts(), chunk(again, first=2))
    assert told(first) + told(later) == [ACCEPTED, AGAIN, AGAIN]
    assert len({d.order_id for d in first.decisions + later.decisions}) == 1


async def test_a_conflict_in_the_batch_is_answered_and_kept() -> None:
    """The same key with another body is rejected, names the first order, and stands in the ledger for those who ask."""
    made = await world()
    other = submission(lines=(("TEA", 5, 1),))
    batch = await through_persist(made.parts(), chunk(submission(), other, submission(), other))
    assert told(batch) == [ACCEPTED, CONFLICT, AGAIN, CONFLICT]
    assert len({d.order_id for d in batch.decisions}) == 1
    assert len(made.ledger.conflicts) == 1
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


async def test_a_conflict_with_an_older_batch() -> None:
    """The ledger knows the key: rejected with the stored order's id; what was decided first stands."""
    made = await world()
    first = await through_persist(made.parts(), chunk(submission()))
    batch = await through_persist(made.parts(), chunk(submission(lines=(("TEA", 5, 1),)), first=1))
    assert told(batch) == [CONFLICT]
    assert batch.decisions[0].order_id == first.decisions[0].order_id
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


async def test_a_conflict_with_a_decision_of_a_dead_worker() -> None:
    """Reserved, never written, and its record comes again behind a conflicting one: each gets its right answer."""
    made = await world()
    await through_reserve(made.parts(), chunk(submission()))
    batch = await through_persist(made.parts(), chunk(submission(lines=(("TEA", 5, 1),)), submission(), first=9))
    assert told(batch) == [CONFLICT, ACCEPTED]
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


async def test_redelivery_after_a_crash_between_reserve_and_persist() -> None:
    """The stock remembers, the ledger does not: the remembered verdict is written now, one for each key."""
    made = await world({"TEA": 3})
    await through_reserve(made.parts(), chunk(submission("s-1"), submission("s-1"), submission("s-2")))
    made.clock.advance(60)
    batch = await through_persist(made.parts(), chunk(submission("s-1"), submission("s-1"), submission("s-2")))
    assert told(batch) == [ACCEPTED, AGAIN, (Outcome.REJECTED, Reason.OUT_OF_STOCK, False)]
    assert {d.decided_at for d in batch.decisions} == {NOW}
    assert await made.books() == {("TEA", "main"): (1, 2, 0)}


async def test_redelivery_after_a_crash_between_persist_and_announce() -> None:
    """The ledger knows the very same records: the same answers, none of them called a replay that was none."""
    made = await world()
    records = submission("s-1"), submission("s-1"), submission("s-2")
    first = await through_persist(made.parts(), chunk(*records))
    again = await through_persist(made.parts(), chunk(*records))
    assert told(first) == told(again) == [ACCEPTED, AGAIN, ACCEPTED]
    assert [d.order_id for d in again.decisions] == [d.order_id for d in first.decisions]
    assert await made.books() == {("TEA", "main"): (6, 4, 0)}


async def test_a_persist_whose_reply_was_lost_is_written_once() -> None:
    """The second try finds its own rows; answers are those of a first time, and nothing is given back."""
    made, trouble = await world(), outages(["ledger.persist"], when="after")
    batch = await through_persist(made.parts(trouble), chunk(submission(), submission()))
    assert told(batch) == [ACCEPTED, AGAIN]
    assert "stock.release" not in trouble.calls
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


async def test_a_late_duplicate_gives_its_hold_back() -> None:
    """Redis forgot after two retentions and holds anew; the ledger's decision is said again, the hold returned."""
    made = await world()
    first = await through_persist(made.parts(), chunk(submission()))
    await forget(made)
    late = submission(submitted_at=NOW + timedelta(hours=5))
    batch = await through_persist(made.parts(), chunk(late, late, first=1))
    assert told(batch) == [AGAIN, AGAIN]
    assert {d.order_id for d in batch.decisions} == {first.decisions[0].order_id}
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}
    assert await made.stock.unsettled() == 0


async def test_a_late_duplicate_is_given_back_though_its_worker_died() -> None:
    """A crash after the write and before the release: the redelivery finds the surplus hold and returns it."""
    made = await world()
    await through_persist(made.parts(), chunk(submission()))
    await forget(made)
    late = chunk(submission(submitted_at=NOW + timedelta(hours=5)), first=1)
    dies = Trouble(lambda _, name: Hit("before", Crash()) if name == "stock.release" else None)
    with pytest.raises(Crash):
        await through_persist(made.parts(dies), late)
    assert told(await through_persist(made.parts(), late)) == [AGAIN]
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


async def test_a_surplus_hold_that_expired_is_settled() -> None:
    """Had its time been up before it was given back, the keeper need not wait for it in the ledger for ever."""
    made = await world()
    await through_persist(made.parts(), chunk(submission()))
    await forget(made)
    late = chunk(submission(submitted_at=NOW + timedelta(hours=5)), first=1)
    await through_reserve(made.parts(), late)
    made.clock.advance(3_600)
    await made.stock.expire_due(1, now_ms=made.clock.now_ms(), limit=10)
    await through_persist(made.parts(), late)
    assert await made.stock.unsettled() == 1, "the first order's own hold was due as well, and is the keeper's"


async def test_a_surplus_hold_that_a_closing_promotion_did_not_sweep_is_booked() -> None:
    """Held for a repeat while its promotion closed, given back to main: the books hear of it, once."""
    made = await world()
    await open_promotion(made.parts(), promotion(hours=9))
    await through_persist(made.parts(), chunk(submission(promotion_id="p1")))
    await forget(made)
    late = chunk(submission(promotion_id="p1", submitted_at=NOW + timedelta(hours=5)), first=1)
    batch = await through_reserve(made.parts(), late)
    assert await close_promotion(made.parts(), "p1") == [("TEA", 1)]
    bounds: dict[str, Any] = {"hold_ttl_s": SETTINGS.hold_ttl_s, "max_delay_s": DELAY_S}
    await persist(batch, made.ledger, made.stock, guard(made.parts()), made.clock, **bounds)
    assert told(await through_persist(made.parts(), late)) == [AGAIN]
    booked = {(b.sku, b.pool): tuple(b[2:]) async for b in made.ledger.balances()}
    assert booked == await made.books() == {("TEA", "main"): (8, 0, 0), ("TEA", "promo:p1"): (0, 2, 0)}


async def adopted(made: World) -> None:
    """The ledger fails over, and somebody takes the stock over as it is."""
    made.ledger.timeline += 1
    assert await adopt_stock(made.ledger, made.stock) == 2


async def rebuilt(made: World) -> None:
    """Somebody rebuilds the stock from the ledger."""
    await rebuild_stock(made.ledger, made.stock, made.clock, retention_s=RETENTION_S, reason="by another")


@pytest.mark.parametrize("meanwhile", [adopted, rebuilt])
async def test_a_surplus_hold_comes_back_whatever_becomes_of_the_epoch(
    meanwhile: Callable[[World], Awaitable[None]],
) -> None:
    """Between write and release the stock gets another epoch: taken over, it has the hold still, and it is released
    there; rebuilt, it knows of these orders what the ledger does, and keeps it.
    """
    made = await world()
    await through_persist(made.parts(), chunk(submission()))
    await forget(made)
    late = chunk(submission(submitted_at=NOW + timedelta(hours=5)), first=1)
    parts = made.parts()
    shared, release = guard(parts), made.stock.release
    asked: list[int] = []

    async def meet(epoch: int, order_ids: Sequence[bytes]) -> list[End]:
        if not asked:
            await meanwhile(made)
        asked.append(epoch)
        return await release(epoch, order_ids)

    batch = decode(late)
    await reserve(batch, parts.stock, shared, parts.clock, hold_ttl_s=SETTINGS.hold_ttl_s)
    bounds: dict[str, Any] = {"hold_ttl_s": SETTINGS.hold_ttl_s, "max_delay_s": DELAY_S}
    with patch.object(made.stock, "release", meet):
        await persist(batch, parts.ledger, parts.stock, shared, parts.clock, **bounds)
    assert told(batch) == [AGAIN]
    assert asked == ([1, 2] if meanwhile is adopted else [1])
    if meanwhile is adopted:
        assert await made.books() == {("TEA", "main"): (8, 2, 0)}
    else:
        assert await made.stock.unsettled() == 1, "the first order's own hold was due, and is the keeper's to book"


async def test_what_redis_has_forgotten_is_not_decided_again() -> None:
    """The same record, read again after two retentions: the ledger is asked in one look-up, the stock not at all."""
    made = await world()
    first = await through_persist(made.parts(), chunk(submission(), submission("s-2", lines=(("TEA", 99, 1),))))
    await forget(made)
    calls = Trouble()
    parts = made.parts(calls)
    remembers = partial(recall, ledger=parts.ledger, clock=parts.clock, retention_s=SETTINGS.dedupe_retention_s)
    other = submission("s-2", lines=(("TEA", 1, 1),))
    batch = decode(chunk(submission(), submission("s-2", lines=(("TEA", 99, 1),)), other, first=2))
    shared = guard(parts)
    await reserve(batch, parts.stock, shared, parts.clock, hold_ttl_s=SETTINGS.hold_ttl_s, recall=remembers)
    bounds: dict[str, Any] = {"hold_ttl_s": SETTINGS.hold_ttl_s, "max_delay_s": DELAY_S}
    await persist(batch, parts.ledger, parts.stock, shared, parts.clock, **bounds, recall=remembers)
    conflict = (Outcome.REJECTED, Reason.CONFLICTING_REPEAT, False)
    assert told(batch) == [AGAIN, (Outcome.REJECTED, Reason.OUT_OF_STOCK, True), conflict]
    assert [d.order_id for d in batch.decisions[:2]] == [d.order_id for d in first.decisions]
    assert [name for name in calls.calls if name.startswith("stock.")] == []
    assert calls.calls.count("ledger.lookup") == 1
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


async def test_a_repeat_that_has_grown_old_gives_its_hold_back() -> None:
    """It took a hold while it was fresh, the answer got lost or the worker died; by the next try it is old enough to
    be looked up, and the hold is given back all the same.
    """
    made = await world()
    first = await through_persist(made.parts(), chunk(submission()))
    await forget(made)
    late = chunk(submission(submitted_at=to_datetime(made.clock.now_ms()) - timedelta(minutes=59)), first=1)
    assert not (await through_reserve(made.parts(), late)).verdicts[0].replay
    made.clock.advance(120)
    batch = await recalled(made, late)
    assert told(batch) == [AGAIN]
    assert batch.decisions[0].order_id == first.decisions[0].order_id
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


async def test_an_old_repeats_hold_that_a_closing_promotion_did_not_sweep_is_booked() -> None:
    """As above, while its promotion closed: what the hold gives back to main, the books hear of."""
    made = await world()
    await open_promotion(made.parts(), promotion(hours=9))
    await through_persist(made.parts(), chunk(submission(promotion_id="p1")))
    await forget(made)
    stamp = to_datetime(made.clock.now_ms()) - timedelta(minutes=59)
    late = chunk(submission(promotion_id="p1", submitted_at=stamp), first=1)
    await through_reserve(made.parts(), late)
    made.clock.advance(120)
    assert await close_promotion(made.parts(), "p1") == [("TEA", 1)]
    assert told(await recalled(made, late)) == [AGAIN]
    booked = {(b.sku, b.pool): tuple(b[2:]) async for b in made.ledger.balances()}
    assert booked == await made.books() == {("TEA", "main"): (8, 0, 0), ("TEA", "promo:p1"): (0, 2, 0)}


async def test_an_old_order_beside_its_repeat_is_no_repeat() -> None:
    """Both in one batch, and the stock has forgotten both: the order is answered by its first decision as the first,
    the other as a repeat, and only the order itself keeps its hold.
    """
    made = await world()
    await through_persist(made.parts(), chunk(submission()))
    await forget(made)
    again = submission(submitted_at=to_datetime(made.clock.now_ms()))
    batch = await recalled(made, chunk(submission(), again))
    assert told(batch) == [ACCEPTED, AGAIN]
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


async def recalled(made: World, late: Chunk) -> Batch:
    """The chunk's batch with its answers, what may be forgotten being looked up first, as workers do."""
    parts = made.parts()
    remembers = partial(recall, ledger=parts.ledger, clock=parts.clock, retention_s=SETTINGS.dedupe_retention_s)
    batch, shared = decode(late), guard(parts)
    await reserve(batch, parts.stock, shared, parts.clock, hold_ttl_s=SETTINGS.hold_ttl_s, recall=remembers)
    bounds: dict[str, Any] = {"hold_ttl_s": SETTINGS.hold_ttl_s, "max_delay_s": DELAY_S}
    await persist(batch, parts.ledger, parts.stock, shared, parts.clock, **bounds, recall=remembers)
    return batch


async def test_fresh_orders_are_not_looked_up() -> None:
    """Nor are those beside old ones that the ledger does not know: all of these are asked of the stock."""
    made = await world()
    calls = Trouble()
    parts = made.parts(calls)
    remembers = partial(recall, ledger=parts.ledger, clock=parts.clock, retention_s=SETTINGS.dedupe_retention_s)
    ages = (timedelta(0), timedelta(minutes=59), timedelta(minutes=-59))
    batch = decode(chunk(*(submission(f"s-{n}", submitted_at=NOW - age) for n, age in enumerate(ages))))
    await remembers(batch)
    assert calls.calls == []
    ages = (timedelta(0), timedelta(minutes=61), timedelta(minutes=-61))
    batch = decode(chunk(*(submission(f"s-{n}", submitted_at=NOW - age) for n, age in enumerate(ages))))
    await reserve(batch, parts.stock, guard(parts), parts.clock, hold_ttl_s=SETTINGS.hold_ttl_s, recall=remembers)
    assert [v.code for v in batch.verdicts] == [Code.ACCEPTED] * 3
    assert [name for name in calls.calls if name != "ledger.epoch"] == ["ledger.lookup", "stock.reserve"]


async def forget(made: World) -> None:
    """Let the stock forget the submissions it knows: two retentions pass, with a call in each."""
    for _ in range(2):
        made.clock.advance(SETTINGS.dedupe_retention_s + 1)
        now_ms = made.clock.now_ms()
        await made.stock.reserve(1, [], now_ms=now_ms, held_until_ms=now_ms + 1)


# announce


async def test_announcements_stand_in_their_partition_in_order() -> None:
    """Decisions go to the partition that has the number of their submission's, dead letters likewise."""
    made = await world()
    batch = await through_persist(
        made.parts(),
        chunk(submission("s-1"), b"x", submission("s-2"), partition=0),
        chunk(b"y", submission("s-3"), partition=PARTITIONS + 1),
    )
    await announce(batch, made.log, made.clock, max_delay_s=DELAY_S)
    found = {
        at: [msgspec.json.decode(e.value or b"", type=Decision).submission_id for e in entries]
        for at, entries in made.log.appended.items()
        if at[0] == DECIDED.name
    }
    assert found == {(DECIDED.name, 0): ["s-1", "s-2"], (DECIDED.name, 1): ["s-3"]}
    assert [e.value for e in made.log.appended[SUBMITTED_DLQ.name, 0]] == [b"x"]
    assert [e.value for e in made.log.appended[SUBMITTED_DLQ.name, 1]] == [b"y"]
    keys = [e.key for at, entries in made.log.appended.items() if at[0] == DECIDED.name for e in entries]
    assert keys == [str(d.order_id).encode() for d in batch.decisions]


async def test_a_dead_letter_is_a_copy_with_a_reason() -> None:
    """Key, value, time and headers are the original's, byte for byte; one header more tells reason, place and fix."""
    made = await world()
    record = FakeRecord(5, b"\xff\x00", timestamp=123, key=None, headers=(("h", b"\x01"), ("h", b"\x02")))
    batch = decode(FakeChunk([record], partition=1))
    await announce(batch, made.log, made.clock, max_delay_s=DELAY_S)
    (entry,) = made.log.appended[SUBMITTED_DLQ.name, 1]
    assert (entry.key, entry.value, entry.timestamp_ms) == (None, b"\xff\x00", 123)
    assert entry.headers[:2] == record.headers
    assert entry.headers[2][0] == DEAD_LETTER_HEADER
    letter = read_letter(FakeRecord(0, entry.value, headers=entry.headers))
    assert letter is not None
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == ("not_json", "orders.submitted.v1", 1, 5)
    assert letter.failed_at == NOW
    assert letter.fix
    assert letter.field is msgspec.UNSET


@pytest.mark.parametrize(
    "headers", [(), ((DEAD_LETTER_HEADER, b"{"),), (("other", b"{}"),), ((DEAD_LETTER_HEADER, None),)]
)
def test_a_letter_of_somebody_else_is_none(headers: Headers) -> None:
    """What lies in a dead-letter topic without our header, or with a broken one, has no reason to read."""
    assert read_letter(FakeRecord(0, b"x", headers=headers)) is None


async def test_a_replay_that_dies_again_has_its_new_reason() -> None:
    """A replay is a copy, old header and all: what is read is why it died last, and where."""
    made = await world()
    await announce(decode(FakeChunk([FakeRecord(5, b"{")])), made.log, made.clock, max_delay_s=DELAY_S)
    (old,) = made.log.appended[SUBMITTED_DLQ.name, 0]
    replay = FakeRecord(9, old.value, headers=old.headers)
    await announce(decode(FakeChunk([replay])), made.log, made.clock, max_delay_s=DELAY_S)
    new = made.log.appended[SUBMITTED_DLQ.name, 0][-1]
    letter = read_letter(FakeRecord(1, new.value, headers=new.headers))
    assert letter is not None
    assert letter.offset == 9


async def test_chunks_are_acknowledged_after_every_append() -> None:
    """All partitions are safe before the first offset may be committed."""
    made, trouble = await world(), outages(["log.append"], times=3)
    chunks = [chunk(submission(f"s-{p}"), b"x", partition=p, trouble=trouble) for p in range(PARTITIONS)]
    parts = made.parts(trouble)
    batch = await through_persist(parts, *chunks)
    await announce(batch, parts.log, made.clock, max_delay_s=DELAY_S)
    assert trouble.calls[-2:] == ["acknowledge"] * 2
    assert trouble.calls.count("acknowledge") == 2
    assert trouble.calls.count("log.append") == 3 + 2 * PARTITIONS
    assert len(made.decisions()) == 2


async def test_an_announcement_that_fails_acknowledges_nothing() -> None:
    """One partition of two cannot be written: no chunk of the batch is acknowledged."""
    made = await world()
    appends = iter([None, Hit("before", Crash())])
    dies = Trouble(lambda _, name: next(appends) if name == "log.append" else None)
    chunks = [chunk(submission(f"s-{p}"), partition=p) for p in range(PARTITIONS)]
    batch = await through_persist(made.parts(), *chunks)
    with pytest.raises(Crash):
        await announce(batch, made.parts(dies).log, made.clock, max_delay_s=DELAY_S)
    assert not any(one.done.is_set() for one in chunks)


async def test_promotions_are_decided_by_their_own_pool() -> None:
    """An order that names a promotion draws from it alone; reasons of promotions come through to the decision."""
    made = await world()
    await open_promotion(made.parts(), promotion(quota=(("TEA", 3),), limit=2))
    batch = await through_persist(
        made.parts(),
        chunk(
            submission("s-1", promotion_id="p1"),
            submission("s-2", promotion_id="p1"),
            submission("s-3", promotion_id="p1", buyer_id="bob"),
            submission("s-4", promotion_id="p2"),
            submission("s-5", promotion_id="p1", lines=(("CUP", 1, 1),), buyer_id="bob"),
        ),
    )
    assert [d.reason for d in batch.decisions] == [
        None,
        Reason.BUYER_LIMIT,
        Reason.OUT_OF_STOCK,
        Reason.UNKNOWN_PROMOTION,
        Reason.NOT_IN_PROMOTION,
    ]
    assert {line.pool for line in batch.decisions[0].lines} == {"promo:p1"}
    assert await made.books() == {("TEA", "main"): (7, 0, 0), ("TEA", "promo:p1"): (1, 2, 0)}
