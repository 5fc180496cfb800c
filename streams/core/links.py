"""Links to one order: a token that anybody may hold, good for that order's timeline alone, until its day. Pure.

A token is the order's id, the day's second and a keyed digest of both (HMAC-SHA256, 144 bits of it): nothing has to be
stored, nobody who has not the key can make one, and with another key all that were made are void.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID

PREFIX = "fwl_"
LEAST_KEY = 32
"""Characters of a key: 16 random bytes in hex."""
_ID, _UNTIL, _DIGEST = 16, 5, 18
_SIZE = _ID + _UNTIL + _DIGEST
LATEST_S = 256**_UNTIL - 1

assert _SIZE % 3 == 0, "no padding at the end of an address"


def make_link(key: str, order_id: UUID, until_s: int) -> str:
    """The token for this order until that second since 1970."""
    assert 0 < until_s <= LATEST_S, f"{until_s} is no second"
    said = order_id.bytes + until_s.to_bytes(_UNTIL)
    return PREFIX + urlsafe_b64encode(said + _digest(key, said)).decode()


def read_link(keys: Sequence[str], token: str) -> tuple[UUID, int] | None:
    """The order, and until when; None for what none of the keys has made."""
    try:
        held = urlsafe_b64decode(token.removeprefix(PREFIX).encode("ascii"))
    except (Error, ValueError):
        return None
    if not token.startswith(PREFIX) or len(held) != _SIZE:
        return None
    said, digest = held[:-_DIGEST], held[-_DIGEST:]
    known = [hmac.compare_digest(_digest(key, said), digest) for key in keys]
    return (UUID(bytes=said[:_ID]), int.from_bytes(said[_ID:])) if any(known) else None


def _digest(key: str, said: bytes) -> bytes:
    return hmac.digest(key.encode(), b"floodway link 1\0" + said, sha256)[:_DIGEST]
