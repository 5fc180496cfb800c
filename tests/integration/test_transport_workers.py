"""The chunk transport in worker processes: what their deaths leave behind."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest
from transport_kafka import committed, create_topic, produce, started, until, until_equal

from agents.transport.watchdog import EXIT_CODE
from infra.embedded import Broker
from infra.workers import STOP_WAIT_S

pytest_plugins = ["broker_fixtures"]
pytestmark = pytest.mark.timeout(180)
HERE = Path(__file__).parent


class Worker:
    """One worker process, with what it wrote."""

    def __init__(self, directory: Path, bootstrap: str, group: str, topic: str, mode: str) -> None:
        self.output = directory / f"{uuid.uuid4().hex}.txt"
        command = [sys.executable, str(HERE / "transport_worker.py"), bootstrap, group, topic, mode]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, cwd=directory, env={**os.environ, "PYTHONPATH": str(HERE.parents[1])}
            )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def chunks(self) -> list[tuple[int, int, int]]:
        """Partition, first and next offset of every chunk it was about to acknowledge."""
        lines = self.output.read_text().splitlines(keepends=True)
        return [(int(p), int(a), int(z)) for p, a, z in (line.split() for line in lines if line.endswith("\n"))]

    async def exit_code(self, timeout_s: float = 60.0) -> int:
        """Wait for its end, which comes seconds after its start: of both a busy machine makes many."""
        await until(lambda: self.process.poll() is not None, timeout_s)
        assert self.process.returncode is not None
        return self.process.returncode


@pytest.mark.parametrize(("mode", "code"), [("hang", 1), pytest.param("block", EXIT_CODE, marks=pytest.mark.slow)])
async def test_a_worker_that_stands_still_ends_and_the_chunk_comes_again(
    bootstrap: str, tmp_path: Path, mode: str, code: int
) -> None:
    """An agent that waits for ever, or an event loop that no longer turns, ends the process; the next one goes on."""
    topic, group = f"still-{mode}", f"g-still-{mode}"
    await create_topic(bootstrap, topic, 1)
    await produce(bootstrap, topic, {0: 20})
    with Worker(tmp_path, bootstrap, group, topic, mode) as worker:
        assert await worker.exit_code() == code
        assert worker.chunks() == [(0, 0, 10)]
    with Worker(tmp_path, bootstrap, group, topic, "ack") as worker:
        await until(lambda: (0, 10, 20) in worker.chunks(), 60.0)


async def test_a_body_that_raises_ends_the_worker_and_the_chunk_comes_again(bootstrap: str, tmp_path: Path) -> None:
    """An exception, or a cancellation from inside, leaves the chunk unacknowledged: the process ends with exit code 1,
    the offset committed is that of the chunk before, and the next worker gets the chunk.
    """
    await create_topic(bootstrap, "raising", 1)
    await produce(bootstrap, "raising", {0: 25})
    with (
        Worker(tmp_path, bootstrap, "g-raise", "raising", "raise") as raising,
        Worker(tmp_path, bootstrap, "g-cancel", "raising", "cancel") as cancelled,
    ):
        for failing, group in ((raising, "g-raise"), (cancelled, "g-cancel")):
            assert await failing.exit_code() == 1
            assert failing.chunks() == [(0, 0, 10)]
            assert await committed(bootstrap, group, "raising", 1) == [10]
    with Worker(tmp_path, bootstrap, "g-raise", "raising", "ack") as again:
        await until_equal(lambda: committed(bootstrap, "g-raise", "raising", 1), [25], 60.0)
        again.process.send_signal(signal.SIGTERM)
        assert await again.exit_code() == 0
        assert again.chunks() == [(0, 10, 20), (0, 20, 25)]


async def test_kill_nine_of_one_of_two_workers_misses_no_record(bootstrap: str, tmp_path: Path) -> None:
    """Two workers under load, one killed outright and replaced: every record was dealt with, and the group's committed
    offsets end at the end.
    """
    per_partition, partitions = 15_000, 4
    await create_topic(bootstrap, "killed", partitions)
    await produce(bootstrap, "killed", dict.fromkeys(range(partitions), per_partition))
    with ExitStack() as stack:

        def start() -> Worker:
            return stack.enter_context(Worker(tmp_path, bootstrap, "g-killed", "killed", "slow"))

        workers = [start(), start()]
        await until(lambda: all(len(worker.chunks()) > 20 for worker in workers), 60.0)
        workers[0].process.kill()
        await workers[0].exit_code()
        assert (
            sum(after - first for worker in workers for _, first, after in worker.chunks()) < per_partition * partitions
        )
        workers.append(start())
        end = [per_partition] * partitions
        await until_equal(lambda: committed(bootstrap, "g-killed", "killed", partitions), end, 50.0)
        for worker in workers[1:]:
            worker.process.send_signal(signal.SIGTERM)
        assert await asyncio.gather(*(worker.exit_code() for worker in workers[1:])) == [0, 0]
        seen: dict[int, set[int]] = {number: set() for number in range(partitions)}
        for worker in workers:
            for partition, first, after in worker.chunks():
                seen[partition].update(range(first, after))
        assert all(offsets == set(range(per_partition)) for offsets in seen.values())


async def test_a_worker_told_to_end_commits_all_that_it_did(bootstrap: str, tmp_path: Path) -> None:
    """SIGTERM in the middle of the work: it ends with 0 within its bounds, and what it acknowledged is committed, so
    that the next worker does none of it again and misses nothing.
    """
    per_partition, partitions = 4_000, 2
    await create_topic(bootstrap, "drained", partitions)
    await produce(bootstrap, "drained", dict.fromkeys(range(partitions), per_partition))
    with Worker(tmp_path, bootstrap, "g-drained", "drained", "slow") as worker:
        await until(lambda: len(worker.chunks()) > 10, 60.0)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.exit_code(STOP_WAIT_S) == 0
        done = worker.chunks()
    reached = [max((after for p, _, after in done if p == partition), default=0) for partition in range(partitions)]
    assert sum(reached) < partitions * per_partition, "it had done everything before it was told to end"
    assert await committed(bootstrap, "g-drained", "drained", partitions) == reached
    with Worker(tmp_path, bootstrap, "g-drained", "drained", "ack") as again:
        await until_equal(
            lambda: committed(bootstrap, "g-drained", "drained", partitions), [per_partition] * partitions, 40.0
        )
        assert not {(p, first) for p, first, _ in done} & {(p, first) for p, first, _ in again.chunks()}


async def test_a_worker_without_a_broker_can_be_stopped(broker: Broker, tmp_path: Path) -> None:
    """With the broker gone in the middle of the work, a worker told to stop does so in seconds, commit or no commit."""
    with ExitStack() as stack:
        with started(broker) as short_lived:
            await create_topic(short_lived, "lost", 2)
            await produce(short_lived, "lost", {0: 20_000, 1: 20_000})
            worker = stack.enter_context(Worker(tmp_path, short_lived, "g-lost", "lost", "slow"))
            await until(lambda: len(worker.chunks()) > 5, 60.0)
        await asyncio.sleep(1.0)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.exit_code(20.0) == 0
