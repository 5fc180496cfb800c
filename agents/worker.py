"""Worker processes by role, each one Faust agent around the stages.

`intake` decides submissions. `lifecycle` applies reports, and keeps time: expires holds, finishes promotions. `notify`
tells people.

An agent's parts and background tasks live in one task group with its reading loop: whatever fails ends the body, and
the transport stops the worker with nothing acknowledged that was not done. A supervisor starts it again.
"""

import asyncio
import atexit
import contextlib
import gc
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

from agents import logs
from agents.bootstrap import close, connect
from agents.observe.worker import Endpoint, Standing
from agents.roles import group
from agents.status import StatusFile
from agents.transport import ChunkApp, TransportSettings, chunk_app, chunk_topic, run_worker
from streams.breakers import Breakers
from streams.clock import SystemClock
from streams.errors import Fenced, SettingsError
from streams.intake.patience import Assignment, PatientIntake
from streams.lifecycle import Lifecycle
from streams.notify import config as notify_config
from streams.notify.lanes import Lanes
from streams.notify.taking import Taking
from streams.parts import Parts
from streams.promotions import advance_promotions
from streams.retry import until_available
from streams.settings import Settings
from streams.stores.deliveries_postgres import PostgresDeliveries
from streams.stores.kafka_access import access
from streams.stores.review_kafka import KafkaReview
from streams.telemetry import REBALANCES, SAMPLE, taken
from streams.topics import NOTIFICATIONS, REPORTED, SUBMITTED, TICKETS
from streams.waiting import last_wait_s

logger = logging.getLogger(__name__)


def run(role: str, settings: Settings) -> NoReturn:
    """Run a worker of this role until it is told to stop, and exit: 0 when stopped, 1 when something failed."""
    make = {"intake": intake_app, "lifecycle": lifecycle_app, "notify": notify_app}[role]
    logs.set_up(settings, role)
    SAMPLE.one_in = settings.log_one_in
    if settings.tracing:
        _trace(role)
    app, endpoint = make(settings)
    # Batches are thousands of tuples and no cycles: at its default the collector looks through them again and again.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    run_worker(app, endpoint, loglevel="WARNING", override_logging=False)  # its handlers are not ours


def _trace(role: str) -> None:
    try:
        from agents import tracing  # noqa: PLC0415 - of an extra
    except ImportError as error:
        raise SettingsError(
            f"FLOODWAY_TRACING=true needs OpenTelemetry ({error}); pip install 'floodway[tracing]'."
        ) from error
    atexit.register(tracing.start(role).shutdown)


def intake_app(settings: Settings) -> tuple[ChunkApp, Endpoint]:
    """Reads submissions and hands each chunk to the stages, which acknowledge it."""
    breakers = Breakers.of(settings)
    app, standing, endpoint = _app("intake", settings, breakers)
    assignment = _Assignment(app)
    queue = KafkaReview(access(settings), by_operator=settings.review_release == "operator")

    async def intake(stream: Any) -> None:
        async with _parts(standing) as parts, asyncio.TaskGroup() as tasks:
            stages = PatientIntake(parts, queue, assignment.now)
            background = tasks.create_task(stages.run(), name="stages"), tasks.create_task(parts.ask_when_idle())
            async for event in stream.noack().events():
                taken(event.value)
                await stages.take(event.value)
            for task in background:
                task.cancel()

    app.agent(chunk_topic(app, SUBMITTED.name), name="intake")(intake)
    return app, endpoint


def lifecycle_app(settings: Settings) -> tuple[ChunkApp, Endpoint]:
    """Reads reports; beside that looks through holds and promotions at short intervals."""
    breakers = Breakers.of(settings)
    app, standing, endpoint = _app("lifecycle", settings, breakers)

    async def lifecycle(stream: Any) -> None:
        async with _parts(standing) as parts, asyncio.TaskGroup() as tasks:
            orders = Lifecycle(parts)
            background = (
                tasks.create_task(_keep(orders, parts), name="keeper"),
                tasks.create_task(parts.ask_when_idle()),
            )
            async for event in stream.noack().events():
                taken(event.value)
                await orders.take(event.value)
            for task in background:
                task.cancel()

    app.agent(chunk_topic(app, REPORTED.name), name="lifecycle")(lifecycle)
    return app, endpoint


