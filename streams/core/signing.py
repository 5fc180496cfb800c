"""Signatures of webhooks as Standard Webhooks has them (standardwebhooks.com): any library for it checks ours. Pure."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from streams.core.sinks import SECRET_PREFIX

TOLERANCE_S = 300
"""How old, or how far in the future, a message may be to who receives it."""


def webhook_id(delivery_id: str) -> str:
    """The id that receivers dedupe by: the same for the same message, and fit for a header."""
    return f"msg_{hashlib.sha256(delivery_id.encode()).hexdigest()[:32]}"


def signed_headers(message_id: str, body: bytes, secrets: Sequence[bytes], now_s: int) -> dict[str, str]:
    """The three headers; one signature for each secret."""
    signatures = [f"v1,{_signature(message_id, now_s, body, secret)}" for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join(signatures),
    }


def is_signed(headers: Mapping[str, str], body: bytes, secret: str, now_s: int) -> bool:
    """Whether a message is from who has the secret (`whsec_…`), and of now; what receivers check."""
    try:
        at_s = int(headers["webhook-timestamp"])
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        given = headers["webhook-signature"].split()
        message_id = headers["webhook-id"]
    except (KeyError, ValueError):
        return False
    wanted = f"v1,{_signature(message_id, at_s, body, key)}".encode()
    return abs(now_s - at_s) <= TOLERANCE_S and any(hmac.compare_digest(one.encode(), wanted) for one in given)


def _signature(message_id: str, at_s: int, body: bytes, secret: bytes) -> str:
    digest = hmac.new(secret, f"{message_id}.{at_s}.".encode() + body, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
