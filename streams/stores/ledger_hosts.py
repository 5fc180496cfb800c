"""Finds the primary among the hosts that a DSN names, and never goes back to one that was replaced.

asyncpg tries the hosts of a DSN one after the other and takes the first that fits. That is not enough: a machine that
went without a word uses up the time of all, and an old primary that was started again says that it takes writes. Here
all are asked at once, and of those that take writes the one of the highest timeline is taken: each promotion begins a
new one. A process that has seen a timeline takes none below it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from streams.stores.queries import load

if TYPE_CHECKING:  # generic for the type checker only
    Connection = asyncpg.Connection[asyncpg.Record]
    Connect = Callable[..., Coroutine[Any, Any, Connection]]
    Asked = asyncio.Task[tuple[int, Connection]]

SQL = load("ledger.sql")
OTHERS_S = 0.5
"""When one was found that takes writes, the others get so long to say that they are newer."""
STANDBY = 0
"""In place of a timeline."""


class OldPrimary(ConnectionRefusedError):
    """A server takes writes, and was replaced by one that was promoted."""


def single_hosts(dsn: str) -> list[str]:
    """A DSN for each host of `…user:password@one:5432,two:5432/…`; a DSN of another form as it is."""
    try:
        parts = urlsplit(dsn)
    except ValueError:  # asyncpg tells what is wrong with it
        return [dsn]
    user, at, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]


class Hosts:
    """The servers of one DSN; `connect` is what a pool connects by. A DSN of one host is left to asyncpg."""

    def __init__(self, dsn: str) -> None:
        self._dsns = single_hosts(dsn)
        self._timeline = STANDBY

    async def connect(self, dsn: str, **options: Any) -> "Connection":
        """A connection to the primary. Raises what asyncpg does, and `OSError` when no host is the primary."""
        if len(self._dsns) == 1:
            return await asyncpg.connect(dsn, **options)
        asked = [asyncio.create_task(_ask(one, options)) for one in self._dsns]
        chosen = None
        try:
            await _answered(asked)
            chosen = self._choose([task for task in asked if task.done()])
        finally:
            for answer in await _ended(asked):
                if answer is not chosen:
                    answer.terminate()
        return chosen

    def _choose(self, asked: "Sequence[Asked]") -> "Connection":
        errors = [error for task in asked if (error := task.exception()) is not None]
        found = [task.result() for task in asked if task.exception() is None]
        if not found:
            raise errors[0]
        timeline, connection = max(found, key=lambda answer: answer[0])
        if timeline == STANDBY:
            raise ConnectionRefusedError("each host that answers is a standby: promote one, or start the primary")
        if timeline < self._timeline:
            raise OldPrimary(
                f"the host that takes writes is at timeline {timeline}, and was replaced by one at {self._timeline}: "
                "end it and make it a standby"
            )
        self._timeline = timeline
        return connection


async def _ask(dsn: str, options: dict[str, Any]) -> "tuple[int, Connection]":
    """The timeline of one server, or STANDBY, and a connection to it."""
    connection = await asyncpg.connect(dsn, **{**options, "target_session_attrs": "any"})
    try:
        timeline: int = await connection.fetchval(SQL["timeline"])
    except BaseException:
        connection.terminate()
        raise
    return timeline, connection


async def _answered(asked: "Sequence[Asked]") -> None:
    """Wait for all, or until those have had OTHERS_S that are slower than one that takes writes."""
    waiting = set(asked)
    while waiting and not any(task.done() and not task.exception() and task.result()[0] for task in asked):
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if waiting:
        await asyncio.wait(waiting, timeout=OTHERS_S)


async def _ended(asked: "Sequence[Asked]") -> "list[Connection]":
    """End what still asks; the connections that were made."""
    for task in asked:
        task.cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    return [answer[1] for answer in answers if isinstance(answer, tuple)]
