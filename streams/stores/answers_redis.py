"""Answers in Redis or Valkey, 7.0 or newer: one key each, which expires by itself.

<prefix><idempotency key>   string   `?` fingerprint owner while in flight, `=` fingerprint answer behind it

The prefix is none of the stock's, whose scripts, epoch and rebuild never touch these keys; nor do these know an epoch:
an answer that is lost with its server is made again, and the ledger sees to it that it is no second order.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

from redis.asyncio import Redis

from streams.stores.answers import Answers, Claimed, answered, in_flight, read
from streams.stores.redis_client import redis_client
from streams.stores.stock_faults import RAISED, fault

PREFIX = "fw:answers:"
_CONNECTIONS = 1
"""One pipeline at a time: redis-py takes longer over a round trip than the server over all commands in it."""
_AT_ONCE = 500

_Command = tuple[bytes | str | int, ...]

_IF_MINE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
_KEEP = f"{_IF_MINE} redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1"
_FORGET = f"{_IF_MINE} return redis.call('DEL', KEYS[1])"


class RedisAnswers(Answers):
    """See `Answers`. A claim lasts `lease_s`, an answer `keep_s`."""

    def __init__(self, client: Redis, *, lease_s: float, keep_s: float, prefix: str = PREFIX) -> None:
        self._client = client
        self._lease_ms, self._keep_ms = round(lease_s * 1000), round(keep_s * 1000)
        self._prefix = prefix.encode()
        self._waiting: list[tuple[_Command, asyncio.Future[Any]]] = []
        self._sending: asyncio.Task[None] | None = None

    @classmethod
    def connect(cls, url: str, *, timeout_s: float, lease_s: float, keep_s: float, prefix: str = PREFIX) -> Self:
        """Answers at `url`; it connects when first asked. Each call may take `timeout_s`."""
        client = redis_client(url, timeout_s=timeout_s, connections=_CONNECTIONS)
        return cls(client, lease_s=lease_s, keep_s=keep_s, prefix=prefix)

    async def claim(self, key: bytes, fingerprint: bytes, owner: bytes) -> Claimed:
        """See `Answers`. One command sets the key or tells what stands there."""
        value = in_flight(fingerprint, owner)
        # As bytes: under its name as text the client would turn the answer to SET into a truth value.
        found = await self._command(b"SET", self._prefix + key, value, "NX", "GET", "PX", self._lease_ms)
        return read(found, fingerprint)

    async def keep(self, key: bytes, fingerprint: bytes, owner: bytes, answer: bytes) -> bool:
        """See `Answers`."""
        mine, new = in_flight(fingerprint, owner), answered(fingerprint, answer)
        return bool(await self._command("EVAL", _KEEP, 1, self._prefix + key, mine, new, self._keep_ms))

    async def forget(self, key: bytes, fingerprint: bytes, owner: bytes) -> bool:
        """See `Answers`."""
        return bool(await self._command("EVAL", _FORGET, 1, self._prefix + key, in_flight(fingerprint, owner)))

    async def close(self) -> None:
        """See `Answers`."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def _command(self, *args: bytes | str | int) -> Any:
        """Send a command with all others that have come while the last pipeline was under way."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((args, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="answers")
        return await answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                found = await self._pipelined([args for args, _ in taken])
                for (_, answer), value in zip(taken, found, strict=True):
                    if answer.done():
                        continue  # whoever asked has been cancelled
                    if isinstance(value, RAISED):
                        answer.set_exception(fault(value))
                    else:
                        answer.set_result(value)
        finally:
            self._sending = None

    async def _pipelined(self, commands: Sequence[_Command]) -> Sequence[Any]:
        """What each command has come to, its error where it failed."""
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                for args in commands:
                    pipe.execute_command(*args)
                found: list[Any] = await pipe.execute(raise_on_error=False)
                return found
        except RAISED as error:
            return [error] * len(commands)
