"""The stages of an order: when each began, when it should end, when it did, and who owns it. Pure.

A stage ends with a milestone. One that no source reports is passed over: its share of the time goes to the stage after
it. What parcels do apart is a stage of each parcel. What is expected is data, so that other figures, learned ones too,
can be put in its place.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from msgspec import Struct

from streams.core.books import OrderRecord, State, StepRecord
from streams.core.standing import Status
from streams.core.vocabulary import BY_CODE, BY_NAME, WHOLE, Axis, Part

NEXT: Mapping[Status, tuple[str, str]] = MappingProxyType(
    {
        Status.AWAITING_PAYMENT: ("the buyer", "a payment"),
        Status.PAYMENT_PENDING: ("the payment system", "the outcome of a payment"),
        Status.PAID: ("the warehouse", "picking; its list is out"),
        Status.PROCESSING: ("the warehouse", "handing the goods to the carrier"),
        Status.PARTLY_SHIPPED: ("the warehouse", "the parcels that are not on their way"),
        Status.SHIPPED: ("the carrier", "delivery"),
        Status.OUT_FOR_DELIVERY: ("the carrier", "the signature"),
        Status.PARTLY_DELIVERED: ("the carrier", "the parcels that are still on their way"),
        Status.DELIVERY_PROBLEM: ("the carrier", "a second try, or the goods back"),
        Status.DELIVERED: ("the buyer", "confirmation, or time"),
        Status.REFUND_DUE: ("finance", "the refund"),
        Status.RETURNING: ("after-sales", "the goods, their inspection and the refund"),
    }
)
"""Who has to act next, and what is waited for; where nothing stands, the order is at its end."""


class Rule(NamedTuple):
    """A stage, the milestones that end it, who owns it, and how many hours it should take; 0 is until a hold ends."""

    name: str
    ends: tuple[str, ...]
    owner: str
    expected_h: float


WAY: tuple[Rule, ...] = (
    Rule("payment", ("paid",), "the buyer", 0.0),
    Rule("acceptance", ("released",), "the warehouse", 2.0),
    Rule("queue", ("picking",), "the warehouse", 4.0),
    Rule("picking", ("packed",), "the warehouse", 4.0),
    Rule("handover", ("shipped",), "the warehouse", 12.0),
    Rule("transit", ("out_for_delivery", "ready_for_pickup"), "the carrier", 72.0),
    Rule("delivery", ("delivered",), "the carrier", 12.0),
    Rule("confirmation", ("completed",), "the buyer", 360.0),
)
"""The way of an order from its decision on, in order."""
INTAKE = Rule("intake", (), "Floodway", 1 / 60)
REFUND = Rule("refund", ("refunded",), "finance", 72.0)
RETURN = Rule("return", ("return_closed", "return_rejected", "return_withdrawn"), "after-sales", 57.6)
"""What may come beside the way. 57.6 hours are 2.4 days."""

BY_PARCEL = frozenset({"handover", "transit", "delivery"})
EXPECTED_H: Mapping[str, float] = MappingProxyType({r.name: r.expected_h for r in (INTAKE, *WAY, REFUND, RETURN)})
"""Hours by stage, as long as nobody knows better."""

_PROBLEMS = frozenset({"lost", "sent_back"})
"""Further by rank than where the parcel was lost: they end no stage."""


class Stage(Struct, frozen=True, omit_defaults=True):
    """A stage that was begun. Without `ended_at` it goes on; past `due_at` it is late. Times are the sources' own.

    `broken_off`: the order came to another end before. `shipment` is there where parcels go apart.
    """

    name: str
    owner: str
    began_at: datetime
    due_at: datetime
    ended_at: datetime | None = None
    shipment: str | None = None
    broken_off: bool = False

    def late_s(self, now: datetime) -> float:
        """Seconds past its time, at its end or now; 0 for one that is or was not late, or came to no end."""
        if self.broken_off:
            return 0.0
        return max(0.0, ((self.ended_at or now) - self.due_at).total_seconds())


Firsts = Mapping[Part, Mapping[int, datetime]]
"""When each part first reached each milestone, by code, by its source's clock."""


def first_times(steps: Iterable[StepRecord]) -> Firsts:
    """When what was first reached."""
    found: dict[Part, dict[int, datetime]] = {}
    for step in steps:
        if step.milestone is not None:
            mine = found.setdefault(step.part, {})
            mine[step.milestone] = min(mine.get(step.milestone, step.occurred_at), step.occurred_at)
    return found


def parcels(firsts: Firsts) -> tuple[str, ...]:
    """Numbers of the shipments that were heard of, in the order in which they were."""
    began: dict[str, datetime] = {}
    for (shipment, _), times in firsts.items():
        if shipment:
            began[shipment] = min([*times.values(), *([began[shipment]] if shipment in began else [])])
    return tuple(sorted(began, key=lambda number: (began[number], number)))


