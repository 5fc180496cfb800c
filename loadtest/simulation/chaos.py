"""What breaks, and when. After `Plan.chaos_s` nothing does any more, and all that was broken is made whole."""

import asyncio
import copy
from collections.abc import Sequence
from random import Random

from loadtest.simulation.network import run_at_once
from loadtest.simulation.plan import Disruption
from loadtest.simulation.trace import Trace
from loadtest.simulation.worker import Worker
from loadtest.simulation.world import World
from streams.stores.stock_fake import FakeStock

FOREIGN_EPOCH = 1_000_000


class Chaos:
    """Disrupts until its time is up. Runs outside of every process."""

    def __init__(self, world: World, workers: Sequence[Worker], rng: Random, trace: Trace) -> None:
        self._world, self._workers, self._rng, self._trace = world, workers, rng, trace
        self._old: FakeStock | None = None  # the stock as it was under the epoch before
        self._unaware: list[Worker] = []
        self._over = False

    async def run(self) -> None:
        """Break things, and mend them at the end."""
        world, rng = self._world, self._rng
        kinds: list[Disruption] = list(world.plan.disruptions)
        if world.plan.rollback:
            world.loop.call_later(0.4 * world.plan.spread_s, self._roll_back_later, copy.deepcopy(world.true_stock))
        until_s = world.plan.chaos_s
        while kinds and (pause_s := rng.random() * 2 * world.plan.pause_s) < until_s - world.loop.time():
            await asyncio.sleep(pause_s)
            self._disrupt(rng.choice(kinds))
        await asyncio.sleep(max(0.0, until_s - world.loop.time()))
        self._heal()

    def _disrupt(self, kind: Disruption) -> None:
        worker = self._rng.choice(self._workers)
        self._trace.fault("chaos", kind, worker.name if kind in {"kill", "stop", "move", "usurp"} else "")
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
            case "stock_down" | "ledger_down" | "log_down":
                self._down(kind.removesuffix("_down"))
            case "stock_empty":
                self._replace(FakeStock(dedupe_retention_s=self._world.plan.retention_s))
            case "stock_of_old":
                if self._old is not None:
                    self._replace(self._copy_of_old())
            case "new_epoch":
                self._renew()

    def _end(self, worker: Worker, *, gracefully: bool) -> None:
        if not worker.process.alive:
            return
        if gracefully:
            worker.commit_now()
        worker.kill(noticed_after_s=0.0 if gracefully else self._rng.random() * 1.5)
        self._world.loop.call_later(self._rng.random() * 2, self._restart, worker)

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

    def _replace(self, impostor: FakeStock) -> None:
        """Another Redis answers for a while, with another epoch or none; then the right one is back."""
        world = self._world
        if world.stock is world.true_stock and run_at_once(impostor.epoch()) != run_at_once(world.ledger.epoch()):
            world.stock = impostor
            world.loop.call_later(self._rng.random() * 3, self._put_back)

    def _copy_of_old(self) -> FakeStock:
        """The data of an epoch before. Its number is another installation's: a worker that has not made a call since
        the new epoch was issued would take its own for current; see the scenario `gap-split-brain`.
        """
        assert self._old is not None
        copied = copy.deepcopy(self._old)
        if not self._world.plan.split_brain:
            copied._epoch = FOREIGN_EPOCH
        return copied

    def _put_back(self) -> None:
        self._world.stock = self._world.true_stock

    def _renew(self) -> None:
        """A new epoch is issued, and the stock is rebuilt under it: here, with all it had."""
        world = self._world
        if world.stock is world.true_stock:
            self._old = copy.deepcopy(world.true_stock)
            world.true_stock._epoch = run_at_once(world.ledger.issue_epoch("simulated"))

    def _roll_back_later(self, snapshot: FakeStock) -> None:
        """The same epoch, older data: what a restored copy or a lagging replica has. See the scenario."""
        self._trace.fault("chaos", "stock_rollback")
        self._world.true_stock = self._world.stock = snapshot

    def _heal(self) -> None:
        self._trace.note("chaos", "all is well from here on")
        self._world.network.heal()
        self._put_back()
        for worker in self._workers:
            if not worker.process.alive:
                worker.start()
        for topic in {id(w.topic): w.topic for w in self._workers}.values():
            topic.rebalance(self._rng)
        self._unaware.clear()
