"""A long outage: what waits is put aside and told of, and decided first, once and in order when the stores are back."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import msgspec
import pytest
from builders import SETTINGS, Crash, FakeChunk, FakeRecord, Hit, Trouble, World, chunk, submission, world
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.simulation.loop import SimulatedLoop
from streams.breakers import Breakers, guarded
from streams.errors import LedgerUnavailable, LogUnavailable, StockUnavailable
from streams.intake.divert import MESSAGE, divert
from streams.intake.patience import LOOK_AGAIN_S, PatientIntake
from streams.messages import Notification, NotificationType, Outcome, Reason
from streams.parts import Parts
from streams.reviews import read_review
from streams.settings import Settings
from streams.stores.review_fake import FakeReview
from streams.topics import NOTIFICATIONS, REVIEW, SUBMITTED_DLQ

AFTER_S = 20.0
PATIENT = replace(SETTINGS, review_after_s=AFTER_S, retry_max_delay_s=1.0)
BOTH = frozenset({0, 1})


class Shop:
    """An installation whose stores can be taken away, and one worker's intake in it, all on virtual time."""

    def __init__(self, made: World, loop: SimulatedLoop, settings_: Settings = PATIENT) -> None:
        self.made, self.loop = made, loop
        self.down: set[str] = set()
        self.trouble = Trouble(self._plan)
        self.queue = FakeReview(made.log)
        self.settings = settings_
        self.last_wait_s: Callable[[], float] = loop.time
        self.start()

    def start(self) -> None:
        """A process; one that ran before is gone."""
        breakers = Breakers.of(self.settings, now_s=self.loop.time)
        plain = self.made.parts(self.trouble, self.settings)
        stores = guarded(plain.stock, breakers.stock), guarded(plain.ledger, breakers.ledger)
        parts = Parts(*stores, guarded(plain.log, breakers.log), plain.clock, self.settings, breakers=breakers)
        now_s, last_wait_s = self.loop.time, self.last_wait_s
        self.intake = PatientIntake(parts, self.queue, lambda: (1, BOTH), now_s=now_s, last_wait_s=last_wait_s)
        self.work = self.loop.create_task(self.intake.run())

    def _plan(self, _: int, name: str) -> Hit | None:
        kinds = {"stock": StockUnavailable, "ledger": LedgerUnavailable, "log": LogUnavailable}
        store = name.split(".", maxsplit=1)[0]
        return Hit("before", kinds[store]("down")) if {name, store} & self.down else None

    async def take(self, *chunks: FakeChunk) -> None:
        """Feed chunks, as the agent does, one after the other."""
        for one in chunks:
            await self.intake.take(one)

    def under_review(self) -> list[bytes]:
        """What was put aside, in order."""
        return self.made.log.values(REVIEW.name)

    def notices(self) -> list[Notification]:
        """What buyers were told."""
        return [msgspec.json.decode(value, type=Notification) for value in self.made.log.values(NOTIFICATIONS.name)]


def virtual(main: Callable[[SimulatedLoop], Awaitable[None]]) -> None:
    """Run on virtual time."""
    loop = SimulatedLoop(Random(5))  # type: ignore[abstract]  # what it lacks is I/O

    async def run() -> None:
        await main(loop)

    loop.run(run())


async def decided(shop: Shop, *chunks: FakeChunk) -> None:
    """Wait until chunks are acknowledged, and all that was put aside is decided."""
    async with asyncio.timeout(300):
        await asyncio.gather(*(one.done.wait() for one in chunks))
        while shop.queue.lag:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.5)


@pytest.mark.parametrize("down", ["stock", "ledger"])
def test_what_waits_too_long_is_put_aside_told_of_and_decided_when_the_store_is_back(down: str) -> None:
    """Not before the time; then byte for byte with its cause, one notice each; in the end one decision for each."""

    async def main(loop: SimulatedLoop) -> None:
        shop = Shop(await world({"TEA": 100}), loop)
        shop.down.add(down)
        waiting = [chunk(*(submission(f"s-{n}") for n in range(at, at + 5)), first=at) for at in (0, 5)]
        await shop.take(*waiting)
        await asyncio.sleep(AFTER_S * 0.9)
        assert shop.under_review() == []
        await asyncio.sleep(AFTER_S * 0.3)
        assert shop.under_review() == [record.value for one in waiting for record in one.records]
        assert all(one.done.is_set() for one in waiting)
        assert sorted((n.type, n.submission_id, n.message) for n in shop.notices()) == [
            (NotificationType.ORDER_UNDER_REVIEW, f"s-{n}", MESSAGE) for n in range(10)
        ]
        assert len({n.notification_id for n in shop.notices()}) == 10
        later = chunk(submission("s-10"), first=10)
        await shop.take(later)
        await asyncio.sleep(5)
        assert later.done.is_set(), "what comes while the outage lasts is put aside at once"
        assert shop.made.decisions() == []
        shop.down.clear()
        await decided(shop)
        assert [d.submission_id for d in shop.made.decisions()] == [f"s-{n}" for n in range(11)]
        assert not any(d.replay for d in shop.made.decisions())
        assert await shop.made.books() == {("TEA", "main"): (78, 22, 0)}
        stored = shop.made.ledger.decisions["web", "s-10"]
        assert (stored.partition, stored.offset) == (0, 10), "it is decided as if read where it was submitted"
        shop.work.cancel()

    virtual(main)


