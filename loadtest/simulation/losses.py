"""What becomes of the stock: restarted, empty, older, another's; and what befalls those who rebuild it."""

import asyncio
import copy
from collections.abc import Callable
from random import Random
from typing import Any
from uuid import UUID

from loadtest.simulation.loop import SimulatedProcess
from loadtest.simulation.network import run_at_once
from loadtest.simulation.plan import ACTS, Disruption
from loadtest.simulation.trace import Trace
from loadtest.simulation.world import World
from streams.stores.stock_fake import FakeStock

FOREIGN_EPOCH = 1_000_000
FOREIGN_INSTALLATION = UUID(int=1)

COPIES_KEPT = 4

STEPS_OF_A_REBUILD = 18
"""About as many has one of a few dozen orders."""


class Losses:
    """Puts other stocks in the place of the one that answers, and lies in wait for rebuilds."""

    def __init__(self, world: World, rng: Random, trace: Trace, kill: Callable[[str], None]) -> None:
        self._world, self._rng, self._trace, self._kill = world, rng, trace, kill
        self._copies: list[FakeStock] = []
        self._former: list[FakeStock] = []
        """As they were when somebody began to rebuild them: a primary that was cut off, and lives on."""
        self._in_wait: tuple[Disruption, int | None] | None = None
        self._last_page = False
        first = "unbooked" in world.plan.disruptions and len(world.plan.acts) < len(ACTS)
        self._wait_for: tuple[str, ...] = rng.choice(world.plan.acts) if first else ()
        self.unbooked = asyncio.Event()
        """Set when the stock has acted for somebody who stands still before that is booked."""
        self._borrowed: FakeStock | None = None
        """The stock whose place another has taken for a while."""
        self._over = False

    def end(self) -> None:
        """From here on the stock stays as it is; one that does not belong here goes."""
        self._over = True
        self._world.cut_off.clear()
        if self._borrowed is not None and run_at_once(self._world.stock.carried()).installation == FOREIGN_INSTALLATION:
            self._world.stock = self._borrowed

    # --- stocks ------------------------------------------------------------------------------------------------------

    def keep_a_copy(self) -> None:
        """What a server writes to its disk now and then."""
        if self._world.stock_is_sound():
            self._copies = [*self._copies[1 - COPIES_KEPT :], _copy(self._world.stock)]

    def empty(self) -> None:
        """It has lost everything; perhaps it is another server, and the right one is back after a while."""
        self._put(FakeStock(dedupe_retention_s=self._world.plan.retention_s), for_a_while=self._rng.random() < 0.5)

    def older(self) -> None:
        """It comes back with what was on its disk some time ago, of the same epoch or of one before."""
        if self._copies:
            found = _copy(self._rng.choice(self._copies))
            found.restart()
            self._put(found, for_a_while=self._rng.random() < 0.2)

    def of_an_epoch_before(self) -> None:
        """One that was never restarted, and carries an epoch under which some worker may still ask."""
        if self._former:
            self._put(_copy(self._former[-1]), for_a_while=True)

    def split(self, process: SimulatedProcess) -> None:
        """A replica takes over for all but one process, which is left with the stock of before for a while."""
        if not process.alive or process.name in self._world.cut_off:
            return
        self._world.cut_off[process.name] = _copy(self._world.stock)
        self._world.stock.restart()
        self._world.loop.call_later(self._rng.random() * 6, self._join, process.name)

    def _join(self, name: str) -> None:
        if self._world.cut_off.pop(name, None) is not None:
            self._trace.note("chaos", "asks the same as the others again", name)

    def foreign(self) -> None:
        """Another installation's."""
        found = FakeStock(dedupe_retention_s=self._world.plan.retention_s)
        run_at_once(found.begin_rebuild(FOREIGN_EPOCH, FOREIGN_INSTALLATION))
        run_at_once(found.install_epoch(FOREIGN_EPOCH))
        self._put(found, for_a_while=True)

    def _put(self, other: FakeStock, *, for_a_while: bool) -> None:
        if self._borrowed is not None:
            return
        if for_a_while:
            self._borrowed = self._world.stock
            self._world.loop.call_later(self._rng.random() * 3, self._put_back)
        self._world.stock = other

    def _put_back(self) -> None:
        if self._borrowed is not None and not self._over:
            self._trace.note("chaos", "the stock of before is back")
            self._world.stock = self._borrowed
        self._borrowed = None

    # --- rebuilds ----------------------------------------------------------------------------------------------------

    def lie_in_wait(self, kind: Disruption) -> None:
        """Let it happen at its moment: the next time a worker acts, or in the middle of the next rebuild, which is
        brought about.
        """
        if kind == "unbooked":
            self._wait_for = self._rng.choice(self._world.plan.acts)
            return
        # Often at the end of all, between the last page and the epoch.
        steps = self._rng.randrange(1, STEPS_OF_A_REBUILD) if self._rng.random() < 0.7 else None
        self._in_wait = kind, steps
        if not self._world.rebuild_lock.held:
            self._world.stock.restart()

    def acted(self, process: SimulatedProcess, method: str) -> None:
        """See `World.on_act`: it may stand still now, and the stock be lost before it goes on."""
        if method not in self._wait_for or self._over:
            return
        self._wait_for = ()
        still_s = self._rng.random() * 6
        self._trace.fault("chaos", "unbooked", process.name)
        self.unbooked.set()
        self._world.network.stall(process, still_s)
        if self._rng.random() < 0.7:
            self._world.loop.call_later(self._rng.random() * still_s, self._restart)

    def _restart(self) -> None:
        if not self._over:
            self._world.stock.restart()

    def rebuilding(self, process: SimulatedProcess, step: str) -> None:
        """See `World.on_rebuild`."""
        if step == "begins":
            if self._world.stock_is_outdated():
                self._former = [*self._former[-1:], _copy(self._world.stock)]
            return
        if self._in_wait is None or self._over or not self._now(step):
            return
        kind, _ = self._in_wait
        self._in_wait = None
        self._trace.fault("chaos", kind, f"{process.name} after {step}")
        match kind:
            case "restart_amid":
                self._world.stock.restart()
            case "empty_amid":
                self._world.stock = FakeStock(dedupe_retention_s=self._world.plan.retention_s)
            case "kill_rebuilder":
                self._kill(process.name)
                process.kill()
            case _:  # the session is lost, and its holder, who does not know, stands still until others have begun
                self._world.rebuild_lock.lose()
                self._world.network.stall(process, self._rng.random() * 4)

    def _now(self, step: str) -> bool:
        """Whether this step of a rebuild is the moment; without a number that is the last page's."""
        assert self._in_wait is not None
        kind, left = self._in_wait
        last, self._last_page = self._last_page and step == "refill", step == "snapshot.refs"
        if left is None:
            return last
        self._in_wait = kind, left - 1
        return left <= 1 or step == "install_epoch"


def _copy(stock: FakeStock) -> FakeStock:
    """As `copy.deepcopy`, in a fraction of the time: what a fake keeps are values in dicts."""
    twin = copy.copy(stock)
    for name, value in vars(stock).items():
        setattr(twin, name, _copied(value))
    return twin


def _copied(value: Any) -> Any:
    match value:
        case dict() | set() | list():
            return value.copy()
        case tuple() if not hasattr(value, "_fields"):
            return tuple(_copied(one) for one in value)
        case _:
            return value
