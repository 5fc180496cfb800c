"""The watch as a process of its own: it reads no topic, so that it goes on when those who do stand still."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from agents import logs
from agents.bootstrap import close, connect
from agents.observe.health import Checks, Readiness, livez, metrics, process_registry
from agents.observe.server import Handler, Server
from agents.status import StatusFile
from streams import metrics as declared
from streams.breakers import Breakers
from streams.clock import SystemClock
from streams.core.books import Message
from streams.core.rules import Rule
from streams.core.waits import Positions
from streams.errors import LogUnavailable
from streams.instants import to_datetime
from streams.outbox import Outbox
from streams.retry import until_available
from streams.settings import Settings
from streams.stores.kafka_access import access
from streams.stores.reader_kafka import standing
from streams.stores.watch_postgres import PostgresWatch
from streams.telemetry import family
from streams.watch.config import load_rules
from streams.watch.look import Watch

SEND_WITHIN_S = 10.0
ASK_WITHIN_S = 20.0
LATE_LOOKS = 3
"""Of its intervals: a watch that has not looked for longer is not ready."""

logger = logging.getLogger(__name__)


def run(settings: Settings) -> NoReturn:
    """Watch until told to stop, and exit: 0 when stopped, 1 when something failed."""
    logs.set_up(settings, "watch")
    asyncio.run(watch(settings))
    sys.exit(os.EX_OK)


async def watch(settings: Settings) -> None:
    """Look again and again; SIGTERM and SIGINT end it. Raises `SettingsError` for rules that cannot be read."""
    looks = Looks(settings, load_rules(settings.watch_file))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    registry = process_registry()
    registry.register(looks)
    routes: dict[str, Handler] = {
        "/metrics": metrics(registry),
        "/livez": livez,
        "/readyz": Readiness(looks.checks),
    }
    server = await Server.start(routes, settings.metrics_host, settings.metrics_port)
    logger.info("watch %d: metrics and health on %s", os.getpid(), server.url)
    looks.status.tell("metrics", server.url)
    looking, stopping = asyncio.create_task(looks.run()), asyncio.create_task(stopped.wait())
    await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (looking, stopping):
        task.cancel()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await looking  # a defect is told, and ends the process
    finally:
        await server.close()


class Looks(Collector):
    """Looks every so often, and says when it did last."""

    def __init__(self, settings: Settings, rules: Mapping[str, Rule]) -> None:
        self._settings, self._rules = settings, rules
        self._breakers = Breakers.of(settings)
        path = None if settings.ready_file is None else Path(settings.ready_file)
        self.status = StatusFile(path, self._breakers, SystemClock())
        self.status.tell("role", "watch")
        self._looked_s = 0.0

    def collect(self) -> Iterator[Family]:
        """See the client."""
        yield family(declared.WATCH_LOOKED, [((), self._looked_s)])

    async def checks(self) -> Checks:
        """Ready when it has looked lately."""
        late_s = time.time() - self._looked_s
        bound_s = LATE_LOOKS * self._settings.watch_interval_s + ASK_WITHIN_S + SEND_WITHIN_S
        return {"looking": f"the last look was {late_s:.0f} s ago" if late_s > bound_s else None}

    async def run(self) -> NoReturn:
        """Look, tell, wait; for as long as a store is away it is waited for."""
        settings, max_delay_s = self._settings, self._settings.retry_max_delay_s
        parts = await until_available("connect", lambda: connect(settings, self._breakers), max_delay_s=max_delay_s)
        store = await open_store(settings)
        watch = Watch(store, self._rules, partial(_standing, settings))
        try:
            while True:
                told = await until_available(
                    "look", lambda: watch.look(to_datetime(parts.clock.now_ms())), max_delay_s=max_delay_s
                )
                await _send(Outbox(parts), told)
                self._looked_s = time.time()
                self.status.ready()
                await asyncio.sleep(settings.watch_interval_s)
        finally:
            await asyncio.gather(store.close(), close(parts))


async def open_store(settings: Settings) -> PostgresWatch:
    """What the watch asks of Postgres; it connects when first asked."""
    return await PostgresWatch.connect(
        settings.postgres_dsn,
        settings.postgres_replica_dsn,
        statement_timeout_s=settings.postgres_timeout_s,
        replica_wait_s=settings.replica_wait_s,
    )


async def _send(outbox: Outbox, told: Sequence[Message]) -> None:
    """Tell what became of tickets, and what others left: when workers stand still, the ticket that says so must go out.

    Not for ever: while Kafka is away it stands in the outbox, and the watch goes on looking.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SEND_WITHIN_S):
            await outbox.send(told)
            await outbox.send_left()


async def _standing(settings: Settings, group: str, topic: str) -> tuple[Positions, Positions]:
    try:
        async with asyncio.timeout(ASK_WITHIN_S):
            ends, read_to, _ = await standing(access(settings), group, topic)
    except TimeoutError as error:
        raise LogUnavailable(f"Kafka did not tell in {ASK_WITHIN_S:g} s how far {group} is in {topic}.") from error
    return ends, read_to
