"""One run: a seed becomes a plan, the plan a world, and the world is watched until all is quiet."""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from loadtest.simulation.books import Books
from loadtest.simulation.chaos import Chaos
from loadtest.simulation.loop import Deadlock, Livelock, SimulatedLoop, SimulatedProcess
from loadtest.simulation.network import LATEST_S, Network
from loadtest.simulation.oracle import Oracle
from loadtest.simulation.plan import SCENARIOS, Plan, Scenario, draw
from loadtest.simulation.retries import Attempts
from loadtest.simulation.trace import Trace, Violation
from loadtest.simulation.worker import Worker, ended
from loadtest.simulation.workload import PROMOTION, Shops, promotion
from loadtest.simulation.world import SCARCE_SHELF, SHELF, World
from streams import retry
from streams.errors import Fenced, Refused, Unavailable, UnknownThing
from streams.parts import Parts
from streams.promotions import close_promotion, open_promotion
from streams.rebuild import rebuild_stock
from streams.receiving import receive

QUIET_WITHIN_S = 300.0
"""Virtual time that the system has, once nothing breaks any more, to finish what it has begun."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a run. `violation` names the invariant that was broken; None when all held."""

    seed: int
    scenario: str
    violation: str | None
    detail: str
    steps: int
    virtual_s: float
    faults: Counter[str]
    submissions: int
    lines: list[str] = field(default_factory=list)
    digest: str = ""


def simulate(seed: int, scenario: str = "default", *, trace: bool = False) -> Result:
    """Run one schedule. A function of its arguments and the code; `trace` also keeps all events and their hash.

    A run that breaks an invariant keeps its events in any case.
    """
    with _seeded(seed):
        run = _Run(seed, SCENARIOS[scenario])
        violation, detail = run.result()
    events = run.trace
    return Result(
        seed,
        scenario,
        violation,
        detail,
        run.loop.steps,
        run.loop.time(),
        events.faults,
        len(run.shops.sends.submissions),
        events.lines() if trace or violation is not None else [],
        events.digest() if trace else "",
    )


_PAUSES: Any = SimpleNamespace(retry_context=Attempts)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The retries' jitter comes from the global generator, and their warnings would be thousands."""
    state, disabled = random.getstate(), logging.root.manager.disable
    random.seed(seed)
    logging.disable(logging.CRITICAL)
    try:
        with patch.object(retry, "stamina", _PAUSES):
            yield
    finally:
        random.setstate(state)
        logging.disable(disabled)


