"""Names and numbers that people type, held to the rules of those on the wire. Pure."""

import msgspec

from streams.messages import PromotionId, Sku

MAX_UNITS = 1_000_000_000_000
"""Units of a SKU in one command: more than anybody has, and few enough that thousands of commands add up exactly."""


def is_sku(text: str) -> bool:
    """Whether a submission could name this SKU."""
    return _fits(text, Sku)


def is_promotion_id(text: str) -> bool:
    """Whether a submission could name this promotion."""
    return _fits(text, PromotionId)


def _fits(text: str, kind: object) -> bool:
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return True
