"""Names and numbers that people type, held to the rules of those on the wire. Pure."""

import re

from streams.messages import MAX_NAME, NAME

MAX_UNITS = 1_000_000_000_000
"""Units of a SKU in one command: more than anybody has, and few enough that thousands of commands add up exactly."""


def is_sku(text: str) -> bool:
    """Whether a submission could name this SKU."""
    return _is_name(text)


def is_promotion_id(text: str) -> bool:
    """Whether a submission could name this promotion."""
    return _is_name(text)


def _is_name(text: str) -> bool:
    return len(text) <= MAX_NAME and re.fullmatch(NAME, text) is not None
