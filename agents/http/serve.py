"""One front process: its parts, the server around them, and an end that leaves nobody unanswered."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import orjson
import uvicorn
import uvloop

from agents import logs
from agents.http.app import Front
from agents.http.appender import Appender
from agents.http.idempotency import Keys
from agents.http.ledger import Stories
from agents.http.limits import Rates
from agents.http.links import Links
from agents.http.observed import Requests
from agents.http.pages import pages
from agents.http.protocol import protocol
from agents.http.reading import Reading
from agents.http.remarking import Remarking
from agents.http.routes import Health, routes
from agents.http.settings import PREFIX, HttpSettings
from agents.http.submitting import Submitting
from agents.http.tokens import Tokens
from agents.http.watching import TOPICS, Watching
from agents.observe.health import metrics, process_registry
from agents.observe.server import Server
from streams.clock import SystemClock
from streams.errors import SettingsError
from streams.retry import until_available
from streams.settings import Settings
from streams.stores.answers_redis import RedisAnswers
from streams.stores.kafka_access import access
from streams.stores.log_kafka import KafkaLog

BACKLOG = 1_024
LEASE_MARGIN_S = 5.0
"""A claim of an idempotency key outlives its request by so much."""


logger = logging.getLogger(__name__)


def run(settings: Settings, http: HttpSettings) -> None:
    """Serve until told to end by SIGTERM or SIGINT. Raises `SettingsError`."""
    logs.set_up(settings, "http")
    tokens = Tokens.load(http)
    context = _tls(http)
    listener = listen(http)
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    uvloop.run(_serve(settings, http, tokens, listener, context))


def listen(http: HttpSettings) -> socket.socket:
    """A socket on the address, which other front processes may share. Raises `SettingsError`."""
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((http.host, http.port))
    except OSError as error:
        made.close()
        raise SettingsError(f"{PREFIX}HOST={http.host} and PORT={http.port} cannot be listened on: {error}.") from error
    made.set_inheritable(False)
    return made


async def _serve(
    settings: Settings, http: HttpSettings, tokens: Tokens, listener: socket.socket, context: ssl.SSLContext | None
) -> None:
    ending = asyncio.Event()
    requests = Requests()
    async with (
        _front(settings, http, tokens, ending, requests) as (front, watching),
        _observed(settings, requests) as told,
    ):
        config = uvicorn.Config(
            front,
            http=protocol(http.head_timeout_s),
            ws="none",
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            limit_concurrency=http.connections_max,
            timeout_keep_alive=round(http.idle_timeout_s),
            timeout_graceful_shutdown=max(1, round(http.drain_timeout_s)),
        )
        config.load()
        config.ssl = context
        server = _Server(config, settings.ready_file, told)

        def end() -> None:
            ending.set()
            watching.wake_all()
            server.should_exit = True

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        await server.serve(sockets=[listener])


@contextlib.asynccontextmanager
async def _front(
    settings: Settings, http: HttpSettings, tokens: Tokens, ending: asyncio.Event, requests: Requests
) -> AsyncIterator[tuple[Front, Watching]]:
    """The application with all its parts. Orders need Kafka alone; the rest connects in its own time."""
    brokers = access(settings)
    log = await until_available(
        "kafka",
        lambda: KafkaLog.connect(brokers, timeout_s=http.append_timeout_s),
        max_delay_s=settings.retry_max_delay_s,
    )
    answers = RedisAnswers.connect(
        http.redis_url or settings.redis_url,
        timeout_s=min(settings.redis_timeout_s, http.request_timeout_s / 2),
        lease_s=http.request_timeout_s + LEASE_MARGIN_S,
        keep_s=http.idempotency_ttl_s,
    )
    appender = Appender(log, max_bytes=http.backlog_max_bytes)
    stories, watching, rates = Stories(settings), Watching(), Rates(http.rate_burst_s)
    tasks = [asyncio.create_task(stories.connect())]
    tasks += [asyncio.create_task(watching.run(brokers, topic)) for topic in TOPICS]
    try:
        keys, clock = Keys(answers), SystemClock()
        submitting = Submitting(appender, keys, rates, clock, http)
        reading = Reading(stories.tell, stories.why, Links(http, clock), watching, ending, http)
        remarking = Remarking(log, stories.find, keys, clock, http)
        table = {**routes(submitting, reading, remarking, Health(log.ping, ending)), **pages()}
        requests.backlog_bytes = lambda: appender.backlog_bytes
        yield Front(table, tokens, rates, http, requests), watching
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(http.append_timeout_s):
                await appender.flush()
        await asyncio.gather(log.close(), answers.close(), stories.close())


@contextlib.asynccontextmanager
async def _observed(settings: Settings, requests: Requests) -> AsyncIterator[dict[str, object]]:
    """A `/metrics` of this process' own: all share the front's port, and only one of them would answer there."""
    told: dict[str, object] = {"role": "http", "pid": os.getpid()}
    registry = process_registry()
    registry.register(requests)
    try:
        server = await Server.start({"/metrics": metrics(registry)}, settings.metrics_host, settings.metrics_port)
    except SettingsError as error:  # orders matter more
        logger.error("no metrics: %s", error)
        yield told
        return
    logger.info("http %d: metrics on %s", os.getpid(), server.url)
    try:
        yield {**told, "metrics": server.url}
    finally:
        await server.close()


class _Server(uvicorn.Server):
    """uvicorn's server, with signals left to us; it makes the file for supervisors once it listens."""

    def __init__(self, config: uvicorn.Config, ready_file: str | None, told: Mapping[str, object]) -> None:
        super().__init__(config)
        self._ready_file, self._told = ready_file, told

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        if self._ready_file is not None:
            Path(self._ready_file).write_bytes(orjson.dumps(self._told))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None."""
        yield


def _tls(http: HttpSettings) -> ssl.SSLContext | None:
    if http.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(http.tls_cert_file, http.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"{PREFIX}TLS_CERT_FILE={http.tls_cert_file} cannot be used: {error}.") from error
    return context
