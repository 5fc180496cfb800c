"""The small numbers that the ledger's tables keep in place of words; the table `codes` says the same in SQL.

Codes are stored for ever: add new ones at the end with a migration, never change one.
"""

from types import MappingProxyType

from streams.core.books import Action, State
from streams.messages import Outcome, Reason

ACCEPTED = 0
VERDICTS = MappingProxyType(
    {
        None: ACCEPTED,
        Reason.OUT_OF_STOCK: 1,
        Reason.UNKNOWN_SKU: 2,
        Reason.UNKNOWN_PROMOTION: 3,
        Reason.PROMOTION_NOT_OPEN: 4,
        Reason.PROMOTION_CLOSED: 5,
        Reason.NOT_IN_PROMOTION: 6,
        Reason.BUYER_LIMIT: 7,
        Reason.CONFLICTING_REPEAT: 8,
    }
)
"""A decision's outcome and reason in one number: accepted has no reason, a rejection always has one."""

STATES = MappingProxyType(
    {State.HELD: 0, State.CONFIRMED: 1, State.CANCELLED: 2, State.EXPIRED: 3, State.REFUND_DUE: 4}
)
ACTIONS = MappingProxyType(
    {
        Action.RECEIVE: 0,
        Action.HOLD: 1,
        Action.CONFIRM: 2,
        Action.RELEASE: 3,
        Action.EXPIRE: 4,
        Action.CONFIRM_LATE: 5,
        Action.MOVE: 6,
        Action.OPEN: 7,
        Action.SWEEP: 8,
        Action.RESTOCK: 9,
    }
)

REASON_OF = {code: reason for reason, code in VERDICTS.items()}
STATE_OF = {code: state for state, code in STATES.items()}

assert len(VERDICTS) == len(Reason) + 1, "every reason needs a code"
assert len(STATES) == len(State), "every state needs a code"
assert len(ACTIONS) == len(Action), "every action needs a code"


def outcome_of(verdict: int) -> tuple[Outcome, Reason | None]:
    """The outcome and reason behind a stored verdict."""
    reason = REASON_OF[verdict]
    return (Outcome.ACCEPTED, None) if reason is None else (Outcome.REJECTED, reason)
