"""A submission on its way through intake, with all that is computed from it once. Pure."""

from uuid import UUID

from msgspec import Struct

from streams.core.decode import Undecodable, instant_out_of_range
from streams.core.identity import SubmissionKey, fingerprint, idempotency_key, order_id
from streams.core.stock import Reservation, pool_of
from streams.messages import Line, Submission


class Intent(Struct, frozen=True, gc=False):
    """One submission read from one record, with what the stock needs of it and where it was read.

    `submitted_at_us` is microseconds since 1970.
    """

    submission: Submission
    submission_key: SubmissionKey
    submitted_at_us: int
    reservation: Reservation
    order_id: UUID
    total: int
    trace_id: str
    partition: int
    offset: int

    @property
    def fingerprint(self) -> bytes:
        """Digest of what the buyer meant."""
        return self.reservation.fingerprint

    @property
    def quantities(self) -> tuple[tuple[str, int], ...]:
        """Each SKU once, in the order of first mention."""
        return self.reservation.quantities

    @property
    def pool(self) -> str:
        """The only pool that this order may draw from."""
        return pool_of(self.submission.promotion_id)


def intent(submission: Submission, trace_id: str | None, partition: int, offset: int) -> Intent | Undecodable:
    """Compute the ids and sums of a submission; refuse times that cannot be meant."""
    submitted_at_s = submission.submitted_at.timestamp()
    wrong = instant_out_of_range(submitted_at_s, "$.submitted_at")
    if wrong is not None:
        return wrong
    channel, submission_id = submission_key = (submission.channel, submission.submission_id)
    key = idempotency_key(channel, submission_id)
    # By way of microseconds, which a float still tells apart: cut to milliseconds at once, .932 may become .931.
    submitted_at_us = round(submitted_at_s * 1_000_000)
    new_id = order_id(key, submitted_at_us // 1000)
    quantities, total = add_up(submission.lines)
    print_ = fingerprint(submission)
    # Without a trace from outside the order's own id serves: 32 hex digits that every later step can derive.
    trace = trace_id if trace_id is not None else new_id.hex
    promotion_id = submission.promotion_id
    reservation = Reservation(key, print_, new_id.bytes, submission.buyer_id, promotion_id, quantities)
    return Intent(submission, submission_key, submitted_at_us, reservation, new_id, total, trace, partition, offset)


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
