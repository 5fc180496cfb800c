"""Bugs in the rebuild of a lost stock, and in what keeps old data from being written; see `bugs`."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any
from unittest.mock import patch
from uuid import UUID

import msgspec

from loadtest.simulation.planting import Bug, MistakenStore, stores
from streams import rebuild
from streams.core.books import Balance
from streams.core.memory import Page
from streams.core.stock import Pool
from streams.errors import Fenced
from streams.intake.batch import Batch
from streams.intake.pipeline import Intake
from streams.stores.ledger_fake import FakeLedger
from streams.stores.stock_fake import FakeStock

NEVER_MS = 2**50


def _nothing(*_: Any) -> None:
    pass


async def _at_once(*_: Any) -> None:
    pass


def _forgetting(*names: str) -> AbstractContextManager[Any]:
    """A refill that leaves something out."""
    original = FakeStock.refill

    async def refill(self: FakeStock, epoch: int, page: Page) -> None:
        await original(self, epoch, msgspec.structs.replace(page, **dict.fromkeys(names, ())))

    return patch.object(FakeStock, "refill", refill)


def _without_deadlines() -> AbstractContextManager[Any]:
    original = FakeStock.refill

    async def refill(self: FakeStock, epoch: int, page: Page) -> None:
        holds = [hold._replace(due_ms=NEVER_MS) for hold in page.holds]
        await original(self, epoch, msgspec.structs.replace(page, holds=holds))

    return patch.object(FakeStock, "refill", refill)


class _HastyReader(MistakenStore):
    """Reads the books, and then ends the epoch."""

    _early: Any = None

    async def issue_epoch(self, reason: str) -> Any:
        self._early = self._store.snapshot()
        self._books = await self._early.__aenter__()
        return await self._store.issue_epoch(reason)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Any]:
        yield self._books


def _restart_unnoticed() -> AbstractContextManager[Any]:
    """The epoch alone is compared, not the run of the server that was given it."""
    return patch.object(FakeStock, "restart", _nothing)


def _old_verdicts_under_the_new_epoch() -> AbstractContextManager[Any]:
    async def reserve_under(epoch: int, batch: Batch, *_: Any, **__: Any) -> None:
        batch.epoch = epoch

    return patch("streams.intake.persist.reserve_under", reserve_under)


def _installs_the_empty() -> AbstractContextManager[Any]:
    original = FakeStock.install_epoch

    async def install_epoch(self: FakeStock, epoch: int, **_: Any) -> None:
        await original(self, epoch)

    return patch.object(FakeStock, "install_epoch", install_epoch)


def _begins_without_emptying() -> AbstractContextManager[Any]:
    original = FakeStock.begin_rebuild

    async def begin_rebuild(self: FakeStock, epoch: int, installation: UUID, **named: Any) -> None:
        with patch.object(FakeStock, "_forget", _nothing):
            await original(self, epoch, installation, **named)

    return patch.object(FakeStock, "begin_rebuild", begin_rebuild)


def _refills_whatever_it_is() -> AbstractContextManager[Any]:
    """Neither page nor epoch asks whether the stock is still the one that was begun."""
    original = FakeStock.refill

    async def refill(self: FakeStock, _: int, page: Page) -> None:
        rebuilding, stamp = self._rebuilding, self._stamp
        self._rebuilding, self._stamp = 0, self._runs
        try:
            await original(self, 0, page)
        finally:
            self._rebuilding, self._stamp = rebuilding, stamp

    return patch.object(FakeStock, "refill", refill)


def _left_in_promotions() -> AbstractContextManager[Any]:
    async def as_they_are(balances: AsyncIterator[list[Balance]], _: Any) -> AsyncIterator[list[Pool]]:
        async for page in balances:
            yield [Pool(*balance) for balance in page]

    return patch.object(rebuild, "_swept", as_they_are)


def _no_one_recovers() -> AbstractContextManager[Any]:
    async def ensure_stock(*_: Any, **__: Any) -> None:
        raise Fenced("left to people")

    return patch("loadtest.simulation.world.ensure_stock", ensure_stock)


@contextlib.contextmanager
def _unchecked_ledger() -> Iterator[None]:
    with patch.object(FakeLedger, "_fence", _nothing), _unasked():
        yield


@contextlib.contextmanager
def _unasked() -> Iterator[None]:
    with patch("streams.lifecycle.check_newest", _at_once), patch("streams.expiry.check_newest", _at_once):
        yield


_PLANTS: dict[str, tuple[str, Callable[[], AbstractContextManager[Any]]]] = {
    "ledger-takes-old": ("the ledger does not compare the epoch under which the stock acted", _unchecked_ledger),
    "read-before-epoch": ("the books are read before the old epoch is ended", lambda: stores(ledger=_HastyReader)),
    "restart-unnoticed": ("a server's restart does not end the epoch", _restart_unnoticed),
    "old-verdicts": ("what the old stock decided is written under the new epoch", _old_verdicts_under_the_new_epoch),
    "lost-unasked": (
        "a hold is taken for lost on the word of a stock that is past",
        _unasked,
    ),
    "no-catch-up": (
        "a new stock is asked before what the old one had decided is decided anew",
        lambda: patch.object(Intake, "_caught_up", _at_once),
    ),
    "nobody-rebuilds": ("a lost stock is waited for", _no_one_recovers),
    "rebuilt-not-emptied": ("a rebuild begins with what is there", _begins_without_emptying),
    "refill-anything": ("pages go into a stock that was lost again meanwhile", _refills_whatever_it_is),
    "install-empty": ("a stock that lost again what it was refilled with is given the epoch", _installs_the_empty),
    "openings-unbooked": (
        "a rebuild does not look for promotions that were opened and drawn from before that was booked",
        lambda: patch.object(rebuild, "_book_promotions", _at_once),
    ),
    "left-in-promotions": (
        "a rebuild leaves in closed promotions what was given back or taken there, unbooked, before they were swept",
        _left_in_promotions,
    ),
    "holds-for-ever": ("holds are restored without their deadline", _without_deadlines),
    "forgets-refs": ("a rebuild forgets the references of deliveries", lambda: _forgetting("refs")),
    "forgets-bought": ("a rebuild forgets what buyers have of a promotion", lambda: _forgetting("bought")),
    "forgets-ends": ("a rebuild forgets how holds ended", lambda: _forgetting("ends")),
    "forgets-decisions": ("a rebuild forgets decisions", lambda: _forgetting("decisions")),
    "forgets-holds": ("a rebuild forgets holds", lambda: _forgetting("holds")),
}

_WHERE = {
    "forgets-bought": "promotions",
    "forgets-ends": "rebuilds",
    "install-empty": "rebuilds",
    "ledger-takes-old": "unbooked",
    "left-in-promotions": "unbooked",
    "lost-unasked": "split",
    "no-catch-up": "unbooked",
    "old-verdicts": "unbooked",
    "openings-unbooked": "promotions",
    "refill-anything": "losses",
    "restart-unnoticed": "split",
}
"""Where what a bug needs happens in nearly every run; the default would have to be run hundreds of times."""

REBUILD_BUGS = {name: Bug(summary, plant, _WHERE.get(name, "default")) for name, (summary, plant) in _PLANTS.items()}
"""By name."""
