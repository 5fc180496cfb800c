"""The smallest input that still does what a finding did: parts are cut out for as long as that goes on."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T", bytes, str, tuple[str, ...], tuple[tuple[str, bytes | None], ...])

TRIES = 800


def smallest(found: T, still: Callable[[T], bool], *, tries: int = TRIES) -> T:
    """Cut halves, quarters and so on down to single elements out of a sequence while `still` says yes."""
    size = max(1, len(found) // 2)
    while tries > 0:
        at, cut = 0, False
        while at < len(found) and tries > 0:
            shorter = found[:at] + found[at + size :]
            tries -= 1
            if still(shorter):
                found, cut = shorter, True
            else:
                at += size
        if size == 1 and not cut:
            break
        size = max(1, size // 2) if not cut else size
    return found
