"""The part of the ledger on PostgreSQL that keeps what is put back on the shelf; see `Ledger`."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from streams.core import restock
from streams.core.books import Position, RestockAsked, RestockClaim, State
from streams.core.stock import End
from streams.stores import ledger_rows as rows
from streams.stores import ledger_statements as statements
from streams.stores.ledger import Ledger
from streams.stores.ledger_connections import SQL, replicated, under_epoch
from streams.stores.ledger_errors import outages
from streams.stores.ledger_rules import check_batch

if TYPE_CHECKING:
    from streams.stores.ledger_connections import Connection

_NEW = Position(State.HELD, {}, 0)


class PostgresRestocks(Ledger):
    """Every outage is raised as `LedgerUnavailable`."""

    @abstractmethod
    def _connection(self) -> "AbstractAsyncContextManager[Connection]":
        """A connection to the primary."""

    async def positions_of(self, order_ids: Sequence[UUID]) -> dict[UUID, Position]:
        """See `Ledger`."""
        check_batch(len(order_ids), "orders")
        if not order_ids:
            return {}
        with outages():
            async with self._connection() as connection:
                found = dict.fromkeys(await statements.find_orders(connection, order_ids), _NEW)
                for row in await connection.fetch(SQL["positions"], list(found)):
                    found[row["order_id"]] = rows.position(row)
                return found

    async def claim_restocks(self, asked: Sequence[RestockAsked], at: datetime) -> list[RestockClaim]:
        """See `Ledger`. Orders are locked first, so that claims of one order are made one after the other."""
        check_batch(len(asked), "restocks")
        if not asked:
            return []
        with outages():
            async with self._connection() as connection, replicated(connection):
                ids = list({one.order_id for one in asked})
                locked = [row["order_id"] for row in await connection.fetch(SQL["lock_orders"], ids)]
                sold: defaultdict[UUID, dict[tuple[str, str], int]] = defaultdict(dict)
                for row in await connection.fetch(SQL["sold_units"], locked):
                    sold[row["order_id"]][row["sku"], row["pool"]] = row["units"]
                known: dict[tuple[UUID, str], RestockClaim] = {}
                done: set[tuple[UUID, str]] = set()
                for row in await connection.fetch(SQL["restocks_of"], locked):
                    claim = _claim(row)
                    known[claim.order_id, claim.ref] = claim
                    if row["done_at"] is not None:
                        done.add((claim.order_id, claim.ref))
                for one in asked:
                    if (one.order_id, one.ref) in known or one.order_id not in sold:
                        continue
                    mine = [claim for (order_id, _), claim in known.items() if order_id == one.order_id]
                    new = restock.granted(one, sold[one.order_id], mine, at)
                    if new is not None:
                        known[one.order_id, one.ref] = new
                        await connection.execute(SQL["add_restock"], *_row(new))
                return [claim for key, claim in known.items() if key not in done]

    async def open_restocks(self, before: datetime, limit: int) -> list[RestockClaim]:
        """See `Ledger`."""
        with outages():
            async with self._connection() as connection:
                return [_claim(row) for row in await connection.fetch(SQL["open_restocks"], before, limit)]

    async def book_restocks(self, done: Sequence[tuple[RestockClaim, End]], at: datetime, epoch: int) -> None:
        """See `Ledger`."""
        check_batch(len(done), "restocks")
        if not done:
            return
        moved = [movement for claim, end in done for movement in restock.movements(claim, end, at)]
        with outages():
            async with self._connection() as connection, under_epoch(connection, epoch):
                keys = [claim.order_id for claim, _ in done], [claim.ref for claim, _ in done]
                await connection.execute(SQL["restocks_done"], *keys, at)
                await statements.add_command_movements(connection, moved)


def _claim(row: asyncpg.Record) -> RestockClaim:
    quantities = tuple(zip(row["skus"], row["qtys"], strict=True))
    return RestockClaim(row["order_id"], row["ref"], row["pool"], quantities, row["asked_at"])


def _row(claim: RestockClaim) -> tuple[object, ...]:
    skus, qtys = zip(*claim.quantities, strict=True)
    return claim.asked_at, claim.order_id, claim.ref, claim.pool, list(skus), list(qtys)
