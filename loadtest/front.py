"""An HTTP front as a process of its own, as shipped, for the time of a block."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from infra.embedded import spawn
from infra.embedded.children import end
from streams.errors import Unavailable
from streams.settings import Settings, environment

READY_WITHIN_S = 60.0
STOP_GRACE_S = 15.0
LOOK_S = 0.02
ENOUGH_PER_S = "1000000000"


class Front(NamedTuple):
    """A front that listens on this machine."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """Where."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def front(settings: Settings, directory: Path) -> AsyncIterator[Front]:
    """Start one on a free port, without a limit of rate; its log is `front.log`. Raises `Unavailable`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    directory.mkdir(parents=True, exist_ok=True)
    ready, log_path = directory / "front.ready", directory / "front.log"
    ready.unlink(missing_ok=True)
    environ = {**os.environ, **environment(settings), "FLOODWAY_READY_FILE": str(ready)}
    environ |= {"FLOODWAY_HTTP_RATE_PER_S": ENOUGH_PER_S, "FLOODWAY_HTTP_HOST": "127.0.0.1"}
    argv = [sys.executable, "-c", "from infra.cli import main; main()", "http", "--port", str(port)]
    process = spawn(argv, log_path=log_path, env=environ)
    try:
        deadline = monotonic() + READY_WITHIN_S
        while not ready.exists():
            if process.poll() is not None or monotonic() > deadline:
                raise Unavailable(f"The front did not start. It said: {log_path.read_text(errors='replace')[-1_500:]}")
            await asyncio.sleep(LOOK_S)
        yield Front(process.pid, port)
    finally:
        await asyncio.to_thread(end, process, grace_s=STOP_GRACE_S)


async def ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    what: str,
    header: str = "",
    body: bytes = b"",
    *,
    expect: int = 200,
) -> bytes:
    """One request, `what` being method and path, and its whole answer. Raises `Unavailable` for another status."""
    head = f"{what} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n{header}\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    told = await reader.readuntil(b"\r\n\r\n")
    length = int(told.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    answer = await reader.readexactly(length)
    if int(told.split(b" ", 2)[1]) != expect:
        raise Unavailable(f"The front answered {told.splitlines()[0].decode()}: {answer[:300].decode()}")
    return answer
