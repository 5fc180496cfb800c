"""What a drill is: a surge, a fault that is put in at a seeded moment and taken out again, and what must hold then."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Any

from infra.embedded import Broker, Stack, Standby
from infra.workers import Supervisor, worker_argv
from loadtest.plan import Plan
from streams.parts import Parts

if TYPE_CHECKING:
    from loadtest.drills.links import Links

EITHER = (Broker.TANSU, Broker.KAFKA)
KAFKA_ONLY = (Broker.KAFKA,)
LOOK_S = 0.05


@dataclass(slots=True)
class Scene:
    """What a fault can get at. `parts` and their settings lead to the servers directly, the workers' through `links`.

    `complaints` are reasons to fail that the fault found by itself; `said` is what it did, for people.
    """

    stack: Stack
    data_dir: Path
    workers: Supervisor
    parts: Parts
    links: "Links"
    complaints: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def say(self, words: str) -> None:
        """Tell what was done."""
        self.said.append(words)


class Fault(ABC):
    """Puts one fault in and takes it out. Made anew for each run, so it may remember what it did."""

    def prepare(self, stack: Stack, data_dir: Path) -> None:  # noqa: B027 - most faults need nothing
        """Arrange what the fault needs. The servers run, and nobody is connected to them yet."""

    def argv(self, data_dir: Path) -> Callable[[str, int], Sequence[str]]:
        """What the supervisor starts as a worker, by role and number."""
        return worker_argv

    @abstractmethod
    async def inject(self, scene: Scene, choose: Random) -> None:
        """Put it in; what is left open is chosen by `choose`."""

    async def heal(self, scene: Scene) -> None:  # noqa: B027 - some heal by themselves
        """Take it out; a fault that heals by itself does nothing here."""

    async def settle(self, scene: Scene) -> None:  # noqa: B027 - most have nothing left to do
        """What is left to do when the surge is over, before the books are looked at."""


class NoFault(Fault):
    """The surge itself is the fault."""

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """The surge of a drill: an open model, so that a pipeline that stands still finds its backlog afterwards."""

    rate_per_s: float = 3_000.0
    seconds: float = 13.0
    reshape: Callable[[Plan, int, Random], Plan] | None = None
    """Makes another surge of the mix `demo`, told of the number of partitions; its size then is its own."""
    times: int = 1
    """So many records `reshape` makes of one, about: the mix is made smaller by it."""

    @property
    def submissions(self) -> int:
        """Records to plan."""
        return max(1_000, round(self.rate_per_s * self.seconds / self.times))


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill. `lasts_s` is between injecting and healing, chosen by the seed from this range."""

    name: str
    proves: str
    fault: Callable[[], Fault]
    lasts_s: tuple[float, float] = (0.0, 0.0)
    load: Load = Load()
    brokers: tuple[Broker, ...] = EITHER
    nodes: int = 1
    """Of Apache Kafka; tansu has one."""
    standby: Standby = Standby.NONE
    """What Postgres' replica is for beside reading."""
    intake_workers: int = 2
    may_announce_again: bool = True
    """Whether an answer may come twice, with the same content: whoever dies between announcing and committing does."""
    stops_all: bool = False
    """Whether nothing can be decided while the fault is there: if something was, it put nothing to the test."""
    opens: str | None = None
    """The breaker that must open in some worker, by its name; None for any or none."""
    may_die: bool = False
    """Whether a worker may end with an error and be started again. It loses nothing by that, but time."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the workers that the drill needs otherwise than usual."""
    holds_end: bool = False
    """Whether `settings` let holds expire during the drill: all must have ended before the books are looked at."""
    own_stack: bool = False
    """Whether its fault prepares the servers, or leaves traces that others would trip over: in the books, or in a group
    members that went without a word. On tansu nobody can join such a group again once it was empty."""
    missing_here: Callable[[], str | None] = lambda: None
    """Why this machine cannot run it, None when it can."""

    @property
    def shares(self) -> bool:
        """Whether it may use servers on which other drills were, and leaves them for others."""
        return not (self.own_stack or self.holds_end) and self.nodes == 1 and self.standby is Standby.NONE


@dataclass(frozen=True, slots=True)
class Moment:
    """When the fault is put in, in seconds after the first order was due, and how long it stays."""

    at_s: float
    lasts_s: float


def moment(drill: Drill, seconds: float, choose: Random) -> Moment:
    """A moment in the middle third of a surge of so many seconds. The same seed gives the same."""
    return Moment(choose.uniform(seconds / 3, seconds * 2 / 3), choose.uniform(*drill.lasts_s))


async def until(reached: Callable[[], bool], *, within_s: float) -> bool:
    """Wait until `reached` says yes; False when it has not in time."""
    deadline = monotonic() + within_s
    while not reached():
        if monotonic() > deadline:
            return False
        await asyncio.sleep(LOOK_S)
    return True
