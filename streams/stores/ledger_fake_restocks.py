"""The part of the ledger in memory that keeps what is put back on the shelf; see `Ledger`."""

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from streams.core import restock
from streams.core.books import Action, Movement, OrderRecord, Position, RestockAsked, RestockClaim
from streams.core.stock import End
from streams.stores.ledger import Ledger
from streams.stores.ledger_rules import check_batch


class FakeRestocks(Ledger):
    """Claims by order and reference, and which of them are booked."""

    accepted: dict[UUID, OrderRecord]
    positions: dict[UUID, Position]
    movements: dict[tuple[str, Action, str, str], Movement]

    def __init__(self) -> None:
        super().__init__()
        self.claims: dict[tuple[UUID, str], RestockClaim] = {}
        self.restocked: set[tuple[UUID, str]] = set()

    async def positions_of(self, order_ids: Sequence[UUID]) -> dict[UUID, Position]:
        """See `Ledger`."""
        return {order_id: self.positions[order_id] for order_id in order_ids if order_id in self.positions}

    async def claim_restocks(self, asked: Sequence[RestockAsked], at: datetime) -> list[RestockClaim]:
        """See `Ledger`."""
        check_batch(len(asked), "restocks")
        sold: defaultdict[UUID, Counter[tuple[str, str]]] = defaultdict(Counter)
        wanted = {str(one.order_id): one.order_id for one in asked if one.order_id in self.accepted}
        for movement in self.movements.values():
            if movement.ref in wanted and movement.sold:
                sold[wanted[movement.ref]][movement.sku, movement.pool] += movement.sold
        new = dict(self.claims)
        for one in asked:
            if (one.order_id, one.ref) not in new and one.order_id in sold:
                known = [claim for (order_id, _), claim in new.items() if order_id == one.order_id]
                claim = restock.granted(one, +sold[one.order_id], known, at)
                if claim is not None:
                    new[one.order_id, one.ref] = claim
        self.claims = new
        return [claim for key, claim in new.items() if key[0] in sold and key not in self.restocked]

    async def open_restocks(self, before: datetime, limit: int) -> list[RestockClaim]:
        """See `Ledger`."""
        found = [c for key, c in self.claims.items() if key not in self.restocked and c.asked_at < before]
        return sorted(found, key=lambda claim: claim.asked_at)[:limit]

    async def book_restocks(self, done: Sequence[tuple[RestockClaim, End]], at: datetime, epoch: int) -> None:
        """See `Ledger`."""
        if done:
            self._fence(epoch)
        for claim, end in done:
            self.restocked.add((claim.order_id, claim.ref))
            for movement in restock.movements(claim, end, at):
                self._add(movement)

    @abstractmethod
    def _fence(self, epoch: int) -> None:
        """Raise `Fenced` unless it is the newest."""

    @abstractmethod
    def _add(self, movement: Movement) -> None:
        """Book a movement, once."""
