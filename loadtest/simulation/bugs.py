"""Bugs to plant, so that it is known what the simulation would find. Each is a mistake that somebody has made.

They are planted at seams that outlast a rewrite: the stage functions as the pipeline calls them, the protocols of the
stores, the book of offsets.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from hashlib import blake2b
from typing import Any
from unittest.mock import patch

from agents.transport.offsets import OffsetTracker, Ticket
from loadtest.simulation.planting import Bug, MistakenStore, stores
from loadtest.simulation.rebuild_bugs import REBUILD_BUGS
from streams.core.books import Persisted, StoredDecision
from streams.core.stock import End, Reservation, Verdict
from streams.errors import Fenced, LogUnavailable, Unavailable
from streams.guard import StockGuard
from streams.intake import pipeline
from streams.intake.batch import Batch
from streams.retry import until_available
from streams.stores.stock_fake import FakeStock

# --- the order of stages ---------------------------------------------------------------------------------------------


def _acknowledge_before_persist() -> AbstractContextManager[Any]:
    original = getattr(pipeline, "persist")  # noqa: B009 - the pipeline's name for it, not an export

    async def persist(batch: Batch, *args: Any, **named: Any) -> None:
        for chunk in batch.chunks:
            chunk.acknowledge()
        await original(batch, *args, **named)

    return patch.object(pipeline, "persist", persist)


class _HastyLedger(MistakenStore):
    """Starts the write, and does not wait for it."""

    async def persist(self, batch: Sequence[Any], epoch: int) -> Persisted:
        stored = await self._store.lookup([booking.key for booking in batch])
        self._write = asyncio.create_task(self._persist(batch, epoch))
        return Persisted("0/0", stored)

    async def _persist(self, batch: Sequence[Any], epoch: int) -> None:
        await until_available("persist", lambda: self._store.persist(batch, epoch), max_delay_s=0.5)


def _acknowledge_at_first_append() -> AbstractContextManager[Any]:
    original = getattr(pipeline, "announce")  # noqa: B009 - the pipeline's name for it, not an export

    class Log:
        def __init__(self, log: Any, batch: Batch) -> None:
            self._log, self._batch = log, batch

        def __getattr__(self, name: str) -> Any:
            return getattr(self._log, name)

        async def append(self, topic: str, partition: int, entries: Sequence[Any]) -> None:
            await self._log.append(topic, partition, entries)
            for chunk in self._batch.chunks:
                chunk.acknowledge()

    async def announce(batch: Batch, log: Any, *args: Any, **named: Any) -> None:
        await original(batch, Log(log, batch), *args, **named)

    return patch.object(pipeline, "announce", announce)


class _CarelessLog(MistakenStore):
    """Does not try again."""

    async def append(self, topic: str, partition: int, entries: Sequence[Any]) -> None:
        with contextlib.suppress(LogUnavailable):
            await self._store.append(topic, partition, entries)


def _commit_position() -> AbstractContextManager[Any]:
    """What a consumer's automatic commit does: the offset is that of the next record to read, not to work on."""
    original = OffsetTracker.acked

    def acked(self: OffsetTracker, ticket: Ticket) -> bool:
        found = original(self, ticket)
        if found:
            self._committable[ticket.tp] = self._delivered_to[ticket.tp]
        return found

    return patch.object(OffsetTracker, "acked", acked)


# --- the epoch -------------------------------------------------------------------------------------------------------


def _no_epoch_check() -> AbstractContextManager[Any]:
    return patch.object(FakeStock, "_fence", lambda _self, _epoch: None)


def _epoch_read_once() -> AbstractContextManager[Any]:
    async def call(self: StockGuard, what: str, call: Callable[[int], Any]) -> Any:
        while True:
            epoch = await self._current()
            try:
                return await until_available(what, partial(call, epoch), max_delay_s=self._max_delay_s)
            except Fenced:
                await asyncio.sleep(self._max_delay_s)

    return patch.object(StockGuard, "call", call)


# --- doing things twice, or not at all -------------------------------------------------------------------------------


