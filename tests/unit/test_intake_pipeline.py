"""Intake as a whole: overlap, merging, crashes at every point, and redelivery with other chunk boundaries."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal, NamedTuple, TypeVar

import msgspec
import pytest
from builders import (
    NOW,
    PARTITIONS,
    SETTINGS,
    Crash,
    FakeChunk,
    FakeRecord,
    Hit,
    Trouble,
    World,
    at_call,
    chunk,
    outages,
    promotion,
    submission,
    take_in,
    world,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.books import State
from streams.core.identity import fingerprint
from streams.core.stock import Reservation, Verdict
from streams.intake.pipeline import Intake
from streams.lifecycle import Lifecycle
from streams.messages import Decision, Reason, Submission
from streams.promotions import open_promotion
from streams.stores.stock_fake import FakeStock
from streams.topics import SUBMITTED_DLQ

T = TypeVar("T")

CALLS = [
    "ledger.epoch",
    "stock.carried",
    "stock.reserve",
    "ledger.persist",
    "log.partitions",
    "log.append",
    "acknowledge",
]


def only_crashes(error: BaseException | None) -> bool:
    """Whether a run ended by a planned crash and nothing else."""
    return isinstance(error, BaseExceptionGroup) and error.split(Crash)[1] is None


async def test_the_order_of_effects() -> None:
    """Reserve, persist, announce, and only then acknowledge."""
    made, trouble = await world(), Trouble()
    assert await take_in(made.parts(trouble), [chunk(submission(), trouble=trouble)]) is None
    assert trouble.calls == CALLS


async def test_chunks_that_wait_share_round_trips() -> None:
    """What comes while the pipeline is busy is decided together, up to the limit; order is kept."""
    made, trouble = await world({"TEA": 1000}), Trouble()
    parts = made.parts(trouble, replace(SETTINGS, chunk_max_records=5, batch_max_orders=10))
    numbers = itertools.count()
    chunks = [
        chunk(*(submission(f"s-{next(numbers)}") for _ in range(size)), first=10 * i, trouble=trouble)
        for i, size in enumerate([4, 4, 3, 5, 2, 1, 5])
    ]
    intake = Intake(parts)
    for one in chunks[:2]:
        await intake.take(one)
    assert trouble.calls == []
    work = asyncio.create_task(intake.run())
    for one in chunks[2:]:
        await intake.take(one)
    await asyncio.gather(*(one.done.wait() for one in chunks))
    work.cancel()
    assert [d.submission_id for d in made.decisions()] == [f"s-{n}" for n in range(24)]
    reserves = trouble.calls.count("stock.reserve")
    assert reserves == trouble.calls.count("ledger.persist") < len(chunks)
    assert reserves >= 24 / 10


class Counting(FakeStock):
    """Notes how many orders each reserve call has."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    async def reserve(
        self, epoch: int, batch: Sequence[Reservation], *, now_ms: int, held_until_ms: int
    ) -> list[Verdict]:
        """See `Stock`."""
        self.sizes.append(len(batch))
        return await super().reserve(epoch, batch, now_ms=now_ms, held_until_ms=held_until_ms)


async def test_no_batch_passes_the_limit() -> None:
    """Merging stops where one more chunk would be too many; nobody is left behind."""
    made = await world({"TEA": 1000})
    counting = Counting()
    await counting.install_epoch(1)
    parts = replace(made.parts(settings=replace(SETTINGS, chunk_max_records=5, batch_max_orders=10)), stock=counting)
    chunks = [chunk(*(submission(f"{i}-{n}") for n in range(5)), first=5 * i) for i in range(9)]
    assert await take_in(parts, chunks) is None
    assert max(counting.sizes) == 10
    assert sum(counting.sizes) == 45