def test_who_came_first_gets_the_last_unit() -> None:
    """What was put aside is decided before anything that came later to its partition, repeats and conflicts too."""

    async def main(loop: SimulatedLoop) -> None:
        shop = Shop(await world({"TEA": 1}), loop)
        shop.down.add("stock")
        first = submission("first", lines=(("TEA", 1, 1),))
        await shop.take(chunk(first))
        await asyncio.sleep(AFTER_S * 1.5)
        assert len(shop.under_review()) == 1
        shop.work.cancel()
        shop.start()  # another worker; it has not put anything aside itself
        shop.down.clear()
        other = submission("second", lines=(("TEA", 1, 1),))
        conflict = submission("first", lines=(("TEA", 1, 2),))
        late = chunk(other, first, conflict, first=1)
        await shop.take(late)
        await decided(shop, late)
        assert [(d.submission_id, d.outcome, d.reason, d.replay) for d in shop.made.decisions()] == [
            ("first", Outcome.ACCEPTED, None, False),
            ("second", Outcome.REJECTED, Reason.OUT_OF_STOCK, False),
            ("first", Outcome.ACCEPTED, None, True),
            ("first", Outcome.REJECTED, Reason.CONFLICTING_REPEAT, False),
        ]
        shop.work.cancel()

    virtual(main)


def test_what_was_decided_before_it_was_put_aside_keeps_its_decision() -> None:
    """The ledger had it and its answer was lost: the copy gets that same decision, as its first answer."""

    async def main(loop: SimulatedLoop) -> None:
        made = await world()
        shop = Shop(made, loop)
        real = made.ledger.persist

        async def persist_and_be_lost(*args: object) -> object:
            if made.ledger.decisions:
                return await real(*args)  # type: ignore[arg-type]
            await real(*args)  # type: ignore[arg-type]
            shop.down.add("ledger")
            raise LedgerUnavailable("the answer is lost")

        made.ledger.persist = persist_and_be_lost  # type: ignore[method-assign,assignment]
        await shop.take(chunk(submission()))
        await asyncio.sleep(AFTER_S * 1.5)
        before = dict(made.ledger.decisions)
        assert len(before) == len(shop.under_review()) == 1
        shop.down.clear()
        await decided(shop)
        assert made.ledger.decisions == before
        assert [d.replay for d in made.decisions()] == [False]
        assert await made.books() == {("TEA", "main"): (8, 2, 0)}
        shop.work.cancel()

    virtual(main)


def test_nothing_is_acknowledged_before_its_copy_is_safe() -> None:
    """While Kafka does not take the copies the chunk stays unacknowledged, and nobody is told anything."""

    async def main(loop: SimulatedLoop) -> None:
        shop = Shop(await world(), loop)
        shop.down |= {"stock", "log.append"}
        waiting = chunk(submission())
        await shop.take(waiting)
        await asyncio.sleep(AFTER_S * 3)
        assert "log.append" in shop.trouble.calls, "it was tried"
        assert (waiting.done.is_set(), shop.under_review(), shop.notices()) == (False, [], [])
        shop.down.discard("log.append")
        await waiting.done.wait()
        assert (len(shop.under_review()), len(shop.notices())) == (1, 1)
        shop.work.cancel()

    virtual(main)


@pytest.mark.parametrize(
    ("settings_", "down"), [(replace(PATIENT, review_after_s=0.0), {"stock"}), (PATIENT, {"log"}), (PATIENT, set())]
)
def test_patience_does_not_end(settings_: Settings, down: set[str]) -> None:
    """Where it is off, where Kafka itself is away, and where nothing is: however long it takes."""

    async def main(loop: SimulatedLoop) -> None:
        shop = Shop(await world(), loop, settings_)
        if down == {"log"}:  # the announcement waits; copies would too
            shop.down.add("log.append")
        shop.down |= down - {"log"}
        waiting = chunk(submission())
        await shop.take(waiting)
        await asyncio.sleep(AFTER_S * 5)
        assert shop.under_review() == []
        assert waiting.done.is_set() is (not down)
        shop.down.clear()
        await waiting.done.wait()
        assert len(shop.made.decisions()) == 1
        shop.work.cancel()

    virtual(main)


def test_standing_still_for_another_reason_ends_no_patience() -> None:
    """Only a wait for a store does: what hangs is for the watchdog, and may be gone with the next start."""

    async def main(loop: SimulatedLoop) -> None:
        shop = Shop(await world(), loop)
        shop.work.cancel()
        shop.last_wait_s = lambda: -math.inf
        shop.start()
        shop.down.add("stock")
        await shop.take(chunk(submission()))
        await asyncio.sleep(AFTER_S * 5)
        assert shop.under_review() == []
        shop.work.cancel()

    virtual(main)


