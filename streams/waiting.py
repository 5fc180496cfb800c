"""When this process last waited for a dependency that is down: standing still then is right, and nobody's fault."""

import math
from time import monotonic

_last_s = -math.inf


def note_wait() -> None:
    """Say that this process is waiting for a dependency, now."""
    global _last_s  # noqa: PLW0603 - one process, one answer
    _last_s = monotonic()


def last_wait_s() -> float:
    """When somebody last said so, by `time.monotonic`; minus infinity before the first time."""
    return _last_s
