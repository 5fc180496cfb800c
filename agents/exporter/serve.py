"""The exporter's process: looks, and answers for what was seen."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import uvloop
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry

from agents import logs
from agents.exporter.collector import Collected
from agents.exporter.looks import Looks
from agents.exporter.scaling import Scaler
from agents.exporter.settings import ExporterSettings
from agents.observe.health import Checks, Readiness, livez, metrics
from agents.observe.server import Handler, Server
from agents.ops.board import Board
from streams.settings import Settings

SCALED = "intake"
"""The role whose number follows its lag."""
ENDS_WITHIN_S = 2.0
"""A look that does not end when it is cancelled (before Python 3.12 `wait_for` may swallow that) is left behind."""


def run(settings: Settings, exporter: ExporterSettings, status_dir: Path, say: Callable[[str], object]) -> None:
    """Serve until told to end by SIGTERM or SIGINT. Raises `SettingsError`."""
    logs.set_up(settings, "exporter")
    uvloop.run(_serve(settings, exporter, status_dir, say))


async def _serve(
    settings: Settings, exporter: ExporterSettings, status_dir: Path, say: Callable[[str], object]
) -> None:
    looks = Looks(settings, exporter, status_dir)
    scaler = Scaler(SCALED, looks, exporter.policy(), exporter.interval_s)
    board = Board(Collected(looks, scaler), lambda: looks.workers)

    def after_look() -> None:
        scaler.step()
        board.step()

    server = await Server.start({**routes(looks, scaler), **board.routes()}, exporter.host, exporter.port)
    say(server.url)
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    try:
        await looks.connect()
        looking = asyncio.create_task(looks.run(after_look), name="looks")
        told = asyncio.create_task(ending.wait(), name="ending")
        await asyncio.wait([looking, told], return_when=asyncio.FIRST_COMPLETED)
        for task in (looking, told):
            task.cancel()
        await asyncio.wait([looking], timeout=ENDS_WITHIN_S)
        if looking.done():
            with contextlib.suppress(asyncio.CancelledError):
                looking.result()  # a defect is told, and ends the process
    finally:
        await server.close()
        await looks.close()


def routes(looks: Looks, scaler: Scaler) -> Mapping[str, Handler]:
    """All that the exporter answers."""
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, Collected(looks, scaler)):
        registry.register(collector)

    async def checks() -> Checks:
        """Ready as long as Kafka tells the lag: without that nobody should scale by it."""
        return {"kafka": None if looks.up.get("kafka") else "its groups could not be looked at"}

    return {
        "/metrics": metrics(registry),
        "/autoscale": scaler.answer,
        "/livez": livez,
        "/readyz": Readiness(checks),
    }
