"""What happens when an agent's body ends in an exception: the process stops, and the chunk comes again."""

from collections.abc import Sequence
from typing import Any

from mode.supervisors import SupervisorStrategy


class AgentDied(Exception):
    """An agent's body ended with an exception or a cancellation it did not handle; the worker stops, see the cause."""


class StopWorkerSupervisor(SupervisorStrategy):
    """Stops the worker when an agent dies, instead of starting the agent again.

    The chunk the agent died of was never acknowledged. An agent started again would go on with the next one, and the
    partition could never commit past the hole; a new process reads on from the committed offset. Beyond what mode's
    `CrashingSupervisor` does, what was acknowledged is committed first, and a cancellation becomes an error.
    """

    async def restart_services(self, services: Sequence[Any]) -> None:
        """Crash the worker with the first agent's exception, after a last commit of what was acknowledged."""
        root = self.beacon.root.data
        if not services or root.should_stop:
            return
        reason = services[0].crash_reason
        await self._commit_acknowledged(services[0])
        if not isinstance(reason, Exception):  # a cancellation would unwind the worker itself, without an exit code
            died = AgentDied(f"agent was cancelled from inside: {reason!r}")
            died.__cause__ = reason
            reason = died
        await self.crash(reason)

    async def _commit_acknowledged(self, service: Any) -> None:
        try:
            await service.agent.app.consumer.commit_now()
        except Exception as exc:
            self.log.warning("No last commit before stopping, acknowledged chunks come again: %r", exc)
