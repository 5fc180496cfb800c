"""What becomes of the worker when an agent dies."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from mode import Service

from agents.transport.failure import AgentDied, StopWorkerSupervisor


class Commits:
    """A consumer that counts its last commits, or fails them."""

    def __init__(self, error: Exception | None = None) -> None:
        self.count = 0
        self.error = error

    async def commit_now(self) -> None:
        """Count, then fail if told to."""
        self.count += 1
        if self.error:
            raise self.error


def dead(reason: BaseException, consumer: Commits) -> Any:
    """An actor that ended with this exception."""
    return SimpleNamespace(crash_reason=reason, agent=SimpleNamespace(app=SimpleNamespace(consumer=consumer)))


async def test_the_worker_crashes_with_the_agents_exception() -> None:
    """The original exception reaches the root of the process, after a last commit of what was acknowledged."""
    worker, consumer, error = Service(), Commits(), ValueError("boom")
    await StopWorkerSupervisor(beacon=worker.beacon).restart_services([dead(error, consumer)])
    assert worker.crash_reason is error
    assert consumer.count == 1


async def test_a_cancellation_from_inside_becomes_an_error() -> None:
    """An agent that was cancelled by its own doing ends the worker with an exception that says so."""
    worker, reason = Service(), asyncio.CancelledError()
    await StopWorkerSupervisor(beacon=worker.beacon).restart_services([dead(reason, Commits())])
    assert isinstance(worker.crash_reason, AgentDied)
    assert worker.crash_reason.__cause__ is reason


async def test_a_last_commit_that_fails_hides_nothing() -> None:
    """The worker crashes with the agent's exception, not with the commit's."""
    worker, error = Service(), ValueError("boom")
    supervisor = StopWorkerSupervisor(beacon=worker.beacon)
    await supervisor.restart_services([dead(error, Commits(ConnectionError("no broker")))])
    assert worker.crash_reason is error


@pytest.mark.parametrize("stopping", [True, False])
async def test_no_crash_without_a_death_or_while_stopping(stopping: bool) -> None:
    """The cancellation of agents by a graceful stop, and the supervisor's regular look around, crash nothing."""
    worker, consumer = Service(), Commits()
    supervisor = StopWorkerSupervisor(beacon=worker.beacon)
    if stopping:
        await worker.stop()
    await supervisor.restart_services([dead(asyncio.CancelledError(), consumer)] if stopping else [])
    assert not worker.crashed
    assert consumer.count == 0