class Gate(Trouble):
    """Lets no call of one name through until it is opened."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.opened = asyncio.Event()
        self._name = name

    async def meet(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """The result, once the gate is open."""
        if name == self._name:
            await self.opened.wait()
        return await super().meet(name, call)


async def test_a_full_pipeline_holds_its_feeder_back() -> None:
    """While the ledger is silent a bounded number of chunks is taken, none is acknowledged; then all go through."""
    made, gate = await world({"TEA": 1000}), Gate("ledger.persist")
    settings = replace(SETTINGS, chunk_max_records=1, batch_max_orders=10)
    intake = Intake(made.parts(gate, settings))
    work = asyncio.create_task(intake.run())
    chunks = [chunk(submission(f"s-{n}"), first=n) for n in range(100)]
    taken = 0

    async def feed() -> None:
        nonlocal taken
        for one in chunks:
            await intake.take(one)
            taken += 1

    feeding = asyncio.create_task(feed())
    for _ in range(1_000):
        await asyncio.sleep(0)
    # One batch persists, two wait before and behind reserve, one is forming.
    assert 10 < taken <= 4 * settings.batch_max_orders
    assert not any(one.done.is_set() for one in chunks)
    gate.opened.set()
    await feeding
    await asyncio.gather(*(one.done.wait() for one in chunks))
    work.cancel()


async def test_dead_letters_beside_good_neighbours() -> None:
    """A chunk with bad records is acknowledged once the good are decided and the bad are buried."""
    made = await world()
    assert await take_in(made.parts(), [chunk(b"{", submission("s-1"), None, submission("s-2"), b"[]")]) is None
    assert [d.submission_id for d in made.decisions()] == ["s-1", "s-2"]
    assert sum(len(e) for (topic, _), e in made.log.appended.items() if topic == SUBMITTED_DLQ.name) == 3


async def test_a_chunk_of_dead_records_is_acknowledged() -> None:
    """It has nothing to decide, and must not stop its partition."""
    made, trouble = await world(), Trouble()
    assert await take_in(made.parts(trouble), [chunk(b"{", b"", trouble=trouble)]) is None
    assert trouble.calls == ["log.partitions", "log.append", "acknowledge"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_outages_are_outlasted(when: Literal["before", "after"]) -> None:
    """Every store may be away for a while, with or without having done its work: the outcome is the same."""
    made = await world()
    names = [name for name in CALLS if name != "acknowledge"] + ["ledger.lookup", "ledger.record_conflicts"]
    trouble = outages(names, when=when)
    records = submission("s-1"), submission("s-1"), submission("s-1", lines=(("TEA", 1, 1),)), submission("s-2")
    assert await take_in(made.parts(trouble), [chunk(*records)]) is None
    assert [d.reason for d in made.decisions() if d.submission_id == "s-2"][-1] is None
    assert {d.reason for d in made.decisions()} == {None, Reason.CONFLICTING_REPEAT}
    assert len(made.ledger.decisions) == 2
    assert await made.books() == {("TEA", "main"): (6, 4, 0)}


@pytest.mark.parametrize("down", ["stock.reserve", "ledger.persist", "log.append"])
async def test_nothing_is_acknowledged_while_a_store_stays_away(down: str) -> None:
    """An outage without an end is waited for without an end; what follows that store is not reached."""
    made = await world()
    trouble = outages([down], times=1_000_000)
    waiting = chunk(submission())
    work = asyncio.create_task(take_in(made.parts(trouble), [waiting]))
    while trouble.calls.count(down) < 3:  # noqa: ASYNC110 - the trouble tells nobody that it was met
        await asyncio.sleep(0.001)
    assert not waiting.done.is_set()
    work.cancel()
    await asyncio.wait([work])
    assert set(trouble.calls) == set(CALLS[: CALLS.index(down) + 1])


async def test_a_lost_stock_stops_decisions_until_it_is_rebuilt() -> None:
    """Fenced: the chunk waits; under the new epoch it is decided, and was never decided by the empty stock."""
    made = await world()
    full, made.stock = made.stock, FakeStock()
    parts = made.parts()
    waiting = chunk(submission())
    running = asyncio.create_task(take_in(parts, [waiting]))
    await asyncio.sleep(0.02)
    assert not waiting.done.is_set()
    assert made.ledger.decisions == {}
    epoch = await made.ledger.issue_epoch("rebuilt")
    await made.stock.install_epoch(epoch)
    await made.stock.receive(epoch, "rebuilt", [(p.sku, p.free) async for p in full.pools()])
    assert await running is None
    assert [d.reason for d in made.decisions()] == [None]
    assert await made.books() == {("TEA", "main"): (8, 2, 0)}


@pytest.mark.parametrize("name", [name for name in CALLS if name != "acknowledge"])
async def test_an_unexpected_error_ends_the_run_and_acknowledges_nothing(name: str) -> None:
    """A defect is no outage: the process is to die, and the records are to come again."""
    made = await world()
    dies = Trouble(lambda _, called: Hit("before", Crash()) if called == name else None)
    one = chunk(submission())
    assert only_crashes(await take_in(made.parts(dies), [one]))
    assert not one.done.is_set()


def surge() -> list[FakeChunk]:
    """Two chunks with new ones, repeats, a conflict, a bad record and more orders than stock."""
    two_left = submission("s-5", lines=(("TEA", 2, 1),))
    first = submission("s-1"), submission("s-2", lines=(("TEA", 3, 1), ("TEA", 2, 1))), b"{", submission("s-1")
    second = submission("s-1", lines=(("TEA", 1, 1),)), submission("s-4", lines=(("TEA", 9, 1),)), two_left
    return [chunk(*first), chunk(*second, submission("s-2", lines=(("TEA", 5, 1),)), first=len(first))]


POINTS = range(1, 13)


@pytest.mark.parametrize("number", POINTS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_any_point_changes_no_decision(number: int, when: Literal["before", "after"]) -> None:
    """The process dies before or after any call; a new one reads the records again: same decisions, nothing twice."""
    calm, made = await world(), await world()
    assert await take_in(calm.parts(), surge()) is None
    trouble = at_call(number, when)
    died = await take_in(made.parts(trouble), surge())
    assert only_crashes(died) is (number <= len(trouble.calls))
    made.clock.advance(5)
    chunks = surge()
    assert await take_in(made.parts(), chunks) is None

    assert {key: (d.order_id, d.reason) for key, d in made.ledger.decisions.items()} == {
        key: (d.order_id, d.reason) for key, d in calm.ledger.decisions.items()
    }
    assert await made.books() == await calm.books() == {("TEA", "main"): (1, 9, 0)}
    said, expected = summary(made.decisions()), summary(calm.decisions())
    assert set(said) == set(expected)
    assert len(made.decisions()) >= len(calm.decisions())


async def test_the_points_of_crash_cover_the_whole_surge() -> None:
    """The numbers in POINTS reach past the last call, so no point is missed."""
    made, trouble = await world(), Trouble()
    await take_in(made.parts(trouble), surge())
    assert len(trouble.calls) in POINTS
    assert {"stock.reserve", "ledger.persist", "log.append", "ledger.record_conflicts"} <= set(trouble.calls)


def summary(decisions: Sequence[Decision]) -> list[tuple[str, str, Reason | None]]:
    """What decisions say, apart from times and tokens."""
    return [(d.submission_id, str(d.order_id), d.reason) for d in decisions]


# Any batches, any crashes, any chunk boundaries.


@dataclass
class Partition:
    """What Kafka keeps: the records of one partition, and how far its group has committed."""

    records: list[FakeRecord] = field(default_factory=list)
    committed: int = 0

    def fetch(self, sizes: Sequence[int], number: int) -> list[FakeChunk]:
        """The uncommitted rest, cut into chunks of the given sizes over and over."""
        chunks: list[FakeChunk] = []
        first = self.committed
        for size in itertools.cycle(sizes):
            if first >= len(self.records):
                return chunks
            chunks.append(FakeChunk(self.records[first : first + size], partition=number))
            first += size
        return chunks

    def commit(self, chunks: Sequence[FakeChunk]) -> None:
        """Commit what was acknowledged, in order."""
        for one in itertools.takewhile(lambda c: c.done.is_set(), chunks):
            self.committed = one.records[-1].offset + 1


ORDERS = st.builds(
    lambda number, qty, sku, promo, minutes: submission(
        f"s-{number}",
        lines=((sku, qty, 100), (sku, 1, 100)) if qty > 2 else ((sku, qty, 100), ("CUP", 1, 50)),
        buyer_id=f"b-{number % 2}",
        promotion_id="p1" if promo else None,
        submitted_at=NOW + timedelta(minutes=minutes),
    ),
    number=st.integers(0, 4),
    qty=st.integers(1, 4),
    sku=st.sampled_from(["TEA", "POT"]),
    promo=st.booleans(),
    minutes=st.sampled_from([0, 0, 0, 1]),
)


class Life(NamedTuple):
    """One process: it dies at a call, reads in chunks of these sizes, and the next starts so much later."""

    dies_at: int
    when: Literal["before", "after"]
    sizes: list[int]
    later_s: float


LIVES = st.lists(
    st.builds(
        Life,
        dies_at=st.integers(1, 14),
        when=st.sampled_from(["before", "after"]),
        sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
        later_s=st.sampled_from([0.0, 1.0, SETTINGS.hold_ttl_s, SETTINGS.dedupe_retention_s + 1]),
    ),
    max_size=4,
)
SHELF = {"TEA": 9, "POT": 4, "CUP": 6}


@settings(max_examples=150)
@given(st.lists(ORDERS, min_size=1, max_size=14), LIVES, st.integers(1, 6))
def test_whatever_dies_whenever_each_key_is_decided_once(
    orders: list[Submission], lives: list[Life], last_size: int
) -> None:
    """Repeats, conflicts, crashes at any call, forgotten memory and other chunk boundaries leave one decision a key.

    Every submission is answered, all answers to one body agree, and stock and ledger say the same to the unit; when
    all holds have run out, everything is free again and no hold is left over.
    """
    asyncio.run(_live_and_die(orders, lives, last_size))


async def _live_and_die(orders: list[Submission], lives: list[Life], last_size: int) -> None:
    made = await world(SHELF)
    await open_promotion(made.parts(), promotion(quota=(("TEA", 4), ("CUP", 2)), limit=3, hours=100))
    partitions = [Partition() for _ in range(PARTITIONS)]
    for order in orders:
        partition = partitions[int(order.submission_id[-1]) % PARTITIONS]
        partition.records.append(FakeRecord(len(partition.records), msgspec.json.encode(order)))
    for life in lives:
        await _one_life(made, partitions, life.sizes, at_call(life.dies_at, life.when))
        made.clock.advance(life.later_s)
        await Lifecycle(made.parts()).expire_due()
    assert await _one_life(made, partitions, [last_size], Trouble()) is None
    assert all(p.committed == len(p.records) for p in partitions)
    # A hold that ran out before its order was written is in the ledger only once the keeper has looked again.
    await Lifecycle(made.parts()).expire_due()
    await _check(made, orders)
    made.clock.advance(SETTINGS.hold_ttl_s)
    await Lifecycle(made.parts()).expire_due()
    assert {free_held_sold[1:] for free_held_sold in (await made.books()).values()} == {(0, 0)}
    assert await made.stock.unsettled() == 0
    assert {order.state for order in made.ledger.accepted.values()} <= {State.EXPIRED}


async def _one_life(
    made: World, partitions: list[Partition], sizes: Sequence[int], trouble: Trouble
) -> BaseException | None:
    fetched = [p.fetch(sizes, number) for number, p in enumerate(partitions)]
    mixed = [one for turn in itertools.zip_longest(*fetched) for one in turn if one is not None]
    died = await take_in(made.parts(trouble), mixed)
    for partition, chunks in zip(partitions, fetched, strict=True):
        partition.commit(chunks)
    assert died is None or only_crashes(died)
    return died


async def _check(made: World, orders: list[Submission]) -> None:
    books = await made.books()
    for sku, units in SHELF.items():
        assert sum(sum(accounts) for (of, _), accounts in books.items() if of == sku) == units
    first: dict[str, bytes] = {}
    for order in orders:
        first.setdefault(order.submission_id, fingerprint(order))
    assert {key: d.fingerprint for (_, key), d in made.ledger.decisions.items()} == first

    answers: dict[tuple[str, bool], list[Decision]] = defaultdict(list)
    for decision in made.decisions():
        answers[decision.submission_id, decision.reason is Reason.CONFLICTING_REPEAT].append(decision)
    for key, print_ in first.items():
        same, other = answers[key, False], answers[key, True]
        bodies = [fingerprint(o) == print_ for o in orders if o.submission_id == key]
        assert len(same) >= bodies.count(True)
        assert len(other) >= bodies.count(False)
        assert bool(other) == (False in bodies)
        assert len({(d.order_id, d.outcome, d.reason, d.decided_at, d.held_until, d.lines) for d in same}) == 1
        assert {d.order_id for d in other} <= {same[0].order_id}
        stored = made.ledger.decisions["web", key]
        assert (stored.order_id, stored.outcome, stored.reason) == (same[0].order_id, same[0].outcome, same[0].reason)
