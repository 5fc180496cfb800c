"""Worker processes as `agents.worker` makes them, with a simulated consumer in place of Faust's."""

import asyncio
from collections.abc import Callable
from functools import cache, partial
from random import Random

from agents.worker import advance
from loadtest.simulation import kafka
from loadtest.simulation.kafka import Consumer, Topic
from loadtest.simulation.loop import SimulatedProcess
from loadtest.simulation.oracle import Oracle
from loadtest.simulation.world import World
from streams.errors import Unavailable
from streams.intake.patience import PatientIntake
from streams.lifecycle import Lifecycle
from streams.parts import Parts
from streams.sources import normalisers

COMMIT_INTERVAL_S = 0.7
KEEPER_INTERVAL_S = 3.0
LOOK_S = 3.0
"""How often intake and keeper look for what nobody tells them of: seldom, for it is much of what a run does."""

sources = cache(normalisers)
"""Read once for all processes of all runs: they are values, and reading them would be a third of a run's time."""

PartsMaker = Callable[[SimulatedProcess], Parts]


class CommitLost(Unavailable):
    """The group coordinator did not answer."""


class Worker:
    """One process of one role; `start` makes it anew after it died."""

    def __init__(self, name: str, topic: Topic, world: World, oracle: Oracle, parts: PartsMaker, rng: Random) -> None:
        self.name, self.topic = name, topic
        self.process = SimulatedProcess(name)
        self._lives = 0
        self._world, self._oracle, self._parts, self._rng = world, oracle, parts, rng
        self.consumer = Consumer(topic, rng, world.plan.chunk_max)
        self.process.alive = False

    def start(self) -> None:
        """Start the process and let it join its group."""
        assert not self.process.alive
        self._lives += 1
        self.process = SimulatedProcess(f"{self.name}.{self._lives}")
        self.consumer = Consumer(self.topic, self._rng, self._world.plan.chunk_max)
        body = self._intake if self.topic is self._world.submitted else self._lifecycle
        parts = self._parts(self.process)
        context = self.process.context()
        task = self._world.loop.create_task(body(parts, self.consumer, self.process), context=context)
        task.add_done_callback(partial(ended, process=self.process, oracle=self._oracle))
        self.topic.members.append(self.consumer)
        self.topic.rebalance(self._rng)

    def kill(self, noticed_after_s: float = 0.0) -> None:
        """End the process as SIGKILL does. Its group deals its partitions out when it notices."""
        self.process.kill()
        self.consumer.close()
        self._world.loop.call_later(noticed_after_s, self._leave, self.consumer)

    def _leave(self, consumer: Consumer) -> None:
        if consumer in self.topic.members:
            self.topic.members.remove(consumer)
            self.topic.rebalance(self._rng)

    def commit_now(self) -> None:
        """Commit what is acknowledged, as a worker does that is told to stop or to hand a partition over."""
        consumer = self.consumer
        kafka.commit(self.topic, consumer.generation, consumer.to_commit(), self._oracle.committing)

    async def _intake(self, parts: Parts, consumer: Consumer, process: SimulatedProcess) -> None:
        async with asyncio.TaskGroup() as tasks:
            loop, queue = self._world.loop, self._world.review
            stages = PatientIntake(
                parts,
                queue,
                lambda: (consumer.generation, consumer.partitions),
                now_s=loop.time,
                last_wait_s=loop.time,  # nothing here takes so long but by waiting for a store
                look_s=LOOK_S,
            )
            tasks.create_task(stages.run())
            tasks.create_task(self._commit(consumer, process))
            while True:
                await stages.take(await consumer.next_chunk())

    async def _lifecycle(self, parts: Parts, consumer: Consumer, process: SimulatedProcess) -> None:
        async with asyncio.TaskGroup() as tasks:
            orders = Lifecycle(parts, sources())
            tasks.create_task(self._keep(orders, parts))
            tasks.create_task(self._commit(consumer, process))
            while True:
                await orders.take(await consumer.next_chunk())

    async def _keep(self, orders: Lifecycle, parts: Parts) -> None:
        while True:
            await advance(parts)
            await orders.look_after()
            ended = await orders.expire_due()
            if ended < parts.settings.expiry_batch:
                await asyncio.sleep(KEEPER_INTERVAL_S)

    async def _commit(self, consumer: Consumer, process: SimulatedProcess) -> None:
        """Commit now and then. A commit that failed is tried again with what is acknowledged by then."""
        network, topic, check = self._world.network, self.topic, self._oracle.committing
        while True:
            await asyncio.sleep(COMMIT_INTERVAL_S * (0.5 + self._rng.random()))
            while not (offsets := consumer.to_commit()):
                await consumer.next_acknowledgement()
            generation = consumer.generation
            try:
                await network.call(
                    process,
                    "kafka",
                    "commit",
                    lambda _, g=generation, o=offsets: kafka.commit(topic, g, o, check),  # type: ignore[misc]
                    CommitLost,
                )
            except CommitLost:
                continue


def ended(task: "asyncio.Task[None]", process: SimulatedProcess, oracle: Oracle) -> None:
    """No process ends by an error: outages are waited for, or told, and everything else is a defect."""
    if not task.cancelled() and task.exception() is not None:
        error: BaseException | None = task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        oracle.died(process.name, error)
