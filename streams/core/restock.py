"""Sold units that go back on the shelf: which do by themselves, which after somebody has looked, which never. Pure.

What is due follows from where an order stands, not from the order in which that was reported: a cancelled order whose
goods are still on the shelf, and each part of a return that has passed its inspection.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from uuid import UUID

from streams.core.books import Action, Movement, Position, RestockAsked, RestockClaim, State
from streams.core.standing import standing
from streams.core.stock import MAIN, End, Restock
from streams.core.vocabulary import BY_NAME, MILESTONES, WHOLE, Axis
from streams.errors import Refused

CANCELLED = "cancelled"
"""Reference of what a cancellation puts back; `return:SHIPMENT:SKU` is that of a part of a return."""


class Restocking(StrEnum):
    """What becomes of the sold units of an order that was called off."""

    AT_ONCE = "they are on the shelf: they are free again at once"
    AFTER_INSPECTION = "they are on their way or have been: free when a return is inspected, or somebody says so"
    NEVER = "they are gone: nothing is put back, a return of what turns up again is booked by hand"


RESTOCK_POLICY: Mapping[str, Restocking] = MappingProxyType(
    {
        "waiting": Restocking.AT_ONCE,
        "released": Restocking.AT_ONCE,
        "warehouse_refused": Restocking.AT_ONCE,
        "picking": Restocking.AT_ONCE,
        "packed": Restocking.AFTER_INSPECTION,
        "shipped": Restocking.AFTER_INSPECTION,
        "in_transit": Restocking.AFTER_INSPECTION,
        "ready_for_pickup": Restocking.AFTER_INSPECTION,
        "out_for_delivery": Restocking.AFTER_INSPECTION,
        "delivery_failed": Restocking.AFTER_INSPECTION,
        "lost": Restocking.NEVER,
        "sent_back": Restocking.AFTER_INSPECTION,
        "delivered": Restocking.AFTER_INSPECTION,
        "completed": Restocking.AFTER_INSPECTION,
    }
)
"""By how far the furthest part of the order has got."""

assert RESTOCK_POLICY.keys() == {m.name for m in MILESTONES if m.axis is Axis.FULFILMENT}, "every milestone has a rule"

_INSPECTED = BY_NAME["return_inspected"].code


def due(order_id: UUID, position: Position) -> list[RestockAsked]:
    """What goes back on the shelf of an order that stands there; what was sold of it, the ledger knows."""
    found: list[RestockAsked] = []
    policy = RESTOCK_POLICY[standing(position.state, position.reached).furthest.name]
    if position.state is State.REFUND_DUE and policy is Restocking.AT_ONCE:
        found.append(RestockAsked(order_id, CANCELLED))
    for (shipment, sku), codes in sorted(position.reached.items()):
        # Which lines a parcel held nobody has told: a person has to.
        if _INSPECTED in codes and policy is not Restocking.NEVER and ((shipment, sku) == WHOLE or sku):
            found.append(RestockAsked(order_id, f"return:{shipment}:{sku}", {sku: None} if sku else None))
    return found


def is_inspected(position: Position) -> bool:
    """Whether a part of it has come back and passed its inspection."""
    return any(_INSPECTED in codes for codes in position.reached.values())


def granted(
    asked: RestockAsked, sold: Mapping[tuple[str, str], int], claims: Iterable[RestockClaim], at: datetime
) -> RestockClaim | None:
    """What is put back of what was asked for: no more than was sold and nobody has claimed; None for nothing.

    `sold` is by SKU and pool. Raises `Refused` for more than that where units were named.
    """
    left = Counter[str]()
    for (sku, _), units in sold.items():
        left[sku] += units
    for claim in claims:
        left.subtract(dict(claim.quantities))
    wanted = dict.fromkeys(left) if asked.quantities is None else asked.quantities
    quantities: list[tuple[str, int]] = []
    for sku, named in sorted(wanted.items()):
        units = left[sku] if named is None else named
        if named is not None and not 0 < named <= left[sku]:
            raise Refused(
                f"Order {asked.order_id} has {max(0, left[sku])} of {sku} sold and not put back; {named} cannot be."
            )
        if units > 0:
            quantities.append((sku, units))
    if not quantities:
        return None
    pool = next(pool for (sku, pool) in sold if sku == quantities[0][0])
    return RestockClaim(asked.order_id, asked.ref, pool, tuple(quantities), at)


def as_the_stock_has_it(claim: RestockClaim) -> Restock:
    """The claim for the stock: under an id of its own, a function of order and reference."""
    name = claim.order_id.bytes + claim.ref.encode()
    return Restock(blake2b(name, digest_size=16).digest(), claim.pool, claim.quantities)


def movements(claim: RestockClaim, end: End, at: datetime) -> list[Movement]:
    """What moved, `end` being what the stock has answered."""
    ref, pool = f"{claim.order_id}:{claim.ref}", claim.pool
    target = MAIN if end is End.RESTOCKED_TO_MAIN else pool
    found = []
    for sku, qty in claim.quantities:
        if target == pool:
            found.append(Movement(ref, Action.RESTOCK, sku, pool, qty, 0, -qty, at))
        else:
            found.append(Movement(ref, Action.RESTOCK, sku, pool, 0, 0, -qty, at))
            found.append(Movement(ref, Action.RESTOCK, sku, target, qty, 0, 0, at))
    return found
