"""Before reserve: what Redis may have forgotten is looked up in the ledger, so that it is not asked to decide it anew.

Redis remembers a decision for a retention. The same record read after that (sent again byte for byte, or left in Kafka
by an outage) would take a second hold, under the order id that the first one had, which payments may still be about.
A repeat that was stamped anew is another order to Redis, and reserve asks for it all the same.
"""

from streams.clock import Clock
from streams.intake.batch import Batch
from streams.stores.ledger import Ledger

FRESH_SHARE = 0.5
"""Of a retention: what was submitted longer ago, or so far ahead, is looked up. The rest is for clients' clocks."""


async def recall(batch: Batch, ledger: Ledger, clock: Clock, *, retention_s: float) -> None:
    """Fill in `decided`. One look-up a batch, for the old alone: nothing for a batch of orders that are fresh."""
    now_us, fresh_us = clock.now_ms() * 1_000, retention_s * FRESH_SHARE * 1_000_000
    earliest_us, latest_us = now_us - fresh_us, now_us + fresh_us
    old = {i.submission_key for i in batch.intents if not earliest_us <= i.submitted_at_us <= latest_us}
    batch.decided = await ledger.lookup(list(old)) if old else {}
