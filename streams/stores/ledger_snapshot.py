"""What a stock must remember, read from Postgres: one snapshot, cursors on the server, pages of bounded size."""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from streams.core.books import Action, Balance, PromotionState
from streams.core.decide import REASON_OF
from streams.core.identity import idempotency_key
from streams.core.memory import (
    ENDING,
    KeptDecision,
    KeptEnd,
    KeptHold,
    KeptPromotion,
    KeptRef,
    KeptUnits,
    end_of_hold,
)
from streams.core.stock import added_up
from streams.instants import to_datetime, to_ms
from streams.stores.ledger import Snapshot
from streams.stores.ledger_codes import ACTIONS, STATE_OF, VERDICTS
from streams.stores.ledger_connections import SQL as LEDGER_SQL
from streams.stores.ledger_errors import outages
from streams.stores.ledger_rows import promotion_record
from streams.stores.queries import load

if TYPE_CHECKING:
    from streams.stores.ledger_connections import Connection

T = TypeVar("T")
SQL = load("memory.sql")
PAGE = 1_000
TIMEOUT_S = 900
"""Adding up all movements may take longer than any other statement."""

_ACTION_OF = {code: action for action, code in ACTIONS.items()}
_CODE_OF = {VERDICTS[reason]: code for code, reason in REASON_OF.items()}
_ENDING = [ACTIONS[action] for action in ENDING]


class PostgresSnapshot(Snapshot):
    """See `Snapshot`. Every outage is raised as `LedgerUnavailable`."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    async def promotions(self) -> list[KeptPromotion]:
        """See `Snapshot`."""
        with outages():
            found = await self._connection.fetch(SQL["promotions"], ACTIONS[Action.SWEEP])
        return [_promotion(row) for row in found]

    def balances(self) -> AsyncIterator[list[Balance]]:
        """See `Snapshot`."""
        return self._pages(LEDGER_SQL["balances"], None, make=lambda row: Balance(*row))

    async def bought(self) -> AsyncIterator[list[KeptUnits]]:
        """See `Snapshot`."""
        limited = [p.promotion_id for p, swept in await self.promotions() if p.buyer_limit and swept is None]
        async for page in self._pages(SQL["bought"], limited, make=lambda row: KeptUnits(*row)):
            yield page

    def holds(self) -> AsyncIterator[list[KeptHold]]:
        """See `Snapshot`."""
        return self._pages(SQL["holds"], _ENDING, ACTIONS[Action.CONFIRM_LATE], make=_hold)

    def decisions(self, since_ms: int) -> AsyncIterator[list[KeptDecision]]:
        """See `Snapshot`."""
        return self._pages(SQL["decisions"], to_datetime(since_ms), make=_decision)

    def ends(self, since_ms: int) -> AsyncIterator[list[KeptEnd]]:
        """See `Snapshot`."""
        return self._pages(SQL["ends"], to_datetime(since_ms), make=_end)

    def refs(self) -> AsyncIterator[list[KeptRef]]:
        """See `Snapshot`."""
        actions = [ACTIONS[Action.RECEIVE], ACTIONS[Action.MOVE]]
        return self._pages(SQL["refs"], actions, make=lambda row: KeptRef(_ACTION_OF[row["action"]], row["ref"]))

    async def _pages(self, query: str, *args: Any, make: Callable[[asyncpg.Record], T]) -> AsyncIterator[list[T]]:
        with outages():
            cursor = await self._connection.cursor(query, *args, timeout=TIMEOUT_S)
            while rows := await cursor.fetch(PAGE, timeout=TIMEOUT_S):
                yield [make(row) for row in rows]


def _promotion(row: asyncpg.Record) -> KeptPromotion:
    record = promotion_record(row)
    swept = dict(zip(row["swept_skus"], row["swept_units"], strict=True))
    in_order = tuple((sku, swept[sku]) for sku, _ in record.promotion.quota if sku in swept)
    return KeptPromotion(record.promotion, in_order if record.state is PromotionState.CLOSED else None)


def _hold(row: asyncpg.Record) -> KeptHold:
    promotion_id = row["promotion_id"]
    late = [(Action.CONFIRM_LATE, pool, -1) for pool in row["sold_late_from"]]
    states = {STATE_OF[state] for state in row["states"]}
    return KeptHold(
        row["order_id"].bytes,
        promotion_id,
        row["buyer_id"],
        to_ms(row["decided_at"]),
        to_ms(row["held_until"]),
        tuple(added_up(zip(row["skus"], row["qtys"], strict=True)).items()),
        end_of_hold(promotion_id, late, states),
    )


def _decision(row: asyncpg.Record) -> KeptDecision:
    channel, submission_id, fingerprint, verdict, order_id, decided_at, held_until = row
    return KeptDecision(
        idempotency_key(channel, submission_id),
        fingerprint,
        _CODE_OF[verdict],
        order_id.bytes,
        to_ms(decided_at),
        0 if held_until is None else to_ms(held_until),
    )


def _end(row: asyncpg.Record) -> KeptEnd:
    actions = [_ACTION_OF[action] for action in row["actions"]]
    moved = list(zip(actions, row["pools"], row["frees"], strict=True))
    end = end_of_hold(row["promotion_id"], moved, {STATE_OF[state] for state in row["states"]})
    assert end is not None, f"movements end a hold: {row}"
    return KeptEnd(row["order_id"].bytes, end, row["promotion_id"], row["buyer_id"])
