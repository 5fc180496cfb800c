"""A terminal of its own for a command: its size can be changed, keys pressed, and what it shows be read."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from command import FLOODWAY

LOOK_INTERVAL_S = 0.1
ON_TERMINAL = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
"""Makes it the one that Ctrl-C and a new size are signals to, as a login does."""


@dataclass
class Terminal:
    """One end of it; the command has the other."""

    master: int
    slave: int
    process: subprocess.Popen[bytes]
    shown: bytearray = field(default_factory=bytearray)

    def resize(self, columns: int, lines: int) -> None:
        """As a person does with a window: the kernel tells the command."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self.master, keys)

    def frame(self) -> str:
        """What was drawn last, without colours."""
        self._read()
        drawn = self.shown.decode(errors="ignore").split("\x1b[H")[-1]
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r", "")

    async def until(self, words: str, *, within_s: float) -> str:
        """Wait for a frame with these words."""
        deadline = time.monotonic() + within_s
        while not re.search(words, seen := self.frame()):
            assert self.process.poll() is None, seen
            assert time.monotonic() < deadline, seen
            await asyncio.sleep(LOOK_INTERVAL_S)
        return seen

    async def ended(self, *, within_s: float) -> int:
        """Wait for the command's exit code."""
        deadline = time.monotonic() + within_s
        while (code := self.process.poll()) is None:
            assert time.monotonic() < deadline, self.frame()
            self._read()
            await asyncio.sleep(LOOK_INTERVAL_S)
        self._read()
        return code

    def _read(self) -> None:
        while True:
            try:
                self.shown += os.read(self.master, 65_536)
            except BlockingIOError:
                return


@contextmanager
def terminal(arguments: list[str], environ: Mapping[str, str], directory: Path) -> Iterator[Terminal]:
    """`floodway` on a terminal of 100 columns and 40 lines."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, FLOODWAY, *arguments],
            stdin=slave,
            env={**os.environ, **environ, "TERM": "xterm-256color"},
            cwd=directory,
        )
        try:
            yield Terminal(master, slave, process)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    finally:
        os.close(master)
        os.close(slave)
