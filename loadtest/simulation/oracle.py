"""What must hold, looked at while it happens: after each call to the stock, each announcement, each commit.

It knows what the producers sent and looks into the servers, never into the pipeline.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from loadtest.simulation.kafka import Topic
from loadtest.simulation.trace import Trace
from loadtest.simulation.workload import Sent, Shops
from loadtest.simulation.world import World, listed
from streams.core.books import StoredDecision
from streams.dead_letters import read_letter
from streams.messages import Change, Decision, OrderChanged, Reason
from streams.reviews import read_review
from streams.stores.log import Entry
from streams.topics import CHANGED, DECIDED, REPORTED_DLQ, REVIEW, SUBMITTED, SUBMITTED_DLQ

_decision = msgspec.json.Decoder(Decision).decode
_change = msgspec.json.Decoder(OrderChanged).decode

_READ_ONLY = frozenset({"epoch", "promotion", "unsettled"})


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
        self._world, self._shops, self._sends, self._trace = world, shops, shops.sends, trace

    # --- calls to stores ---------------------------------------------------------------------------------------------

    def served(self, store: str, method: str, args: tuple[Any, ...], result: Any) -> None:
        """See `Watcher`."""
        if store == "stock" and method not in _READ_ONLY:
            self._stock_moved(method, args, result)
        elif method == "append":
            self._appended(*args)

    def _stock_moved(self, method: str, args: tuple[Any, ...], result: Any) -> None:
        world = self._world
        if world.stock is not world.true_stock:
            return
        if method == "receive" and result:
            for sku, units in args[2]:
                self.received[sku] += units
        self.check_shelves()

    def check_shelves(self) -> None:
        """Every unit received is in one account of one pool, and what is held is held by somebody."""
        stock = self._world.true_stock
        units: Counter[str] = Counter()
        held: dict[tuple[str, str], int] = {}
        for pool in listed(stock.pools()):
            if pool.free < 0 or pool.held < 0 or pool.sold < 0:
                self._trace.fail("below_zero", f"{pool}")
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
