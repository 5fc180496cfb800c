"""Processes of a surge beside ours: generator and observer, which speak JSON lines on their standard output."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from streams.errors import FloodwayError
from streams.settings import Settings, environment

END_WAIT_S = 30.0


class Helper:
    """A running helper. Its standard input tells it to go on; that it closes tells it that we are gone."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def next(self) -> dict[str, Any] | None:
        """What it says next; None when it has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        return json.loads(line) if line else None

    async def ready(self) -> None:
        """Wait until it is ready. Raises `FloodwayError` when it ends before."""
        if await self.next() is None:
            raise FloodwayError(f"The {self.name} ended with {await self._process.wait()} before it was ready.")

    def tell(self, words: str) -> None:
        """Tell it to go on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n".encode())

    async def ended(self) -> None:
        """Wait until it has ended by itself. Raises `FloodwayError` when it failed."""
        code = await asyncio.wait_for(self._process.wait(), END_WAIT_S)
        if code != 0:
            raise FloodwayError(f"The {self.name} ended with {code}; what it wrote is above.")


@contextlib.asynccontextmanager
async def helper(name: str, settings: Settings, *argv: object) -> AsyncIterator[Helper]:
    """Run the module `loadtest.<name>` with these arguments and settings; it ends with the `with` block.

    Settings go by the environment: everybody on the machine may read the arguments of a process.
    """
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", f"loadtest.{name}", *map(str, argv)],
        env={**os.environ, **environment(settings)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,  # a generator's report has a count for each tenth of a second
    )
    try:
        yield Helper(name, process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await process.wait()
