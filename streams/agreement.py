"""Whether the stock may be used: here, and nowhere else, ledger and stock are compared.

Each call to either names its epoch and is refused under another. What such a call cannot notice is looked at when an
epoch is learnt, before it is gone by: that the stock is another installation's, whose epoch may happen to be the same,
and that the books have moved to another server.
"""

from typing import NamedTuple
from uuid import UUID

from streams.core.memory import Carried
from streams.errors import Fenced
from streams.stores.ledger import Ledger
from streams.stores.ledger_rules import past
from streams.stores.stock import Stock
from streams.stores.stock_checks import fenced


class Agreement(NamedTuple):
    """What both say. `failed_over` is whether the books have moved since the epoch that the stock carries."""

    issued: int | None
    installation: UUID | None
    carried: Carried
    failed_over: bool

    @property
    def is_foreign(self) -> bool:
        """Whether the stock is that of other books; one that nobody has signed yet is not."""
        return self.carried.installation not in (None, self.installation)

    @property
    def lacks_nothing(self) -> bool:
        """Whether the stock is ours and whole, under whatever epoch."""
        return self.carried.epoch is not None and not self.carried.restarted and not self.is_foreign

    @property
    def epoch(self) -> int | None:
        """The epoch under which the stock can be asked; None when it has to be rebuilt, or taken over, first."""
        agreed = self.lacks_nothing and self.carried.epoch == self.issued and not self.failed_over
        return self.issued if agreed else None

    def disagreement(self) -> Fenced:
        """The error that tells why there is no such epoch."""
        carried = self.carried.epoch
        why = "foreign" if self.is_foreign else "restarted" if carried == self.issued else ""
        return fenced(carried, self.issued or 0, why)


async def compare(ledger: Ledger, stock: Stock) -> Agreement:
    """Ask both. Raises `Unavailable`."""
    issued, carried = await ledger.epoch(), await stock.carried()
    installation = None if carried.installation is None else await ledger.installation()
    moved = carried.epoch is not None and await ledger.failed_over_since(carried.epoch)
    return Agreement(issued, installation, carried, moved)


async def is_foreign(ledger: Ledger, stock: Stock) -> bool:
    """`Agreement.is_foreign`, for who only wants to know that."""
    carried = await stock.carried()
    return carried.installation is not None and carried.installation != await ledger.installation()


async def agreed_epoch(ledger: Ledger, stock: Stock) -> int | None:
    """The epoch under which the stock can be asked; None when it has to be rebuilt, or taken over, first."""
    return (await compare(ledger, stock)).epoch


async def check_newest(ledger: Ledger, epoch: int) -> None:
    """Raise `Fenced` under a past epoch: a stock of that may live on, cut off, and know nothing of later orders.

    Also where the books have moved, and nobody has taken the stock over yet: who writes nothing would not notice.
    """
    newest = await ledger.epoch()
    if newest != epoch:
        raise past(epoch, newest)
    if await ledger.failed_over_since(epoch):
        raise Fenced(f"Postgres has failed over since epoch {epoch}; the stock must be taken over under a new one.")
