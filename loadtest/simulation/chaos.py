"""What breaks, and when. After `Plan.chaos_s` nothing does any more, and whatever is down comes back."""

import asyncio
from collections.abc import Callable, Sequence
from random import Random

from loadtest.simulation.losses import Losses
from loadtest.simulation.plan import AMID, Disruption
from loadtest.simulation.trace import Trace
from loadtest.simulation.worker import Worker
from loadtest.simulation.world import World

_OF_A_WORKER = frozenset({"kill", "stop", "move", "usurp", "stall", "split"})


class Chaos:
    """Disrupts until its time is up. Runs outside of every process."""

    def __init__(
        self,
        world: World,
        workers: Sequence[Worker],
        rng: Random,
        trace: Trace,
        rebuild: Callable[[], None],
    ) -> None:
        self._world, self._workers, self._rng, self._trace, self._rebuild = world, workers, rng, trace, rebuild
        self.losses = Losses(world, rng, trace, self._kill_by_name)
        self._unaware: list[Worker] = []
        world.on_rebuild = self.losses.rebuilding
        world.on_act = self.losses.acted

    async def run(self) -> None:
        """Break things, and mend them at the end."""
        world, rng = self._world, self._rng
        kinds: list[Disruption] = list(world.plan.disruptions)
        until_s = world.plan.chaos_s
        while kinds and (pause_s := rng.random() * 2 * world.plan.pause_s) < until_s - world.loop.time():
            await asyncio.sleep(pause_s)
            self.losses.keep_a_copy()
            self._disrupt(rng.choice(kinds))
        await asyncio.sleep(max(0.0, until_s - world.loop.time()))
        self._heal()

    def _disrupt(self, kind: Disruption) -> None:  # noqa: PLR0912 - one case a kind
        worker = self._rng.choice(self._workers)
        if kind in AMID:
            self.losses.lie_in_wait(kind)  # told of when it happens
            return
        self._trace.fault("chaos", kind, worker.name if kind in _OF_A_WORKER else "")
        match kind:
            case "kill" | "stop":
                self._end(worker, gracefully=kind == "stop")
            case "move":
                for one in self._workers:
                    if one.topic is worker.topic and one.process.alive and self._rng.random() < 0.7:
                        one.commit_now()
                worker.topic.rebalance(self._rng)
            case "usurp":
                self._usurp(worker)
            case "stall":
                self._world.network.stall(worker.process, self._rng.random() * 6)
            case "stock_down" | "ledger_down" | "log_down":
                self._down(kind.removesuffix("_down"))
            case "failover":
                self._world.ledger.timeline += 1
            case "stock_restart":
                self._world.stock.restart()
            case "stock_empty":
                self.losses.empty()
            case "stock_older":
                self.losses.older()
            case "stock_of_old":
                self.losses.of_an_epoch_before()
            case "split":
                self.losses.split(worker.process)
            case "stock_foreign":
                self.losses.foreign()
            case "rebuild":
                self._rebuild()

    def _end(self, worker: Worker, *, gracefully: bool) -> None:
        if not worker.process.alive:
            return
        if gracefully:
            worker.commit_now()
        worker.kill(noticed_after_s=0.0 if gracefully else self._rng.random() * 1.5)
        self._world.loop.call_later(self._rng.random() * 2, self._restart, worker)

    def _kill_by_name(self, name: str) -> None:
        """Kill the worker whose process this is."""
        for worker in self._workers:
            if worker.process.name == name:
                self._end(worker, gracefully=False)

    def _restart(self, worker: Worker) -> None:
        if not worker.process.alive:
            self._trace.note("chaos", "start", worker.name)
            worker.start()

    def _usurp(self, worker: Worker) -> None:
        """Its partitions go to others while it still works on them: a session that timed out, a process that stood
        still. What it has in flight goes on; its commits are refused; after a while it notices.
        """
        if not worker.process.alive or worker in self._unaware:
            return
        worker.topic.rebalance(self._rng, unaware=worker.consumer)
        self._unaware.append(worker)
        self._world.loop.call_later(self._rng.random() * 4, self._notice, worker, worker.process.name)

    def _notice(self, worker: Worker, name: str) -> None:
        if worker in self._unaware:
            self._unaware.remove(worker)
        if worker.process.alive and worker.process.name == name:
            worker.topic.rebalance(self._rng)

    def _down(self, store: str) -> None:
        self._world.network.down.add(store)
        self._world.loop.call_later(self._rng.random() * 3, self._world.network.down.discard, store)

    def _heal(self) -> None:
        self._trace.note("chaos", "all is well from here on")
        self._world.network.heal()
        self.losses.end()
        for worker in self._workers:
            if not worker.process.alive:
                worker.start()
        for topic in {id(w.topic): w.topic for w in self._workers}.values():
            topic.rebalance(self._rng)
        self._unaware.clear()