def notify_app(settings: Settings) -> tuple[ChunkApp, Endpoint]:
    """Reads what people are to be told, and delivers it, one lane a target."""
    plan, wordings = notify_config.load(settings, os.environ)
    breakers = Breakers.of(settings)
    app, standing, endpoint = _app("notify", settings, breakers)

    async def notify(stream: Any) -> None:
        async with (
            _parts(standing) as parts,
            _deliveries(settings, len(plan.targets)) as deliveries,
            asyncio.TaskGroup() as tasks,
        ):
            taking, lanes = Taking(parts, deliveries, plan), Lanes(parts, deliveries, plan, wordings)
            background = tasks.create_task(lanes.run(), name="lanes"), tasks.create_task(parts.ask_when_idle())
            async for event in stream.noack().events():
                taken(event.value)
                await parts.let_in()
                if await taking.take(event.value):
                    lanes.wake()
            for task in background:
                task.cancel()

    app.agent(chunk_topic(app, NOTIFICATIONS.name, TICKETS.name), name="notify")(notify)
    return app, endpoint


async def _keep(orders: Lifecycle, parts: Parts) -> None:
    """End what time has ended: promotions past their window, holds past their deadline; see to what was left."""
    settings = parts.settings
    while True:
        await advance(parts)
        await orders.look_after()
        ended = await orders.expire_due()
        if ended < settings.expiry_batch:
            await asyncio.sleep(settings.expiry_interval_s)


async def advance(parts: Parts) -> None:
    """Carry promotions on; beside a stock that is not ours they wait, as orders and holds do."""
    try:
        await until_available(
            "promotions", lambda: advance_promotions(parts), max_delay_s=parts.settings.retry_max_delay_s
        )
    except Fenced as error:
        logger.error("promotions: %s", error)


@contextlib.asynccontextmanager
async def _parts(standing: Standing) -> AsyncIterator[Parts]:
    settings, breakers = standing.settings, standing.breakers
    parts = await until_available(
        "connect", lambda: connect(settings, breakers), max_delay_s=settings.retry_max_delay_s
    )
    standing.parts = parts
    try:
        yield parts
    finally:
        standing.parts = None
        await close(parts)


@contextlib.asynccontextmanager
async def _deliveries(settings: Settings, lanes: int) -> AsyncIterator[PostgresDeliveries]:
    made = await PostgresDeliveries.connect(
        settings.postgres_dsn, lanes=lanes, statement_timeout_s=settings.postgres_timeout_s, at_once=False
    )
    try:
        yield made
    finally:
        await made.close()


def _app(role: str, settings: Settings, breakers: Breakers) -> tuple[ChunkApp, Standing, Endpoint]:
    transport = TransportSettings(
        chunk_max_records=settings.chunk_max_records,
        max_inflight_records=max(20_000, 4 * settings.chunk_max_records),
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
        linger_ms=settings.linger_ms,
        stall_timeout_s=settings.stall_timeout_s,
        last_wait_s=last_wait_s,
    )
    app = chunk_app(
        group(role),
        access(settings),
        commit_interval_s=settings.commit_interval_s,
        session_timeout_s=settings.session_timeout_s,
        instance_id=settings.group_instance_id,
        transport=transport,
    )
    path = None if settings.ready_file is None else Path(settings.ready_file)
    status, standing = StatusFile(path, breakers, SystemClock()), Standing(role, app, breakers, settings)
    status.tell("role", role)

    def listening(url: str) -> None:
        status.tell("metrics", url)
        logger.info("%s worker %d: metrics and health on %s", role, os.getpid(), url)

    _tell_when_assigned(app, status, standing)
    return app, standing, Endpoint(standing, listening)


class _Assignment:
    """The partitions that this worker has, and how often they have been dealt out."""

    def __init__(self, app: ChunkApp) -> None:
        self._dealt, self._partitions = 0, frozenset[int]()
        app.on_partitions_assigned.connect(self._assigned, weak=False)

    def now(self) -> Assignment:
        """As it is now."""
        return self._dealt, self._partitions

    async def _assigned(self, _app: Any, assigned: Any, **_: Any) -> None:
        self._dealt += 1
        self._partitions = frozenset(tp.partition for tp in assigned)


def _tell_when_assigned(app: ChunkApp, status: StatusFile, standing: Standing) -> None:
    async def assigned(_app: Any, assigned: Any, **_: Any) -> None:
        REBALANCES.inc()
        standing.partitions = frozenset((tp.topic, tp.partition) for tp in assigned)
        if assigned:
            status.ready()

    app.on_partitions_assigned.connect(assigned, weak=False)
