"""What a week has come to, in words that are the same for twins: where orders stand, what was told of them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from streams.core.books import Position, State
from streams.core.standing import standing
from streams.core.vocabulary import Part

OF_STOCK = frozenset({"confirmed", "cancelled", "refund_due"})
"""Changes that the stock makes: a demand may be made and taken back on the way, so only its end is compared."""

_SERIES = re.compile(r"(?<=^SF|^ZT)\d+x")


class Stands(NamedTuple):
    """Where an order is: its stock, its four axes and status by name, and what each part has reached."""

    state: State
    axes: tuple[str, ...]
    reached: frozenset[tuple[Part, frozenset[int]]]


class Told(NamedTuple):
    """What was told of a series: facts, orders to be picked in the end, and how often something came twice."""

    facts: frozenset[str]
    picks: frozenset[str]
    counts: Mapping[str, int]
    repeated: int


def stands(position: Position) -> Stands:
    """Where the order is; the same for twins."""
    found = standing(position.state, position.reached)
    axes = (found.payment, found.stock, found.fulfilment, found.furthest, found.returning)
    reached = frozenset(((nameless(shipment), sku), codes) for (shipment, sku), codes in position.reached.items())
    return Stands(position.state, (*(axis.name for axis in axes), found.status.value), reached)


def told(ids: Iterable[str], numbers: Mapping[UUID, int]) -> Told:
    """Messages by their ids, in which the order's is replaced by its number; those of other orders are left out."""
    seen: set[str] = set()
    repeated = 0
    for message_id in ids:
        order_id, kind, what, *part = message_id.split(":")
        number = numbers.get(UUID(order_id))
        if number is None:
            continue
        name = ":".join((str(number), kind, what, *map(nameless, part)))
        repeated += name in seen
        seen.add(name)
    picked = {one.split(":")[0] for one in seen if one.endswith(":picklist:pick")}
    withdrawn = {one.split(":")[0] for one in seen if one.endswith(":picklist:withdraw")}
    return Told(
        frozenset(one for one in seen if is_fact(one)),
        frozenset(picked - withdrawn),
        Counter(one.split(":")[1] for one in seen),
        repeated,
    )


def is_fact(message_id: str) -> bool:
    """Whether it tells of what was reported, and not of what the stock did on the way."""
    _, kind, what, *_ = message_id.split(":")
    return kind != "picklist" and (what not in OF_STOCK or (kind, what) == ("notice", "cancelled"))


def nameless(shipment: str) -> str:
    """A parcel's number without the series."""
    return _SERIES.sub("", shipment)
