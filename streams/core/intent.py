"""A submission on its way through intake, with all that is computed from it once. Pure."""

from uuid import UUID

from msgspec import Struct

from streams.core import decode
from streams.core.identity import fingerprint, idempotency_key, order_id
from streams.core.stock import MAIN, Reservation, promo_pool
from streams.messages import Line, Submission


class Intent(Struct, frozen=True, gc=False):
    """One submission read from one record. `quantities` has each SKU once, in the order of first mention."""

    submission: Submission
    key: bytes
    fingerprint: bytes
    order_id: UUID
    order_id_bytes: bytes
    quantities: tuple[tuple[str, int], ...]
    total: int
    trace_id: str
    partition: int
    offset: int

    @property
    def submission_key(self) -> tuple[str, str]:
        """Channel and submission id."""
        return (self.submission.channel, self.submission.submission_id)

    @property
    def pool(self) -> str:
        """The only pool that this order may draw from."""
        promotion = self.submission.promotion_id
        return MAIN if promotion is None else promo_pool(promotion)

    def reservation(self) -> Reservation:
        """What the stock needs to know of it."""
        s = self.submission
        return Reservation(self.key, self.fingerprint, self.order_id_bytes, s.buyer_id, s.promotion_id, self.quantities)


def intent(submission: Submission, trace_id: str | None, partition: int, offset: int) -> Intent | decode.Undecodable:
    """Compute the ids and sums of a submission; refuse times that cannot be meant."""
    submitted_at_s = submission.submitted_at.timestamp()
    wrong = decode.instant_out_of_range(submitted_at_s, "$.submitted_at")
    if wrong is not None:
        return wrong
    key = idempotency_key(submission.channel, submission.submission_id)
    # By way of microseconds, which a float still tells apart: cut to milliseconds at once, .932 may become .931.
    new_id = order_id(key, round(submitted_at_s * 1_000_000) // 1000)
    quantities, total = add_up(submission.lines)
    # Without a trace from outside the order's own id serves: 32 hex digits that every later step can derive.
    trace = trace_id if trace_id is not None else new_id.hex
    return Intent(
        submission, key, fingerprint(submission), new_id, new_id.bytes, quantities, total, trace, partition, offset
    )


def add_up(lines: tuple[Line, ...]) -> tuple[tuple[tuple[str, int], ...], int]:
    """Units by SKU, repeated lines added up, and the total price in minor units."""
    if len(lines) == 1:
        line = lines[0]
        return ((line.sku, line.qty),), line.qty * line.unit_price
    units: dict[str, int] = {}
    total = 0
    for line in lines:
        units[line.sku] = units.get(line.sku, 0) + line.qty
        total += line.qty * line.unit_price
    return tuple(units.items()), total
