"""The stock in Redis or Valkey, 7.0 or newer: one Lua script per action, one round trip per call.

<prefix>meta          hash   epoch, stamp, installation, generation, rotate_at_ms; rebuilding, in place of an epoch
<prefix>free          hash   `sku|pool` → units that may be promised
<prefix>on_hand       hash   `sku|pool` → units free or held; those held are the difference, so a hold is one write
<prefix>sold          hash   `sku|pool` → units
<prefix>seen:0|1      hash   idempotency key → first decision; two generations, see lua/include/rotation.lua
<prefix>holds         hash   order id → hold, see lua/include/holds.lua
<prefix>due           zset   batches of order ids by deadline; those confirmed or released meanwhile are skipped
<prefix>ended:0|1     hash   order id → how its hold ended, restock id → where its units went; two generations
<prefix>unsettled     hash   order id → expired hold that the ledger may not have yet
<prefix>promos        hash   promotion → terms; `promotion|quota`, `promotion|swept` → SKUs and units
<prefix>bought        hash   `promotion|buyer` → units, for promotions with a limit, until closed
<prefix>refs          hash   `action:ref` → result of a command
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Any, Self
from uuid import UUID

import msgspec
from msgspec import Raw
from redis.asyncio import Redis

from streams.core.memory import Carried, Page
from streams.core.stock import (
    MAIN,
    End,
    Expired,
    Hold,
    MoveResult,
    Pool,
    Promotion,
    Reservation,
    Restock,
    Verdict,
    added_up,
    promo_pool,
)
from streams.stores import scripts, stock_checks
from streams.stores.redis_client import redis_client
from streams.stores.refill_codec import encode_page
from streams.stores.stock import Stock
from streams.stores.stock_codec import binaries, decode_hold, decode_verdicts, encode_batch
from streams.stores.stock_faults import RAISED, fault
from streams.stores.stock_keys import PREFIX, field, owner, promotion_of, split_field

_CONNECTIONS = 8
"""Per process. The server runs one script at a time, so more would only queue there."""
_PAGE = 1_000
"""Entries asked for at once where all are streamed."""

_STAMP = re.compile(rb"(?:run_id|master_replid2):([0-9a-f]+)")
_LAYOUT = b":2"
"""As lua/include/stamp.lua reads and writes them."""

_pack = msgspec.msgpack.Encoder().encode
_terms = msgspec.msgpack.Decoder(tuple[int, int, int, int])
_units = msgspec.msgpack.Decoder(list[tuple[str, int]])


class RedisStock(Stock):
    """`Stock` on one shard. No call is tried again here: all are idempotent, so callers may."""

    def __init__(self, client: Redis, *, dedupe_retention_s: float, prefix: str = PREFIX) -> None:
        self._client = client
        self._retention_ms = round(dedupe_retention_s * 1000)
        self._prefix = prefix.encode()

    @classmethod
    def connect(cls, url: str, *, timeout_s: float, dedupe_retention_s: float, prefix: str = PREFIX) -> Self:
        """A stock at `url` (`redis://host:port/db`); it connects when first asked. Each call may take `timeout_s`."""
        client = redis_client(url, timeout_s=timeout_s, connections=_CONNECTIONS)
        return cls(client, dedupe_retention_s=dedupe_retention_s, prefix=prefix)

    async def epoch(self) -> int | None:
        """See `Stock`."""
        carried = await self._command("HGET", self._key("meta"), "epoch")
        return None if carried is None else int(carried)

    async def carried(self) -> Carried:
        """See `Stock`."""
        names = ("epoch", "installation", "rebuilding", "stamp")
        try:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.execute_command("HMGET", self._key("meta"), *names)
                # As bytes: under its name as text the client takes the answer apart, and ids of digits for numbers.
                pipe.execute_command(b"INFO", "server", "replication")
                (epoch, installation, rebuilding, stamp), server = await pipe.execute()
        except RAISED as error:
            raise fault(error) from error
        return Carried(
            None if epoch is None else int(epoch),
            None if installation is None else UUID(installation.decode()),
            None if rebuilding is None else int(rebuilding),
            stamp is not None and stamp != b"".join(_STAMP.findall(server)) + _LAYOUT,
        )

    async def begin_rebuild(self, epoch: int, installation: UUID, *, take_over: bool = False) -> None:
        """See `Stock`."""
        await self._script("begin_rebuild", epoch, str(installation), int(take_over))

    async def refill(self, epoch: int, page: Page) -> None:
        """See `Stock`."""
        await self._script("refill", epoch, encode_page(page))

    async def install_epoch(self, epoch: int, *, refilled: bool = False) -> None:
        """See `Stock`."""
        await self._script("install_epoch", epoch, int(refilled))

    async def adopt_epoch(self, epoch: int, before: int) -> None:
        """See `Stock`."""
        await self._script("adopt_epoch", epoch, before)

    async def reserve(
        self, epoch: int, batch: Sequence[Reservation], *, now_ms: int, held_until_ms: int
    ) -> list[Verdict]:
        """See `Stock`."""
        blob = encode_batch(batch, now_ms=now_ms, held_until_ms=held_until_ms)
        answer = await self._script("reserve_batch", epoch, now_ms, self._retention_ms, blob)
        return decode_verdicts(answer, batch, now_ms=now_ms, held_until_ms=held_until_ms)

    async def confirm(self, epoch: int, order_ids: Sequence[bytes]) -> list[End]:
        """See `Stock`."""
        stock_checks.check_order_ids(order_ids)
        return _ends(await self._script("confirm", epoch, binaries(order_ids)))

    async def release(self, epoch: int, order_ids: Sequence[bytes]) -> list[End]:
        """See `Stock`."""
        stock_checks.check_order_ids(order_ids)
        return _ends(await self._script("release", epoch, binaries(order_ids)))

    async def expire_due(self, epoch: int, *, now_ms: int, limit: int) -> list[Expired]:
        """See `Stock`."""
        stock_checks.check_limit(limit)
        # False: the script has looked at as many ids as it may in one go, and more are due.
        while (answer := await self._script("expire_due", epoch, now_ms, self._retention_ms, limit)) is None:
            pass
        found = []
        for order_id, packed in zip(answer[::2], answer[1::2], strict=True):
            hold = decode_hold(packed[1:])
            found.append(Expired(order_id, End(chr(packed[0])), hold.pool, hold.quantities, hold.due_ms))
        return sorted(found, key=attrgetter("due_ms"))

    async def settle(self, epoch: int, order_ids: Sequence[bytes]) -> None:
        """See `Stock`."""
        stock_checks.check_order_ids(order_ids)
        await self._script("settle", epoch, binaries(order_ids))

    async def retake(
        self, epoch: int, order_id: bytes, pools: Sequence[str], quantities: Sequence[tuple[str, int]]
    ) -> End:
        """See `Stock`."""
        stock_checks.check_order_ids([order_id])
        stock_checks.check_retake(pools, quantities)
        wanted = {
            "pools": [(promotion_of(pool) or "", [field(sku, pool) for sku, _ in quantities]) for pool in pools],
            "units": [units for _, units in quantities],
        }
        return _ends(await self._script("retake", epoch, order_id, _pack(wanted)))[0]

    async def restock(self, epoch: int, restocks: Sequence[Restock]) -> list[End]:
        """See `Stock`."""
        stock_checks.check_restocks(restocks)
        wanted = {
            "ids": Raw(binaries([one.restock_id for one in restocks])),
            "of": [
                [promotion_of(pool) or "", *(part for line in quantities for part in line)]
                for _, pool, quantities in restocks
            ],
        }
        return _ends(await self._script("restock", epoch, _pack(wanted)))

    async def receive(self, epoch: int, ref: str, items: Sequence[tuple[str, int]]) -> bool:
        """See `Stock`."""
        changes = added_up(items)
        stock_checks.check_count(len(changes), "SKUs")
        pairs = [part for sku, units in changes.items() for part in (field(sku, MAIN), units)]
        code, *refused = await self._script("receive", epoch, ref, _pack(pairs))
        if code == _codes("receive")["REFUSED"]:
            sku, _ = split_field(refused[0])
            raise stock_checks.less_than_nothing(sku, int(refused[1]), changes[sku])
        return bool(code == _codes("receive")["RECEIVED"])

    async def move(self, epoch: int, ref: str, sku: str, source: str, target: str, qty: int) -> MoveResult:
        """See `Stock`."""
        stock_checks.check_move(source, target, qty)
        promotion_id = promotion_of(target) or ""
        args = (ref, field(sku, source), field(sku, target), promotion_id, qty)
        word = (await self._script("move", epoch, *args)).decode()
        if word in ("no_source", "no_target"):
            raise stock_checks.unknown_pool(sku, source if word == "no_source" else target)
        if word == "closed":
            raise stock_checks.closed(promotion_id)
        return MoveResult(word)

    async def open_promotion(self, epoch: int, promotion: Promotion) -> list[tuple[str, int]]:
        """See `Stock`."""
        quota = stock_checks.check_promotion(promotion)
        terms = (promotion.opens_at_ms, promotion.closes_at_ms, promotion.buyer_limit, 0)
        args = (promotion.promotion_id, _pack(terms), _pack(quota))
        code, *short = await self._script("open_promotion", epoch, *args)
        codes = _codes("open_promotion")
        if code == codes["CLOSED"]:
            raise stock_checks.closed(promotion.promotion_id)
        if code == codes["OTHER_TERMS"]:
            raise stock_checks.other_terms(promotion.promotion_id)
        return [(sku.decode(), int(units)) for sku, units in zip(short[::2], short[1::2], strict=True)]

    async def close_promotion(self, epoch: int, promotion_id: str) -> list[tuple[str, int]]:
        """See `Stock`."""
        swept = await self._script("close_promotion", epoch, promotion_id)
        if swept is None:
            raise stock_checks.unknown_promotion(promotion_id)
        # After the promotion is closed nobody writes these fields, so they may go piece by piece.
        async for page in self._scan("bought", match=owner(promotion_id, "*")):
            await self._script("forget_buyers", epoch, promotion_id, _pack([name.decode() for name in page]))
        return _units.decode(swept)

    async def promotion(self, promotion_id: str) -> Promotion | None:
        """See `Stock`."""
        fields = (promotion_id, f"{promotion_id}|quota")
        terms, quota = await self._command("HMGET", self._key("promos"), *fields)
        if terms is None:
            return None
        opens_at_ms, closes_at_ms, buyer_limit, _ = _terms.decode(terms)
        return Promotion(promotion_id, opens_at_ms, closes_at_ms, buyer_limit, tuple(_units.decode(quota)))

    async def pools(self, skus: Sequence[str] | None = None) -> AsyncIterator[Pool]:
        """See `Stock`."""
        if skus is None:
            async for page in self._scan("free"):
                for pool in await self._pools(list(page)):
                    yield pool
            return
        promotions = [name for name in await self._command("HKEYS", self._key("promos")) if b"|" not in name]
        names = [MAIN, *(promo_pool(name.decode()) for name in promotions)]
        fields = [field(sku, name).encode() for sku in skus for name in names]
        for at in range(0, len(fields), _PAGE):
            for pool in await self._pools(fields[at : at + _PAGE]):
                yield pool

    async def holds(self) -> AsyncIterator[Hold]:
        """See `Stock`."""
        async for page in self._scan("holds"):
            for order_id, packed in page.items():
                hold = decode_hold(packed)
                yield Hold(order_id, hold.pool, hold.due_ms, hold.quantities)

    async def held(self, order_ids: Sequence[bytes]) -> set[bytes]:
        """See `Stock`."""
        stock_checks.check_order_ids(order_ids)
        found: set[bytes] = set()
        # In this order: a hold that expires between the two reads is found by the second.
        for name in ("holds", "unsettled") if order_ids else ():
            values = await self._command("HMGET", self._key(name), *order_ids)
            found.update(order_id for order_id, value in zip(order_ids, values, strict=True) if value is not None)
        return found

    async def unsettled(self) -> int:
        """See `Stock`."""
        return int(await self._command("HLEN", self._key("unsettled")))

    async def close(self) -> None:
        """See `Stock`."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    def _key(self, name: str) -> bytes:
        return self._prefix + name.encode()

    async def _pools(self, fields: list[bytes]) -> list[Pool]:
        """Those of the fields that there are, each read in one piece."""
        if not fields:
            return []
        try:
            async with self._client.pipeline(transaction=True) as pipe:
                for account in ("free", "on_hand", "sold"):
                    pipe.execute_command("HMGET", self._key(account), *fields)
                free, on_hand, sold = await pipe.execute()
        except RAISED as error:
            raise fault(error) from error
        return [
            Pool(*split_field(name), int(free[i]), int(on_hand[i] or 0) - int(free[i]), int(sold[i] or 0))
            for i, name in enumerate(fields)
            if free[i] is not None
        ]

    async def _scan(self, name: str, match: str = "*") -> AsyncIterator[dict[bytes, bytes]]:
        """Pages of a hash."""
        cursor = 0
        while True:
            args = ("HSCAN", self._key(name), cursor, "MATCH", match, "COUNT", _PAGE)
            cursor, page = await self._command(*args)
            if page:
                yield page
            if not cursor:
                return

    async def _command(self, *args: bytes | str | int) -> Any:
        execute: Callable[..., Awaitable[Any]] = self._client.execute_command
        try:
            return await execute(*args)
        except RAISED as error:
            raise fault(error) from error

    async def _script(self, name: str, epoch: int, *args: bytes | str | int) -> Any:
        script = scripts.load(name)
        assert len(args) + 1 == len(script.args), f"{name} takes {script.args}"
        try:
            return await scripts.call(self._client, script, [self._key(key) for key in script.keys], [epoch, *args])
        except RAISED as error:
            raise fault(error, epoch) from error


def _codes(name: str) -> dict[str, int]:
    return {code: int(value) for code, value in scripts.load(name).codes.items()}


def _ends(letters: bytes) -> list[End]:
    return [End(letter) for letter in letters.decode()]
