"""The ids that make a repeat recognisable: order id, idempotency key, fingerprint. Pure functions of the submission."""

from hashlib import blake2b
from uuid import UUID

import msgspec

from streams.messages import Submission
from streams.uuids import uuid_of

SubmissionKey = tuple[str, str]
"""Channel and submission id."""

KEY_BYTES = 16
FINGERPRINT_BYTES = 8

_VERSION_7 = 7 << 76 | 2 << 62
"""Version and variant, in their places."""
_KEPT = (1 << 80) - 1 & ~(15 << 76 | 3 << 62)

_encode = msgspec.msgpack.Encoder().encode


def idempotency_key(channel: str, submission_id: str) -> bytes:
    """Digest of `channel:submission_id`, 16 bytes. A channel's name has no colon, so no two pairs share a text."""
    return blake2b(f"{channel}:{submission_id}".encode(), digest_size=KEY_BYTES).digest()


def order_id(key: bytes, submitted_at_ms: int) -> UUID:
    """A UUID of version 7 (RFC 9562): milliseconds of the submission, then bits of the idempotency key.

    A function of the first submission alone: a redelivery makes the same id, and ids rise with time, which keeps the
    ledger's index warm. `submitted_at_ms` is milliseconds since 1970, under 2**48.
    """
    tail = int.from_bytes(key[:10]) & _KEPT
    return uuid_of((submitted_at_ms << 80 | tail | _VERSION_7).to_bytes(16))


def fingerprint(submission: Submission) -> bytes:
    """Digest of everything a buyer meant, 8 bytes; two submissions under one key conflict when theirs differ.

    The time of submission is left out: a client that stamps each try anew still repeats the same order.
    """
    body = (
        submission.buyer_id,
        submission.lines,
        submission.currency,
        submission.channel_order_no,
        submission.promotion_id,
        submission.ship_to,
    )
    return blake2b(_encode(body), digest_size=FINGERPRINT_BYTES).digest()
