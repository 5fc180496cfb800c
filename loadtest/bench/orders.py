"""Submissions to measure with: over 1,000 SKUs or one hot one, of one line or five, some 220 bytes a line.

Every order that one `Orders` makes is another, so that nothing measured is a repeat by accident.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.clock import SystemClock
from streams.instants import to_datetime

SKUS = 1_000
HOT_SKU = "SKU-HOT"
CHANNEL = "own-shop"
BASKET_LINES = 5
ORDERS_PER_MS = 12
_STEP = 7_919  # prime to SKUS: consecutive orders ask for SKUs that lie apart


def sku_name(number: int) -> str:
    """Name of one of the `SKUS`."""
    return f"SKU-{number % SKUS:04}"


ALL_SKUS = (HOT_SKU, *(sku_name(number) for number in range(SKUS)))


class Order(NamedTuple):
    """One submission as a storefront would produce it: key, message, and what it asks for."""

    key: bytes
    value: bytes
    units: int

    @property
    def submission_key(self) -> tuple[str, str]:
        """Channel and submission id."""
        channel, _, submission_id = self.key.decode().partition(":")
        return channel, submission_id


@dataclass(slots=True)
class Orders:
    """Makes orders, no two alike. `run` tells those of one run from those of another, `hot_sku` is what is hot.

    They are of now: older ones would be looked up in the ledger first, which fresh ones are not.
    """

    run: str
    hot_sku: str = HOT_SKU
    made: int = field(default=0)
    first_ms: int = field(default_factory=lambda: SystemClock().now_ms())

    def make(self, count: int, *, lines: int = 1, hot: bool = False, promotion_id: str | None = None) -> list[Order]:
        """So many new orders of one unit a line, each line of another SKU, or all of them of the hot SKU."""
        assert not (hot and lines > 1), "a hot order has one line"
        first, self.made = self.made, self.made + count
        return [self._order(number, lines, hot, promotion_id) for number in range(first, first + count)]

    def _order(self, number: int, lines: int, hot: bool, promotion_id: str | None) -> Order:
        submission_id = f"{self.run}-{number:09}"
        skus = [self.hot_sku] if hot else [sku_name(number * _STEP + line * 101) for line in range(lines)]
        wanted = ",".join(f'{{"sku":"{sku}","qty":1,"unit_price":{1_000 + number % 9_000}}}' for sku in skus)
        promotion = f'"promotion_id":"{promotion_id}",' if promotion_id else ""
        at = to_datetime(self.first_ms + number // ORDERS_PER_MS).isoformat(timespec="milliseconds")
        value = (
            f'{{"submission_id":"{submission_id}","channel":"{CHANNEL}","buyer_id":"buyer-{number:09}",'
            f'"channel_order_no":"{self.run}-{number:012}","currency":"EUR",{promotion}'
            f'"lines":[{wanted}],"submitted_at":"{at}"}}'
        )
        return Order(f"{CHANNEL}:{submission_id}".encode(), value.encode(), len(skus))


def spread_out(orders: Sequence[Order], partitions: int) -> list[Sequence[Order]]:
    """The orders by partition, evenly: how evenly keys hash is not what is measured."""
    return [orders[partition::partitions] for partition in range(partitions)]
