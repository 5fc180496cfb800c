"""After Postgres has failed over: the stock goes on as it is, under a new epoch.

The new primary may lack what the old one had committed last (not with synchronous replication). The stock lacks
nothing: what was promised by decisions that the ledger lost is still held there. To rebuild it from such a ledger would
sell those units again, so it is taken over, and only its epoch changes: whoever still writes to the old primary is
refused by the stock from then on. What the ledger lost is found by `floodway stock check` and `floodway verify`.
"""

import logging

from streams.agreement import compare
from streams.stores.ledger import FAILED_OVER, Ledger
from streams.stores.stock import Stock

logger = logging.getLogger(__name__)


async def adopt_stock(ledger: Ledger, stock: Stock) -> int | None:
    """The new epoch of a stock that was taken over; None when it must be rebuilt, or looked at by a person.

    Only for whoever has the right to rebuild. Raises `Fenced` when the stock was lost meanwhile.
    """
    found = await compare(ledger, stock)
    before = found.carried.epoch
    if before is None or not found.lacks_nothing or not found.failed_over:
        return None
    epoch = await ledger.issue_epoch(FAILED_OVER)
    await stock.adopt_epoch(epoch, before)
    logger.warning(
        "Postgres has failed over: the stock goes on as it is, under epoch %d instead of %d. Unless replication is "
        "synchronous, look at `floodway stock check` for what was lost with the old primary.",
        epoch,
        before,
    )
    return epoch
