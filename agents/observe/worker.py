"""What a worker tells of itself: how it stands, whether it is ready, and where that can be read."""

import asyncio
import logging
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from time import monotonic
from typing import Any

from mode import Service
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from agents.observe.health import Checks, Readiness, livez, metrics, process_registry
from agents.observe.server import Handler, Server
from agents.transport import ChunkApp
from agents.transport.consumer import ChunkConsumer
from streams import metrics as declared
from streams.agreement import agreed_epoch
from streams.breakers import Breakers
from streams.errors import Fenced, SettingsError, Unavailable
from streams.parts import Parts
from streams.settings import Settings
from streams.telemetry import family

COMMIT_LATE_INTERVALS = 10
COMMIT_LATE_S = 15.0
"""A worker that has something to commit and did not for so long, and for ten of its intervals, does not commit."""
LOOP_LOOK_S = 1.0
STATES = ("closed", "open", "half_open")

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Standing(Collector):
    """How a worker stands. `partitions` is None before they were first dealt out; `parts` while there are none."""

    role: str
    app: ChunkApp
    breakers: Breakers
    settings: Settings
    partitions: frozenset[tuple[str, int]] | None = None
    parts: Parts | None = None
    loop_delay_s: float = 0.0
    _idle_at_s: float = field(default_factory=monotonic)

    def collect(self) -> Iterator[Family]:
        """See the client; reads what is in memory, and waits for nothing."""
        stats, offsets = self._consumer.stats, self._consumer.offsets
        yield family(declared.WORKER_INFO, [((self.role, version("floodway")), 1)])
        yield family(
            declared.PARTITIONS,
            [((topic,), n) for topic, n in Tally(topic for topic, _ in self.partitions or ()).items()],
        )
        yield family(declared.IN_FLIGHT, [((), offsets.records)])
        yield family(declared.LAST_COMMIT, [((), stats.last_commit_s)])
        yield family(declared.COMMITS, [((), stats.commits)])
        yield family(declared.RETURNED, [((), stats.chunks_returned)])
        yield family(declared.LOOP_DELAY, [((), self.loop_delay_s)])
        breakers = self.breakers.status()
        states = [((one.name, state), float(one.state == state)) for one in breakers for state in STATES]
        yield family(declared.BREAKER_STATE, states)
        yield family(declared.BREAKER_OPENED, [((one.name,), one.opened) for one in breakers])

    async def checks(self) -> Checks:
        """What readiness depends on."""
        open_ = [status.name for status in self.breakers.status() if status.state != "closed"]
        return {
            "assigned": None if self.partitions is not None else "no partitions were dealt out yet",
            "committing": self._not_committing(),
            "breakers": f"not closed: {', '.join(open_)}" if open_ else None,
            "epoch": await self._wrong_epoch(),
        }

    async def watch(self) -> None:
        """Look at the loop, and at whether there is anything to commit, until cancelled."""
        while True:
            due = monotonic() + LOOP_LOOK_S
            await asyncio.sleep(LOOP_LOOK_S)
            self.loop_delay_s = max(0.0, monotonic() - due)
            if not self._has_to_commit():
                self._idle_at_s = monotonic()

    @property
    def _consumer(self) -> ChunkConsumer:
        consumer: ChunkConsumer = self.app.consumer
        return consumer

    def _has_to_commit(self) -> bool:
        consumer = self._consumer
        done = consumer.offsets
        return any(done.committable(tp) != consumer.committed_to(tp) for tp in done.partitions())

    def _not_committing(self) -> str | None:
        now_s, bound_s = monotonic(), max(COMMIT_LATE_S, COMMIT_LATE_INTERVALS * self.settings.commit_interval_s)
        last_s = now_s - (time.time() - self._consumer.stats.last_commit_s)
        late_s = now_s - max(self._idle_at_s, last_s)
        return f"nothing was committed for {late_s:.0f} s" if late_s > bound_s else None

    async def _wrong_epoch(self) -> str | None:
        if self.parts is None:
            return "not connected yet"
        try:
            epoch = await agreed_epoch(self.parts.ledger, self.parts.stock)
        except (Unavailable, Fenced) as error:
            return str(error)
        return "stock and ledger do not agree; the stock has to be rebuilt" if epoch is None else None


class Endpoint(Service):
    """The server of a worker, from before its partitions are asked for until its end."""

    def __init__(self, standing: Standing, tell: Callable[[str], object], **kwargs: Any) -> None:
        self._standing, self._tell = standing, tell
        self._server: Server | None = None
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        """Listen. A worker whose port cannot be had works on without: orders matter more."""
        standing, settings = self._standing, self._standing.settings
        registry = process_registry()
        registry.register(standing)
        routes: dict[str, Handler] = {
            "/metrics": metrics(registry),
            "/livez": livez,
            "/readyz": Readiness(standing.checks),
        }
        try:
            self._server = await Server.start(routes, settings.metrics_host, settings.metrics_port)
        except SettingsError as error:
            logger.error("no metrics: %s", error)
        else:
            self._tell(self._server.url)

    async def on_stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            await self._server.close()

    @Service.task
    async def _watch(self) -> None:
        await self._standing.watch()