class _Run:
    """The parts of one run. Each has a generator of its own, so that a change in one leaves the others' dice alone."""

    def __init__(self, seed: int, scenario: Scenario) -> None:
        def dice(of: int) -> Random:
            return Random(seed * 64 + of)  # noqa: S311 - to be repeatable is the point

        self.plan: Plan = draw(scenario, dice(0))
        self.loop = SimulatedLoop(dice(1))  # type: ignore[abstract]  # what it lacks is I/O
        self.trace = Trace(self.loop)
        network = Network(self.loop, dice(2), self.plan, self.trace)
        self.world = World(self.loop, network, self.plan, self.trace)
        self.shops = Shops(self.world, dice(3))
        self.oracle = Oracle(self.world, self.shops, self.trace)
        self.books = Books(self.world, self.oracle, self.shops.sends, self.trace)
        self._dice = dice(4)
        self.workers = [
            Worker(f"{role}-{n}", topic, self.world, self.oracle, self._parts, dice(5 + n))
            for role, topic, count in (
                ("intake", self.world.submitted, self.plan.intake_workers),
                ("lifecycle", self.world.reported, self.plan.lifecycle_workers),
            )
            for n in range(count)
        ]
        self.chaos = Chaos(self.world, self.workers, dice(10), self.trace, self._rebuild)
        self._operator_dice = dice(11)
        self._asked: asyncio.Task[None] | None = None

    def _parts(self, process: SimulatedProcess) -> Parts:
        skew_ms = self._dice.randint(-self.plan.skew_ms, self.plan.skew_ms)
        return self.world.parts(process, self.oracle, skew_ms)

    def result(self) -> tuple[str | None, str]:
        """Run; the invariant that was broken, with what broke it."""
        try:
            self.loop.run(self._main())
        except Violation as violation:
            return violation.invariant, str(violation)
        except (Deadlock, Livelock) as stuck:
            return type(stuck).__name__.lower(), f"{stuck}; waiting for {self.books.waiting_for() or 'nothing'}"
        return None, ""

    async def _main(self) -> None:
        self.trace.note("run", "plan", self.plan)
        await self._open()
        self.shops.open()
        for worker in self.workers:
            worker.start()
        commands = self.loop.create_task(self._operate())
        await self.chaos.run()
        await self._until_quiet(commands)
        await asyncio.sleep(LATEST_S)  # for what was sent and given up, and is still on its way
        await self._until_quiet(commands)
        await self._check("all quiet")
        await self._until_no_holds()
        await self._check("all holds have ended")

    async def _check(self, when: str) -> None:
        self.trace.note("run", "check", when)
        self.books.check()
        await asyncio.sleep(0)  # a violation ends the run here

    async def _open(self) -> None:
        """Epoch and goods, before the doors open: straight to the servers, nothing of it can fail."""
        world = self.world
        await world.stock.install_epoch(await world.ledger.issue_epoch("first"))
        parts = Parts(world.stock, world.ledger, world.log, world.clock, world.settings)
        shelf = SCARCE_SHELF if self.plan.scarce else SHELF
        await receive(parts, "opening", shelf.items())
        self.oracle.received.update(shelf)

    async def _operate(self) -> None:
        """The promotion and more goods, each command given again until it has gone through."""
        dice = self._operator_dice
        if dice.random() < 0.7:
            wanted = promotion(self.plan, dice)
            await self._insist(lambda parts: open_promotion(parts, wanted))
            if dice.random() < (0.8 if self.plan.scarce else 0.4):
                await self._a_moment_to_close(dice.random() * self.plan.spread_s)
                await self._insist(lambda parts: close_promotion(parts, PROMOTION))
        if dice.random() < 0.4:
            await asyncio.sleep(dice.random() * self.plan.spread_s)
            await self._insist(lambda parts: receive(parts, "second", [("HOT", 3)]))
            await asyncio.sleep(dice.random() * self.plan.spread_s)
            await self._insist(lambda parts: receive(parts, "second", [("HOT", 3)]))  # once more, to be sure

    async def _a_moment_to_close(self, wait_s: float) -> None:
        """After some time; or, where goods are few, at the worst of moments that comes before."""
        unbooked = self.chaos.losses.unbooked
        unbooked.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await (unbooked.wait() if self.plan.scarce else asyncio.sleep(wait_s))

    def _rebuild(self) -> None:
        """A person asks for a rebuild: `floodway stock rebuild`; who has asked waits for it."""
        if self._asked is not None and not self._asked.done():
            return
        process = SimulatedProcess(f"person-{self.loop.steps}")
        parts = self._parts(process)

        async def command() -> None:
            with contextlib.suppress(Unavailable, Fenced):
                await rebuild_stock(
                    parts.ledger, parts.stock, parts.clock, retention_s=self.plan.retention_s, reason="asked for"
                )

        self._asked = task = self.loop.create_task(command(), context=process.context())
        task.add_done_callback(partial(ended, process=process, oracle=self.oracle))

    async def _insist(self, command: Callable[[Parts], Awaitable[object]]) -> None:
        """Give a command until it has gone through. Whoever gives it may die on the way; it is given again later."""
        dice = self._operator_dice
        while True:
            process = SimulatedProcess("operator")
            given = self.loop.create_task(self._give(command, self._parts(process)), context=process.context())
            dies = self.plan.operator_dies and dice.random() < 0.5
            await asyncio.wait({given}, timeout=self.plan.latency_s * 8 * dice.random() if dies else None)
            if given.done():
                if given.result():
                    return
                await asyncio.sleep(0.5)
            else:
                process.kill()
                self.trace.fault("operator", "operator dies")
                await asyncio.sleep(dice.random() * 6)

    async def _give(self, command: Callable[[Parts], Awaitable[object]], parts: Parts) -> bool:
        """Whether there is nothing left to insist on."""
        try:
            await command(parts)
        except (Unavailable, Fenced):
            return False
        except (Refused, UnknownThing) as refusal:
            self.trace.note("operator", "refused", refusal)
        return True

    async def _until_quiet(self, commands: "asyncio.Task[None]") -> None:
        """Liveness: what was begun is finished, within a time."""
        deadline_s = self.loop.time() + QUIET_WITHIN_S
        while waiting_for := self.books.waiting_for() or ("" if commands.done() else "the operator's commands"):
            if self.loop.time() > deadline_s:
                self.trace.fail("quiet", f"after {QUIET_WITHIN_S:.0f} s without faults: {waiting_for}")
            await asyncio.sleep(1.0)
        commands.result()

    async def _until_no_holds(self) -> None:
        """In the end every hold has been paid, given back or has run out."""
        deadline_s = self.loop.time() + self.plan.hold_ttl_s + QUIET_WITHIN_S
        while self.books.live_holds() or self.books.waiting_for():
            if self.loop.time() > deadline_s:
                self.trace.fail("holds_end", f"{self.books.live_holds()} holds are left")
            await asyncio.sleep(1.0)