def _release_twice() -> AbstractContextManager[Any]:
    original, end = FakeStock.release, FakeStock._end
    gone: dict[bytes, Any] = {}

    def remember(self: FakeStock, order_id: bytes, how: End) -> None:
        gone[order_id] = self._holds[order_id]
        end(self, order_id, how)

    async def release(self: FakeStock, epoch: int, order_ids: Sequence[bytes]) -> list[End]:
        live = set(order_ids) & self._holds.keys()
        ends = await original(self, epoch, order_ids)
        for order_id, found in zip(order_ids, ends, strict=True):
            if found is End.RELEASED and order_id not in live and order_id in gone:
                for place, units in gone[order_id].places().items():
                    self._free[place] += units
        return ends

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with patch.object(FakeStock, "_end", remember), patch.object(FakeStock, "release", release):
            yield

    return both()


class _ForgetfulClient(MistakenStore):
    """Gives each try an id of its own: a key that is made when sending, not when the order was placed."""

    _tries = 0

    async def reserve(self, epoch: int, batch: Sequence[Reservation], **named: Any) -> list[Verdict]:
        def anew(one: bytes) -> bytes:
            return blake2b(one + bytes([self._tries % 256]), digest_size=16).digest() if self._tries else one

        sent = [r._replace(key=anew(r.key), order_id=anew(r.order_id)) for r in batch]
        try:
            verdicts: list[Verdict] = await self._store.reserve(epoch, sent, **named)
        except Unavailable:
            self._tries += 1
            raise
        self._tries = 0
        return verdicts


class _KeepingStock(MistakenStore):
    """Never gives back the hold that it took for a repeat the ledger had decided before."""

    async def release(self, _epoch: int, order_ids: Sequence[bytes]) -> list[End]:
        return [End.RELEASED for _ in order_ids]


def _failover_unnoticed() -> AbstractContextManager[Any]:
    async def check_newest(ledger: Any, epoch: int) -> None:
        if await ledger.epoch() != epoch:
            raise Fenced("past")

    return patch("streams.expiry.check_newest", check_newest)


def _no_recall() -> AbstractContextManager[Any]:
    async def recall(*_: Any, **__: Any) -> None:
        pass

    return patch.object(pipeline, "recall", recall)


class _RoundingLedger(MistakenStore):
    """A column of whole seconds: what was decided is not recognised, and its hold is given back as another's."""

    async def lookup(self, keys: Sequence[Any]) -> dict[Any, StoredDecision]:
        found = await self._store.lookup(keys)
        return {key: d._replace(decided_at=d.decided_at.replace(microsecond=0)) for key, d in found.items()}


class _SettlingStock(MistakenStore):
    """Settles what has expired before it is written down."""

    async def expire_due(self, epoch: int, **named: Any) -> Any:
        found = await self._store.expire_due(epoch, **named)
        await self._store.settle(epoch, [hold.order_id for hold in found])
        return found


BUGS = {
    "ack-before-persist": Bug("chunks are acknowledged before they are durable", _acknowledge_before_persist),
    "announce-before-persist": Bug("the write is started and not waited for", lambda: stores(ledger=_HastyLedger)),
    "ack-at-first-append": Bug(
        "a batch of several chunks is acknowledged when the first of its appends is safe",
        _acknowledge_at_first_append,
        "answers",
    ),
    "append-once": Bug("an append that failed is not tried again", lambda: stores(log=_CarelessLog)),
    "commit-position": Bug("what was read is committed, not what was acknowledged", _commit_position),
    "no-epoch-check": Bug("the stock answers whatever epoch it is asked under", _no_epoch_check),
    "epoch-read-once": Bug("a new epoch is not learnt of", _epoch_read_once),
    "release-twice": Bug("a hold that is released again gives its units back again", _release_twice),
    "key-per-try": Bug(
        "a retry of reserve bears new ids, and takes twice",
        lambda: stores("intake", stock=_ForgetfulClient),
        "answers",
    ),
    "no-give-back": Bug(
        "the hold taken for a late repeat is kept", lambda: stores("intake", stock=_KeepingStock), "forgetful"
    ),
    "failover-unnoticed": Bug(
        "who has nothing to write does not look whether the ledger has failed over", _failover_unnoticed, "failovers"
    ),
    "no-recall": Bug(
        "what Redis has forgotten is decided again under the order id of before", _no_recall, "gap-amnesia"
    ),
    "rounded-time": Bug(
        "a decision is not recognised as the ledger's own, and its hold is given back",
        lambda: stores("intake", ledger=_RoundingLedger),
    ),
    "settle-first": Bug(
        "an expiry is settled before the ledger has it", lambda: stores("lifecycle", stock=_SettlingStock)
    ),
    **REBUILD_BUGS,
}
"""By name, as `floodway simulate --bug` takes it."""
