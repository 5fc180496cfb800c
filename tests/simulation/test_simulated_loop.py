"""The simulated loop: time without waiting, order by seed, death without a last word, and an end to every wait."""

import asyncio
import time
from random import Random

import pytest

from loadtest.simulation.loop import Deadlock, Livelock, SimulatedLoop, SimulatedProcess


def loop_of(seed: int = 0, **limits: int) -> SimulatedLoop:
    """A loop whose order is drawn from this seed."""
    return SimulatedLoop(Random(seed), **limits)  # type: ignore[abstract]


def order(seed: int) -> list[int]:
    """The order in which ten tasks, made one after the other, come to their end."""
    ended: list[int] = []

    async def one(number: int) -> None:
        await asyncio.sleep(0)
        ended.append(number)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(10)))

    loop_of(seed).run(main())
    return ended


def test_time_is_virtual() -> None:
    """A day passes in no time, timers fire in their order, and the loop tells the time."""
    fired: list[float] = []
    loop = loop_of()

    async def at(seconds: float) -> None:
        await asyncio.sleep(seconds)
        fired.append(loop.time())

    async def main() -> None:
        await asyncio.gather(at(86_400), at(0.5), at(60))

    began_s = time.monotonic()
    loop.run(main())
    assert fired == [0.5, 60, 86_400]
    assert time.monotonic() - began_s < 5


def test_the_seed_chooses_the_order() -> None:
    """The same seed gives the same order, other seeds give others, and not that of first come, first served."""
    assert order(1) == order(1)
    orders = {tuple(order(seed)) for seed in range(20)}
    assert len(orders) > 15
    assert all(sorted(one) == list(range(10)) for one in orders)


def test_asyncio_works_on_it() -> None:
    """Queues, events, timeouts and task groups do what they promise under any order."""

    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        taken: list[int] = []

        async def give() -> None:
            for number in range(20):
                await queue.put(number)

        async def take() -> None:
            while len(taken) < 20:
                taken.append(await queue.get())

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(give())
            tasks.create_task(take())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.Event().wait()
        return taken

    for seed in range(20):
        assert loop_of(seed).run(main()) == list(range(20))


def test_the_dead_do_nothing_more() -> None:
    """A process that is killed runs nothing any more while the others live, no `finally` either."""
    did: list[str] = []
    process = SimulatedProcess("victim")
    loop = loop_of()

    async def work() -> None:
        try:
            for _ in range(100):
                did.append("work")
                await asyncio.sleep(1)
        finally:
            did.append("last word")

    async def main() -> list[str]:
        task = loop.create_task(work(), context=process.context())
        await asyncio.sleep(3.5)
        process.kill()
        task.cancel()  # not even when it is told to
        await asyncio.sleep(1_000)
        return list(did)

    assert loop.run(main()) == ["work"] * 4


def test_what_waits_for_nothing_is_a_deadlock() -> None:
    """Nothing ready, no timer, work left: told at once, not waited for."""

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="nothing is ready"):
        loop_of().run(main())


def test_what_goes_round_in_circles_is_a_livelock() -> None:
    """A bound on steps ends what never comes to an end."""

    async def main() -> None:
        while True:  # noqa: ASYNC110 - the circle is the point
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match="after 1000 steps"):
        loop_of(max_steps=1_000).run(main())