def test_what_a_worker_without_the_partition_puts_aside_is_found() -> None:
    """It comes into a queue that was looked through already; it is decided within a while, with the same decision."""

    async def main(loop: SimulatedLoop) -> None:
        shop = Shop(await world(), loop)
        one = chunk(submission())
        await shop.take(one)
        await one.done.wait()
        late = chunk(submission())
        await divert([late], shop.made.log, shop.made.clock, cause="late", max_delay_s=1.0)
        await asyncio.sleep(LOOK_AGAIN_S * 1.2)
        assert shop.queue.lag == 0
        assert [d.replay for d in shop.made.decisions()] == [False, False]
        assert len({d.order_id for d in shop.made.decisions()}) == 1
        assert await shop.made.books() == {("TEA", "main"): (8, 2, 0)}
        shop.work.cancel()

    virtual(main)


def test_bad_records_become_dead_letters_all_the_same() -> None:
    """A chunk that is put aside buries what is no submission; only its neighbours are under review."""

    async def main(loop: SimulatedLoop) -> None:
        shop = Shop(await world(), loop)
        shop.down.add("ledger")
        await shop.take(chunk(b"{", submission("s-1"), None))
        await asyncio.sleep(AFTER_S * 1.5)
        assert len(shop.under_review()) == len(shop.notices()) == 1
        assert sum(len(e) for (topic, _), e in shop.made.log.appended.items() if topic == SUBMITTED_DLQ.name) == 2
        shop.work.cancel()

    virtual(main)


def test_a_copy_tells_where_when_and_why() -> None:
    """Key, bytes and trace of the original, and the header; other headers, of any size, stay where they are."""

    async def main(loop: SimulatedLoop) -> None:
        shop = Shop(await world(), loop)
        shop.down.add("stock")
        value = msgspec.json.encode(submission("s-1"))
        trace = b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"
        record = FakeRecord(7, value, headers=(("traceparent", trace), ("ce_type", b"x" * 10_000)))
        await shop.take(FakeChunk([record], partition=1))
        await asyncio.sleep(AFTER_S * 1.5)
        (entry,) = shop.made.log.appended[REVIEW.name, 1]
        assert (entry.key, entry.value, entry.headers[0]) == (b"web:s-1", value, ("traceparent", trace))
        review = read_review(FakeRecord(0, value, headers=entry.headers))
        assert review is not None
        assert (review.partition, review.offset) == (1, 7)
        assert "did not" in review.cause
        assert len(entry.headers) == 2
        assert shop.notices()[0].trace_id == "ab" * 16
        shop.work.cancel()

    virtual(main)


@settings(max_examples=40)
@given(st.integers(1, 60), st.sampled_from(["before", "after"]), st.sampled_from(["stock", "ledger"]), st.booleans())
def test_a_crash_anywhere_loses_and_doubles_nothing(number: int, when: str, down: str, again: bool) -> None:
    """The process dies at any call, in outage, putting aside and deciding: what was not acknowledged comes again."""

    async def main(loop: SimulatedLoop) -> None:
        made = await world({"TEA": 100})
        shop, crashed = Shop(made, loop), 0

        def plan(at: int, name: str) -> Hit | None:
            nonlocal crashed
            if at >= number and not crashed:
                crashed = at
                return Hit(when, Crash(f"{when} call {at}, {name}"))  # type: ignore[arg-type]
            return Shop._plan(shop, at, name)

        shop.trouble._plan = plan
        messages = [submission(f"s-{n % 6}", lines=(("TEA", 1 + (n == 7), 1),)) for n in range(9)]
        waiting = [chunk(*messages[at : at + 3], first=at) for at in (0, 3, 6)]
        feeding = loop.create_task(shop.take(*waiting[:2]))
        shop.down.add(down)
        for second in range(200):
            await asyncio.sleep(1)
            if second == 40:
                loop.create_task(shop.take(waiting[2]))
            if second == 60:
                shop.down.clear()
            if shop.work.done():
                feeding.cancel()
                shop.start()
                left = [one for one in waiting[: 2 + (second >= 40)] if again or not one.done.is_set()]
                feeding = loop.create_task(shop.take(*left))
        shop.down.clear()
        await decided(shop, *waiting)
        assert set(made.ledger.decisions) == {("web", f"s-{n}") for n in range(6)}
        answers = {(d.submission_id, d.order_id, d.outcome) for d in made.decisions() if d.reason is None}
        assert len(answers) == 6, "one decision each, however often it was announced"
        announced = Counter(d.submission_id for d in made.decisions())
        assert all(announced[f"s-{n}"] >= 1 + (n < 3) for n in range(6)), "each submission was answered"
        assert await made.books() == {("TEA", "main"): (94, 6, 0)}
        shop.work.cancel()

    virtual(main)
