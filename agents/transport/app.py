"""The one place that knows Faust's settings: makes an app that reads chunks, and runs it as a worker process."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import faust
import uvloop
from faust.types.auth import CredentialsT
from yarl import URL

from agents.transport.failure import StopWorkerSupervisor
from agents.transport.settings import SCHEME, TransportSettings
from streams.stores.kafka_access import Brokers, KafkaAccess, access_to


class ChunkApp(faust.App):
    """A Faust app whose consumer follows `transport_settings`, and which stops without leaving work half done."""

    transport_settings = TransportSettings()

    async def on_stop(self) -> None:
        """Let agents finish the chunks they work on, and commit, before Faust cancels them."""
        if self._consumer is not None and not self.crashed:
            await self.consumer.hand_back()
        await super().on_stop()


def chunk_app(
    app_id: str,
    brokers: Brokers,
    *,
    commit_interval_s: float = 1.0,
    session_timeout_s: float = 30.0,
    rebalance_timeout_s: float = 60.0,
    max_poll_interval_s: float = 300.0,
    instance_id: str | None = None,
    transport: TransportSettings | None = None,
    datadir: Path | None = None,
    **overrides: Any,
) -> ChunkApp:
    """Make an app of consumer group `app_id` on these brokers.

    `overrides` are Faust's own settings, for sensors and the like. An agent that hangs with every
    partition at its limit leaves the group after `max_poll_interval_s`. With an `instance_id` (static membership) a
    worker that ends does not leave: its partitions wait for one of that id until the session is over.
    """
    brokers = access_to(brokers)
    app = ChunkApp(
        app_id,
        **{
            "broker": [URL(f"{SCHEME}://{server.strip()}") for server in brokers.bootstrap.split(",")],
            "broker_credentials": _credentials(brokers),
            "broker_commit_interval": commit_interval_s,
            "broker_session_timeout": session_timeout_s,
            "broker_heartbeat_interval": min(3.0, session_timeout_s / 3),
            "broker_rebalance_timeout": rebalance_timeout_s,
            "broker_max_poll_interval": max_poll_interval_s,
            "broker_request_timeout": max(40.0, session_timeout_s),
            "consumer_auto_offset_reset": "earliest",
            "consumer_group_instance_id": instance_id,
            "producer_acks": -1,
            "processing_guarantee": "at_least_once",
            "stream_wait_empty": False,  # an agent that hangs would hold up the whole group; `hand_back` waits a little
            "stream_buffer_maxsize": 65_536,  # never reached: the in-flight limits are far below
            "agent_supervisor": StopWorkerSupervisor,
            "topic_disable_leader": True,
            "topic_allow_declare": False,
            "topic_partitions": 1,
            "reply_create_topic": False,
            "table_standby_replicas": 0,
            "store": "memory://",
            "cache": "memory://",
            "datadir": datadir or Path(tempfile.gettempdir()) / f"faust-{app_id}",
            "web_enabled": False,
            "worker_redirect_stdouts": False,
            **overrides,
        },
    )
    app.transport_settings = transport or TransportSettings()
    return app


def _credentials(brokers: KafkaAccess) -> CredentialsT | None:
    """What Faust gives to each of its clients; None for brokers that ask for nothing."""
    if brokers.uses_sasl:
        return faust.SASLCredentials(
            username=brokers.user,
            password=brokers.password,
            mechanism=brokers.sasl_mechanism,
            ssl_context=brokers.ssl_context(),
        )
    context = brokers.ssl_context()
    return faust.SSLCredentials(context) if context is not None else None


def chunk_topic(app: ChunkApp, *names: str, **options: Any) -> Any:
    """Declare a topic, or several for one agent, whose chunks reach it untouched; its events' values are `Chunk`s."""
    schema = faust.Schema(key_type=bytes, key_serializer="raw", value_type=bytes, value_serializer="raw")
    return app.topic(*names, schema=schema, **options)


def run_worker(app: ChunkApp, *services: Any, loglevel: str = "WARNING", **worker_options: Any) -> NoReturn:
    """Run the app on uvloop until it is told to stop (SIGTERM, SIGINT) or fails, and exit: 0 stopped, 1 failed.

    `services` are mode's; they start before the app and stop after it.
    """
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # by policy: the consumer's thread makes its own loop
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    options: Mapping[str, Any] = {"quiet": True, "loglevel": loglevel, "loop": loop, **worker_options}
    worker = faust.Worker(app, *services, **options)
    worker.spinner = None  # it writes escape codes even where nobody looks
    worker.execute_from_commandline()
    raise AssertionError("execute_from_commandline exits")
