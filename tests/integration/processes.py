"""What tests of real servers ask: is it gone, does it listen, what does it answer."""

import asyncio
import socket
import time
from collections.abc import Callable

import asyncpg

from infra.embedded import children

GONE_WITHIN_S = 8.0


def soon(holds: Callable[[], bool], within_s: float = GONE_WITHIN_S) -> bool:
    """Whether `holds` comes true within the time."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_gone(pid: int) -> bool:
    """Whether no process of that id runs; one that waits for its parent's reading counts as gone."""
    return children.started_at(pid) is None


def accepts(address: str) -> bool:
    """Whether something listens on a `host:port`."""
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def query(dsn: str, sql: str) -> object:
    """The first value that `sql` returns."""

    async def ask() -> object:
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())
