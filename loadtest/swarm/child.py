"""A process beside one of Locust's: told things in lines, heard in a thread of its own.

Locust has gevent replace threads and pipes before it loads us, so the thread is a greenlet and waiting blocks nobody.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

END_WAIT_S = 30.0
logger = logging.getLogger("floodway")


class Child:
    """The module `name` as a process. It ends when its standard input does, and that ends with us, however we end.

    `hear` gets each thing that it says; `("gone", code)` comes when it has ended.
    """

    def __init__(
        self, name: str, argv: list[str], hear: Callable[[str, Any], object], environ: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._hear = hear
        self._process = subprocess.Popen(
            [sys.executable, "-m", name, *argv],
            env={**os.environ, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for Locust, which ends the run in order
        )
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def tell(self, words: str) -> None:
        """Tell it something; nothing happens when it is gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(words.encode() + b"\n")
            self._process.stdin.flush()

    def let_go(self) -> None:
        """Let it end, and do not wait for that. Idempotent."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def end(self) -> None:
        """Let it end, by force if it does not within half a minute. Idempotent."""
        self.let_go()
        try:
            self._process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            logger.warning("%s did not end by itself within %g s", self.name, END_WAIT_S)
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                logger.info("%s: %s", self.name, line.decode(errors="replace").rstrip())
                continue
            for what, value in said.items():
                self._hear(what, value)
        self._hear("gone", self._process.wait())
