"""Answers kept under idempotency keys: what was asked once under a key is answered the same again, by every process.

A key is claimed before the work, and its answer kept behind it. A claim that its process did not live to fulfil ends by
itself, and so does an answer that nobody has asked for any more: what must hold for ever is held elsewhere, an order by
its submission id in the ledger.
"""

from enum import Enum, auto
from typing import NamedTuple, Protocol

FINGERPRINT_BYTES = 16
OWNER_BYTES = 8


class Claim(Enum):
    """What became of a claim: ours, answered already, in another's hands, or claimed with another request."""

    MINE = auto()
    ANSWERED = auto()
    IN_FLIGHT = auto()
    OTHER_REQUEST = auto()


class Claimed(NamedTuple):
    """The outcome of a claim, and the answer where there is one."""

    claim: Claim
    answer: bytes | None = None


class Answers(Protocol):
    """Redis, or its fake. Every outage is raised as `StockUnavailable`.

    `fingerprint` tells one request from another, `owner` one try from another; both have a fixed number of bytes.
    """

    async def claim(self, key: bytes, fingerprint: bytes, owner: bytes) -> Claimed:
        """Take a key for one try, unless it is taken or answered."""
        ...

    async def keep(self, key: bytes, fingerprint: bytes, owner: bytes, answer: bytes) -> bool:
        """Keep the answer of the try that has the key; False when it no longer has it, then nothing is kept."""
        ...

    async def forget(self, key: bytes, fingerprint: bytes, owner: bytes) -> bool:
        """Give a key back unanswered, for the next try; False when this one no longer has it."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


def in_flight(fingerprint: bytes, owner: bytes) -> bytes:
    """What stands under a key that is claimed."""
    assert len(fingerprint) == FINGERPRINT_BYTES, "a fingerprint has a fixed size"
    assert len(owner) == OWNER_BYTES, "an owner has a fixed size"
    return b"?" + fingerprint + owner


def answered(fingerprint: bytes, answer: bytes) -> bytes:
    """What stands under a key that is answered."""
    return b"=" + fingerprint + answer


def read(found: bytes | None, fingerprint: bytes) -> Claimed:
    """What a claim that found this under its key has come to."""
    if found is None:
        return Claimed(Claim.MINE)
    if found[1 : 1 + FINGERPRINT_BYTES] != fingerprint:
        return Claimed(Claim.OTHER_REQUEST)
    if found[:1] == b"=":
        return Claimed(Claim.ANSWERED, found[1 + FINGERPRINT_BYTES :])
    return Claimed(Claim.IN_FLIGHT)