def stages(order: OrderRecord, firsts: Firsts, expected_h: Mapping[str, float] = EXPECTED_H) -> tuple[Stage, ...]:
    """Every stage that an order has begun, in order; those of parcels side by side behind what they share."""
    made = _Making(order, expected_h, _stopped_at(order, firsts))
    whole = firsts.get(WHOLE, {})
    numbers = parcels(firsts)
    ways = [_times(whole, _of_parcel(firsts, number)) for number in numbers] or [_times(whole, {})]
    shared = _last_of(ways)
    found = [made.stage(INTAKE, order.submitted_at, order.decided_at, expected_h[INTAKE.name])]
    on_way = list(made.way(shared, None))
    found += [stage for stage in on_way if stage.name not in BY_PARCEL and stage.name != "confirmation"]
    for number, times in zip(numbers, ways, strict=False):
        found += [s for s in made.way(times, number if len(numbers) > 1 else None) if s.name in BY_PARCEL]
    if not numbers:
        found += [stage for stage in on_way if stage.name in BY_PARCEL]
    found += [stage for stage in on_way if stage.name == "confirmation"]
    return (*found, *made.aside(firsts))


class _Making:
    """Makes the stages of one order. What is under way when the order stops is broken off there."""

    def __init__(self, order: OrderRecord, expected_h: Mapping[str, float], stopped_at: datetime | None) -> None:
        self._order, self._expected_h, self._stopped_at = order, expected_h, stopped_at

    def stage(
        self, rule: Rule, began: datetime, ended: datetime | None, hours: float, shipment: str | None = None
    ) -> Stage:
        """One stage. It never ends before it began, whatever two clocks say."""
        due = self._order.held_until if rule.name == "payment" else began + timedelta(hours=hours)
        broken_off = ended is None and self._stopped_at is not None
        end = self._stopped_at if broken_off else ended
        return Stage(rule.name, rule.owner, began, due, end and max(began, end), shipment, broken_off)

    def way(self, times: "Mapping[str, datetime | None]", shipment: str | None) -> Iterator[Stage]:
        """The stages that a parcel, or all of them, went through, and the one that goes on."""
        at, hours = self._order.decided_at, 0.0
        for rule in WAY:
            hours += self._expected_h[rule.name]
            if rule.name not in times:
                yield self.stage(rule, at, None, hours, shipment)
                return
            ended = times[rule.name]
            if ended is not None:
                yield self.stage(rule, at, ended, hours, shipment)
                at, hours = max(at, ended), 0.0

    def aside(self, firsts: Firsts) -> Iterator[Stage]:
        """A refund, a return."""
        everything = [one for times in firsts.values() for one in times.items()]
        for rule, axis, least in (
            (REFUND, Axis.PAYMENT, BY_NAME["refund_due"]),
            (RETURN, Axis.RETURN, BY_NAME["kept"]),
        ):
            mine = [at for code, at in everything if BY_CODE[code].axis is axis and BY_CODE[code].rank > least.rank]
            if rule is REFUND and self._order.state is State.REFUND_DUE:
                mine.append(self._order.changed_at)
            if mine:
                ends = [at for code, at in everything if BY_CODE[code].name in rule.ends]
                began, ended = min(mine), min(ends, default=None)
                due = began + timedelta(hours=self._expected_h[rule.name])
                yield Stage(rule.name, rule.owner, began, due, ended and max(began, ended))


def _of_parcel(firsts: Firsts, number: str) -> Mapping[int, datetime]:
    """When a parcel reached what it reached, told of it or of all lines in it that are known."""
    lines = [times for (shipment, sku), times in firsts.items() if shipment == number and sku]
    found = {
        code: max(times[code] for times in lines)
        for code in {code for times in lines for code in times}
        if all(code in times for times in lines)
    }
    return {**found, **firsts.get((number, ""), {})}


def _times(whole: Mapping[int, datetime], own: Mapping[int, datetime]) -> "dict[str, datetime | None]":
    """By stage that is over, when it ended; None for one that was passed over. What goes on is not in it."""
    reached = {BY_CODE[code]: at for code, at in [*whole.items(), *own.items()]}
    furthest = max([m.rank for m in reached if m.axis is Axis.FULFILMENT and m.name not in _PROBLEMS], default=-1)
    found: dict[str, datetime | None] = {}
    for rule in WAY:
        ended = [at for milestone, at in reached.items() if milestone.name in rule.ends]
        # Whatever the warehouse does shows that it was paid.
        least = 1 if rule.name == "payment" else BY_NAME[rule.ends[0]].rank
        if not ended and furthest < least:
            break
        found[rule.name] = min(ended, default=None)
    return found


def _last_of(ways: "Sequence[Mapping[str, datetime | None]]") -> "dict[str, datetime | None]":
    """What is over for all of them, and when it was for the last."""
    found: dict[str, datetime | None] = {}
    for rule in WAY:
        if not all(rule.name in times for times in ways):
            break
        found[rule.name] = max([at for times in ways if (at := times[rule.name]) is not None], default=None)
    return found


def _stopped_at(order: OrderRecord, firsts: Firsts) -> datetime | None:
    """When the order left its way: cancelled, expired, to be paid back, or on its way back; None while it is on it."""
    stops = [order.changed_at] if order.state in {State.CANCELLED, State.EXPIRED, State.REFUND_DUE} else []
    for times in firsts.values():
        stops += [at for code, at in times.items() if BY_CODE[code].axis is Axis.RETURN]
        stops += [at for code, at in times.items() if BY_CODE[code].name == "refunded"]
    return min(stops, default=None)
