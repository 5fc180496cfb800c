"""Why a submission waits under review: a header of its record, written by intake, read by who looks at the queue."""

import msgspec

from streams.chunks import Record
from streams.messages import Review
from streams.topics import REVIEW_HEADER

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Review).decode


def review_header(review: Review) -> tuple[str, bytes]:
    """The header that says so."""
    return REVIEW_HEADER, _encode(review)


def read_review(record: Record) -> Review | None:
    """Why a record of the queue waits; None for one that somebody else put there."""
    for name, value in reversed(record.headers):
        if name == REVIEW_HEADER:
            try:
                return _decode(value or b"")
            except msgspec.DecodeError:
                return None
    return None
