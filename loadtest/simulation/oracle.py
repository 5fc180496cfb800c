"""What must hold, looked at while it happens: after each call to the stock, each announcement, each commit.

It knows what the producers sent and looks into the servers, never into the pipeline.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from loadtest.simulation.kafka import Topic
from loadtest.simulation.network import listed
from loadtest.simulation.trace import Trace
from loadtest.simulation.workload import PROMOTION, Sent, Shops
from loadtest.simulation.world import World
from streams.core.books import Action, Booking, Persisted, State, Step, StepResult, StoredDecision
from streams.core.stock import End
from streams.dead_letters import read_letter
from streams.instants import to_ms
from streams.messages import Change, Decision, OrderChanged, Reason, ReportType
from streams.reviews import read_review
from streams.stores.log import Entry
from streams.topics import CHANGED, DECIDED, REPORTED_DLQ, REVIEW, SUBMITTED, SUBMITTED_DLQ

_decision = msgspec.json.Decoder(Decision).decode
_change = msgspec.json.Decoder(OrderChanged).decode

_READ_ONLY = frozenset({"carried", "epoch", "promotion", "unsettled"})
_NO_SALE = frozenset({End.RELEASED, End.RELEASED_TO_MAIN, End.LATE_REFUSED})


class _Letter(NamedTuple):
    """A dead letter in the form that `read_letter` reads."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Oracle:
    """Judges single events. The first violation ends the run, with the trace up to it."""

    def __init__(self, world: World, shops: Shops, trace: Trace) -> None:
        self.received: Counter[str] = Counter()
        """Units by SKU that the stock took in."""
        self.answers: dict[tuple[int, int], list[Decision]] = defaultdict(list)
        """What was announced, by partition and offset of the record answered."""
        self.buried: dict[tuple[str, int, int], str] = {}
        """Reasons of dead letters, by topic, partition and offset of the original."""
        self.reviewed: set[tuple[int, int]] = set()
        """Submissions that were put aside, by partition and offset."""
        self.changes: dict[UUID, list[Change]] = defaultdict(list)
        self.owed: dict[tuple[str, str], int] = {}
        """Places of which a rebuilt stock has less than nothing free, and how much: a hold was given back and its
        units sold again, the lost stock alone knew of the giving back, and it is done again. It must not get worse.
        """
        self.unsaid: set[UUID] = set()
        """Orders whose expiry was booked, and not announced yet, when the stock was rebuilt."""
        self._refused: set[bytes] = set()
        """Orders that were cancelled, or to which the stock has said that it will not sell any more."""
        self._world, self._shops, self._sends, self._trace = world, shops, shops.sends, trace

    # --- calls to stores ---------------------------------------------------------------------------------------------

    def served(self, store: str, method: str, args: tuple[Any, ...], result: Any) -> None:
        """See `Watcher`."""
        if store.startswith("stock"):
            self._stock_refused(method, args, result)
        if store == "stock" and method not in _READ_ONLY:
            self._stock_moved(method, args, result)
        elif method == "append":
            self._appended(*args)
        elif method == "persist":
            self._booked(args[0], result)
            self._limit()
        elif method == "take_steps":
            self._steps_taken(args[0], result[1])

    def _stock_moved(self, method: str, args: tuple[Any, ...], result: Any) -> None:
        if not self._world.stock_is_sound():
            return
        if method == "install_epoch":
            self._rebuilt()
        elif method == "adopt_epoch":
            self._count_received()  # between the epoch's being issued and this, nobody knew what the stock was
        elif method == "receive" and result:
            for sku, units in args[2]:
                self.received[sku] += units
        self.check_shelves()

    def _stock_refused(self, method: str, args: tuple[Any, ...], result: Any) -> None:
        """Whichever stock said so: what it said under a past epoch, the ledger refuses."""
        if method == "retake" and result is End.LATE_REFUSED:
            self._refused.add(args[1])
        elif method in {"confirm", "release"}:
            ends = list(zip(args[1], result, strict=True))
            self._refused.update(one for one, end in ends if end in _NO_SALE or self._forgot(one, end))

    def _forgot(self, order_id: bytes, end: End) -> bool:
        """Whether the stock rightly knows nothing any more of how an order's hold has ended."""
        order = self._world.ledger.accepted.get(UUID(bytes=order_id))
        if end is not End.UNKNOWN or order is None or order.state is State.HELD:
            return False
        ended_ms = to_ms(min(order.held_until, order.changed_at))  # it may have been booked long after
        return ended_ms <= self._world.clock.now_ms() - self._world.plan.retention_s * 1000

    def _count_received(self) -> None:
        """It has what was booked by some moment: goods are booked before they are shelved."""
        found = self._on_shelves()
        booked: Counter[str] = Counter()
        moments = {}
        for movement in self._world.ledger.movements.values():
            if movement.action is Action.RECEIVE:
                booked[movement.sku] += movement.free
                moments[movement.ref] = +booked
        if found not in moments.values():
            self._trace.fail("rebuilt_as_booked", f"on the shelves {dict(found)}, booked {moments}")
        self.received = found

    def _rebuilt(self) -> None:
        """What it lacks, and what nobody knows of any more, follows from what was booked."""
        self._count_received()
        self._owing()
        self.unsaid |= {
            order.order_id
            for order in self._world.ledger.accepted.values()
            if order.state is State.EXPIRED and Change.EXPIRED not in self.changes[order.order_id]
        }

    def _owing(self) -> None:
        """What it has less than nothing of was given back by cancellations that nobody had booked."""
        self.owed = {(pool.sku, pool.pool): pool.free for pool in listed(self._world.stock.pools()) if pool.free < 0}
        owed: Counter[str] = Counter()
        for (sku, _), free in self.owed.items():
            owed[sku] -= free
        for order in self._world.ledger.accepted.values() if owed else ():
            if order.state is State.HELD and order.order_id.bytes in self._refused:
                owed.subtract(dict(order.quantities))
        for key, claim in self._world.ledger.claims.items() if owed else ():
            if key not in self._world.ledger.restocked:  # put back, sold again, and only then lost: it is done again
                owed.subtract(dict(claim.quantities))
        if +owed:
            self._trace.fail("below_zero", f"rebuilt with {self.owed}, of which nobody cancelled {dict(+owed)}")

    def _booked(self, bookings: Sequence[Booking], result: Persisted) -> None:
        """What is written under an epoch, the stock of that epoch has decided: it holds it, or knows how that ended."""
        if not self._world.stock_is_sound():
            return
        for booking in bookings:
            new = booking.reason is None and booking.key not in result.stored
            if new and not self._world.stock.remembers(booking.order_id.bytes):
                self._trace.fail("booked_unheld", f"the stock has never heard of {booking}")

    def _limit(self) -> None:
        """At no time has a buyer more of a promotion than its limit."""
        record = self._world.ledger.saved_promotions.get(PROMOTION)
        if record is None or not record.promotion.buyer_limit or not self._world.stock_is_sound():
            return
        live = {hold.order_id for hold in listed(self._world.stock.holds())}
        bought: Counter[str] = Counter()
        for order in self._world.ledger.accepted.values():
            paid = (str(order.order_id), Action.CONFIRM, order.quantities[0][0], order.pool)
            if order.promotion_id and (order.order_id.bytes in live or paid in self._world.ledger.movements):
                bought[order.buyer_id] += sum(units for _, units in order.quantities)
        if any(units > record.promotion.buyer_limit for units in bought.values()):
            self._trace.fail("buyer_limit", f"{dict(bought)}, at most {record.promotion.buyer_limit}")

    def _on_shelves(self) -> Counter[str]:
        units: Counter[str] = Counter()
        for pool in listed(self._world.stock.pools()):
            units[pool.sku] += pool.free + pool.held + pool.sold
        return +units

    def check_shelves(self) -> None:
        """Every unit received is in one account of one pool, and what is held is held by somebody."""
        stock = self._world.stock
        units: Counter[str] = Counter()
        held: dict[tuple[str, str], int] = {}
        for pool in listed(stock.pools()):
            place = (pool.sku, pool.pool)
            if pool.held < 0 or pool.sold < 0 or pool.free < min(0, self.owed.get(place, 0)):
                self._trace.fail("below_zero", f"{pool}")
            elif place in self.owed:
                self.owed[place] = pool.free
            units[pool.sku] += pool.free + pool.held + pool.sold
            if pool.held:
                held[pool.sku, pool.pool] = pool.held
        if any(units[sku] != self.received[sku] for sku in units.keys() | self.received.keys()):
            self._trace.fail("units_conserved", f"on the shelves {dict(units)}, received {dict(self.received)}")
        holds: Counter[tuple[str, str]] = Counter()
        for hold in listed(stock.holds()):
            for sku, qty in hold.quantities:
                holds[sku, hold.pool] += qty
        if holds != held:
            self._trace.fail("holds_add_up", f"held on the shelves {held}, by holds {dict(holds)}")

    def _steps_taken(self, steps: Sequence[Step], results: Sequence[StepResult]) -> None:
        """Money goes back only when the stock has said that it will not sell."""
        for step, result in zip(steps, results, strict=True):
            refund = result is StepResult.TAKEN and step.state is State.REFUND_DUE
            if result is StepResult.TAKEN and step.state is State.CANCELLED:
                self._refused.add(step.order_id.bytes)
            if refund and step.kind == ReportType.PAYMENT_SUCCEEDED and step.order_id.bytes not in self._refused:
                self._trace.fail("refunded_unasked", f"the stock never refused what this gives up: {step}")

    # --- announcements -----------------------------------------------------------------------------------------------

    def _appended(self, topic: str, _partition: int, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if topic == DECIDED.name:
                assert entry.value is not None
                self._announced(_decision(entry.value))
            elif topic == CHANGED.name:
                assert entry.value is not None
                self._changed(_change(entry.value))
            elif topic == REVIEW.name:
                self._put_aside(entry)
            elif topic in {SUBMITTED_DLQ.name, REPORTED_DLQ.name}:
                self._dead_letter(topic, entry)

    def _announced(self, decision: Decision) -> None:
        """An answer is to somebody, says what the ledger says, and was in the ledger before."""
        key = (decision.channel, decision.submission_id)
        asked = [sent for sent in self._sends.by_time.get(decision.submitted_at, ()) if sent.key == key]
        if not asked:
            self._trace.fail("announced_to_nobody", f"{decision}")
            return
        stored = self._world.ledger.decisions.get(key)
        if stored is None:
            self._trace.fail("announced_before_durable", f"{key} is not in the ledger, announced was {decision}")
            return
        for sent in asked:
            self.answers[sent.partition, sent.offset].append(decision)
        if decision.reason is Reason.CONFLICTING_REPEAT:
            self._conflict_announced(asked[0], decision)
            return
        said, meant = (decision.order_id, decision.outcome, decision.reason), stored[:1] + stored[2:4]
        if said != meant:
            self._trace.fail("announced_otherwise", f"{key}: announced {said}, the ledger has {meant}")
        first = self._sends.first[key]
        if asked[0].body != first.body:
            self._trace.fail("conflict_missed", f"{key}: another body was answered as a repeat")
        if not decision.replay and first not in asked:
            self._trace.fail("replay_mark", f"{key}: the repeat at offset {asked[0].offset} was answered as the first")
        self._shops.hear(decision)

    def _conflict_announced(self, asked: Sent, decision: Decision) -> None:
        key = (decision.channel, decision.submission_id)
        if asked.body == self._sends.first[key].body:
            self._trace.fail("false_conflict", f"{key}: a repeat of the same body was refused")
        if not any(conflict[:2] == key for conflict in self._world.ledger.conflicts):
            self._trace.fail("announced_before_durable", f"{key}: the conflict is not in the ledger")

    def _changed(self, change: OrderChanged) -> None:
        """A change is of an order, and a step that the ledger has taken."""
        if change.order_id not in self._world.ledger.accepted:
            self._trace.fail("announced_before_durable", f"{change} is of no order in the ledger")
        taken = (step for step, _ in self._world.ledger.taken.values() if step.order_id == change.order_id)
        if not any(step.kind == change.cause for step in taken):
            self._trace.fail("announced_before_durable", f"{change} is no step in the ledger")
        self.changes[change.order_id].append(change.change)

    def _dead_letter(self, topic: str, entry: Entry) -> None:
        """A dead letter is of a record that was bad, for the reason that it was bad for, byte for byte."""
        letter = read_letter(_Letter(0, entry.timestamp_ms, entry.key, entry.value, entry.headers))
        assert letter is not None
        sends = self._sends.submissions if topic == SUBMITTED_DLQ.name else self._sends.reports
        sent = sends[letter.partition, letter.offset]
        expected = sent.wrong
        if expected is None and sent.report is not None and sent.report.order_id not in self._world.ledger.accepted:
            expected = "unknown_order"
        if letter.reason != expected or entry.value != sent.value:
            self._trace.fail("dead_letter", f"{letter} for {sent}")
        self.buried[letter.topic, letter.partition, letter.offset] = letter.reason

    def _put_aside(self, entry: Entry) -> None:
        """What is put aside is a good submission, byte for byte, and says which."""
        review = read_review(_Letter(0, entry.timestamp_ms, entry.key, entry.value, entry.headers))
        assert review is not None
        sent = self._sends.submissions[review.partition, review.offset]
        if sent.wrong is not None or entry.value != sent.value:
            self._trace.fail("put_aside", f"{review} for {sent}")
        self._trace.fault("intake", "put aside", f"{review.partition}:{review.offset}")
        self.reviewed.add((review.partition, review.offset))

    # --- commits -----------------------------------------------------------------------------------------------------

    def committing(self, topic: Topic, partition: int, offset: int) -> None:
        """Everything before a committed offset is done, or put aside: nobody will read it again."""
        for at in range(topic.committed[partition], offset):
            if topic.name == SUBMITTED.name and (partition, at) in self.reviewed:
                continue
            missing = self.undone(topic, partition, at)
            if missing:
                self._trace.fail("committed_undone", f"{topic.name}[{partition}] offset {at}: {missing}")

    def undone(self, topic: Topic, partition: int, offset: int) -> str:
        """What is missing of a record's effects; empty when all is done."""
        of_submissions = topic.name == SUBMITTED.name
        sent = (self._sends.submissions if of_submissions else self._sends.reports)[partition, offset]
        if (topic.name, partition, offset) in self.buried:
            return ""
        if sent.wrong is not None:
            return f"no dead letter ({sent.wrong})"
        if sent.report is not None:
            step = (sent.report.order_id, sent.report.source, sent.report.event_id)
            return "" if step in self._world.ledger.taken else f"no step in the ledger for {sent.report}"
        assert sent.key is not None
        if sent.key not in self._world.ledger.decisions:
            return f"{sent.key} is not in the ledger"
        return "" if self.answers[sent.partition, sent.offset] else f"{sent.key} was never answered"

    def stored(self, sent: Sent) -> StoredDecision | None:
        """The ledger's decision for a submission."""
        return None if sent.key is None else self._world.ledger.decisions.get(sent.key)

    def died(self, process: str, error: BaseException | None) -> None:
        """Told when a worker has ended by itself."""
        self._trace.fail("worker_died", f"{process}: {type(error).__name__}: {error}")
