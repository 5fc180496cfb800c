"""A submission on its way through intake, with all that is computed from it once. Pure."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from streams.core.decode import Undecodable, instant_out_of_range
from streams.core.identity import SubmissionKey, fingerprint, idempotency_key, order_id
from streams.core.stock import Reservation, added_up, pool_of
from streams.messages import Line, ShipTo, Submission

Asked = tuple[str, int]
"""SKU and units of a line."""


class Intent(Struct, frozen=True, gc=False):
    """One submission read from one record, with what the stock needs of it and where it was read.

    `asked` and `unit_prices` are its lines, in their order. The submission itself is not kept: thousands wait between
    two stages, and to read so many small objects again from memory costs more than all else that is done with them.
    `submitted_at_us` is microseconds since 1970.
    """

    submission_key: SubmissionKey
    submitted_at: datetime
    submitted_at_us: int
    currency: str
    channel_order_no: str | None
    ship_to: ShipTo | None
    asked: tuple[Asked, ...]
    unit_prices: tuple[int, ...]
    reservation: Reservation
    order_id: UUID
    total: int
    trace_id: str
    partition: int
    offset: int

    @property
    def submission(self) -> Submission:
        """The submission as it was read, made anew."""
        (channel, submission_id), asked = self.submission_key, self.reservation
        return Submission(
            submission_id,
            channel,
            asked.buyer_id,
            tuple([Line(*line, price) for line, price in zip(self.asked, self.unit_prices, strict=True)]),
            self.currency,
            self.submitted_at,
            self.channel_order_no,
            asked.promotion_id,
            self.ship_to,
        )

    @property
    def fingerprint(self) -> bytes:
        """Digest of what the buyer meant."""
        return self.reservation.fingerprint

    @property
    def quantities(self) -> tuple[Asked, ...]:
        """Each SKU once, in the order of first mention."""
        return self.reservation.quantities

    @property
    def pool(self) -> str:
        """The only pool that this order may draw from."""
        return pool_of(self.reservation.promotion_id)


def intent(submission: Submission, trace_id: str | None, partition: int, offset: int) -> Intent | Undecodable:
    """Compute the ids and sums of a submission; refuse times that cannot be meant."""
    submitted_at = submission.submitted_at
    submitted_at_s = submitted_at.timestamp()
    wrong = instant_out_of_range(submitted_at_s, "$.submitted_at")
    if wrong is not None:
        return wrong
    channel, submission_id = submission_key = (submission.channel, submission.submission_id)
    key = idempotency_key(channel, submission_id)
    # By way of microseconds, which a float still tells apart: cut to milliseconds at once, .932 may become .931.
    submitted_at_us = round(submitted_at_s * 1_000_000)
    new_id = order_id(key, submitted_at_us // 1000)
    lines = submission.lines
    asked = tuple([(line.sku, line.qty) for line in lines])
    reservation = Reservation(
        key, fingerprint(submission), new_id.bytes, submission.buyer_id, submission.promotion_id, once_each(asked)
    )
    return Intent(
        submission_key,
        submitted_at,
        submitted_at_us,
        submission.currency,
        submission.channel_order_no,
        submission.ship_to,
        asked,
        tuple([line.unit_price for line in lines]),
        reservation,
        new_id,
        sum([line.qty * line.unit_price for line in lines]),
        # Without a trace from outside the order's own id serves: 32 hex digits that every later step can derive.
        trace_id if trace_id is not None else new_id.hex,
        partition,
        offset,
    )


def once_each(asked: tuple[Asked, ...]) -> tuple[Asked, ...]:
    """Units by SKU, repeated SKUs added up; what was given, where none repeats."""
    if len(asked) == 1 or len(dict(asked)) == len(asked):
        return asked
    return tuple(added_up(asked).items())
