"""What the ledger gives a stock that has lost its memory, as values, and how the end of a hold is read off the books.

Times are milliseconds since 1970, ids 16 bytes, as the stock has them.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from streams.core.books import Action, State
from streams.core.stock import MAIN, Code, End, Pool, Promotion, pool_of

ENDING = (Action.CONFIRM, Action.RELEASE, Action.EXPIRE)
"""The actions that end a hold. An order whose movements have none of them holds its units still."""


class Carried(NamedTuple):
    """What a stock says of itself. `rebuilding` is the epoch that it is being refilled under.

    `restarted` tells that its server was started anew, or promoted, since the epoch was installed or the rebuild begun.
    """

    epoch: int | None
    installation: UUID | None
    rebuilding: int | None
    restarted: bool


class KeptHold(NamedTuple):
    """An order that has not ended its hold in the books.

    `ended` is None for a live one. Else the hold had expired in the stock, unbooked, and the order has gone on without
    it: `ended` is what the stock is to remember of it, EXPIRED or what came of a late payment.
    """

    order_id: bytes
    promotion_id: str | None
    buyer_id: str
    decided_at_ms: int
    due_ms: int
    quantities: tuple[tuple[str, int], ...]
    ended: End | None


class KeptDecision(NamedTuple):
    """A decision beside its idempotency key; `held_until_ms` is 0 unless accepted."""

    key: bytes
    fingerprint: bytes
    code: Code
    order_id: bytes
    decided_at_ms: int
    held_until_ms: int


class KeptEnd(NamedTuple):
    """How an order's hold ended, and whose it was."""

    order_id: bytes
    end: End
    promotion_id: str | None
    buyer_id: str


class KeptPromotion(NamedTuple):
    """A promotion that was opened; `swept` is None until it was closed, then what went back, in the quota's order."""

    promotion: Promotion
    swept: tuple[tuple[str, int], ...] | None


class KeptUnits(NamedTuple):
    """Units of a promotion that a buyer holds or was sold from its pool."""

    promotion_id: str
    buyer_id: str
    units: int


class KeptRef(NamedTuple):
    """A command that was booked: RECEIVE or MOVE, and its reference."""

    action: Action
    ref: str


class Page(msgspec.Struct, frozen=True):
    """Something of each to refill a stock with; applied in the order of the fields."""

    promotions: Sequence[KeptPromotion] = ()
    pools: Sequence[Pool] = ()
    bought: Sequence[KeptUnits] = ()
    holds: Sequence[KeptHold] = ()
    decisions: Sequence[KeptDecision] = ()
    ends: Sequence[KeptEnd] = ()
    refs: Sequence[KeptRef] = ()


def end_of_hold(
    promotion_id: str | None, moved: Iterable[tuple[Action, str, int]], states: Collection[State]
) -> End | None:
    """How the stock had ended an order's hold; None while it lives.

    `moved` are action, pool and change of free units of its movements, `states` those it has entered. The last word is
    that of a late payment, for that comes after an expiry.
    """
    actions = {action for action, _, _ in moved}
    to_main = promotion_id is not None and any(pool == MAIN and free > 0 for _, pool, free in moved)
    if Action.CONFIRM_LATE in actions:
        own = any(action is Action.CONFIRM_LATE and pool == pool_of(promotion_id) for action, pool, _ in moved)
        return End.LATE_FROM_POOL if own else End.LATE_FROM_MAIN
    if Action.CONFIRM in actions:
        return End.CONFIRMED
    if Action.RELEASE in actions:
        return End.RELEASED_TO_MAIN if to_main else End.RELEASED
    # A refund is due on an expired order when its late payment found nothing left, unless it was cancelled first.
    if State.REFUND_DUE in states and State.CANCELLED not in states:
        return End.LATE_REFUSED
    if Action.EXPIRE in actions:
        return End.EXPIRED_TO_MAIN if to_main else End.EXPIRED
    return End.EXPIRED if states else None
