"""The retries' pauses without the retries' library, whose machinery would be a sixth of a run's time.

`streams.retry` asks stamina for attempts; in a run it gets these, which come after the same pauses.
"""

import asyncio
import random
from collections.abc import Callable
from types import TracebackType
from typing import Self

Hook = Callable[[Exception], bool | float]


class Attempt:
    """One try, as stamina gives it: an error that the hook knows is swallowed, and another attempt follows."""

    __slots__ = ("_of", "num")

    def __init__(self, num: int, of: "Attempts") -> None:
        self.num, self._of = num, of

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return isinstance(error, Exception) and self._of.failed(error)


class Attempts:
    """Attempts without end, with growing pauses between them; takes what `stamina.retry_context` is given."""

    def __init__(
        self, *, on: Hook, attempts: None, timeout: None, wait_initial: float, wait_max: float, wait_jitter: float
    ) -> None:
        assert attempts is timeout is None, "tries without a limit are all that there is here"
        self._on, self._initial_s, self._max_s, self._jitter_s = on, wait_initial, wait_max, wait_jitter
        self._num = 0
        self._pause_s = 0.0

    def failed(self, error: Exception) -> bool:
        """Whether to try again after this error; the hook may tell the pause."""
        again = self._on(error)
        if again is False:
            return False
        jitter_s = random.uniform(0, self._jitter_s)  # noqa: S311 - the run's own seed
        grown_s = min(self._max_s, self._initial_s * 2.0 ** (self._num - 1) + jitter_s)
        self._pause_s = grown_s if again is True else again
        return True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._num:
            await asyncio.sleep(self._pause_s)
        self._num += 1
        return Attempt(self._num, self)
