"""What happened in a run, in order: what determinism is compared by, and what a failure is read from."""

from collections import Counter
from hashlib import blake2b

from loadtest.simulation.loop import SimulatedLoop


class Violation(Exception):
    """An invariant that does not hold. `invariant` is its name."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant


class Trace:
    """Events with their virtual time, and the faults by kind. Cheap to write, rendered only when read."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.faults: Counter[str] = Counter()
        self._events: list[tuple[float, str, str, object]] = []
        self._loop = loop

    def note(self, who: str, what: str, detail: object = "") -> None:
        """Write an event down. `detail` must not change later, and must look the same in every process."""
        self._events.append((self._loop.time(), who, what, detail))

    def fault(self, who: str, kind: str, detail: object = "") -> None:
        """Write down a fault that was injected."""
        self.faults[kind] += 1
        self._events.append((self._loop.time(), who, f"! {kind}", detail))

    def fail(self, invariant: str, detail: str) -> None:
        """End the run: an invariant is broken."""
        if not self._loop.closing:
            self.note("oracle", "VIOLATION", f"{invariant}: {detail}")
            self._loop.fail(Violation(invariant, detail))

    def __len__(self) -> int:
        return len(self._events)

    def lines(self, last: int | None = None) -> list[str]:
        """The events, or the last of them, one a line."""
        events = self._events if last is None else self._events[-last:]
        return [f"{at:9.3f}  {who:<12} {what:<26} {detail}" for at, who, what, detail in events]

    def digest(self) -> str:
        """A hash of all events: two runs with the same one went the same way."""
        return blake2b("\n".join(self.lines()).encode(), digest_size=16).hexdigest()
