"""A stack that several drills use one after another: starting and stopping servers takes longer than many a fault."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from infra.embedded import Broker, Stack

if TYPE_CHECKING:
    from loadtest.drills.drill import Drill

MOST_DRILLS = 5
"""Each reads again all that the ones before it have sent: from here on that takes longer than new servers."""


class SharedStack:
    """Lends a stack to drills that leave it as they found it, and starts another when one did not, or after a few.

    Workers are none of it: each drill has its own.
    """

    def __init__(self, data_dir: Path, *, keep: bool) -> None:
        self._data_dir, self._keep = data_dir, keep
        self._stack: Stack | None = None
        self._directory = data_dir
        self._number = 0
        self.lent_to: list[str] = []
        """Who has had the stack that is lent now, in order."""

    @contextlib.contextmanager
    def lent(self, drill: "Drill", used: Broker) -> Iterator[tuple[Stack, Path]]:
        """A stack and its directory for one drill. One in whose block anything was raised is not lent again."""
        if self._stack is None or self._stack.broker != used or len(self.lent_to) >= MOST_DRILLS:
            self.end()
            self._number += 1
            self._directory = self._data_dir / f"shared-{used}-{self._number}"
            shutil.rmtree(self._directory, ignore_errors=True)
            self._stack = Stack.start(self._directory, broker=used)
        self.lent_to.append(drill.name)
        try:
            yield self._stack, self._directory
        except BaseException:
            self.spoil()
            raise
        if len(self._stack.pids()) < len(self._stack.servers()):
            self.end()

    def spoil(self) -> None:
        """A drill failed: end the stack and keep its data."""
        self._end(keep=True)

    def end(self) -> None:
        """End the stack, if one runs. Its data go, unless they are to be kept."""
        self._end(keep=self._keep)

    def _end(self, *, keep: bool) -> None:
        stack, self._stack = self._stack, None
        self.lent_to = []
        if stack is None:
            return
        stack.stop()
        if not keep:
            shutil.rmtree(self._directory, ignore_errors=True)
