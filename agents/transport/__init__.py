"""Faust transport that hands an agent one fetched chunk of one partition as one event.

`broker="chunks://host:port"` selects it. The public names are `chunk_app`, `run_worker`, `chunk_topic`, `Chunk` and
`TransportSettings`; `Transport` is what Faust's entry-point group `faust.transports` loads.
"""

from faust.transport.drivers import TRANSPORTS

from agents.transport.app import ChunkApp, chunk_app, chunk_topic, run_worker
from agents.transport.chunk import Chunk
from agents.transport.driver import Transport
from agents.transport.settings import SCHEME, TransportSettings


def register() -> None:
    """Make Faust know the scheme `chunks://` where the package's entry points are not installed. Idempotent."""
    TRANSPORTS.aliases.setdefault(SCHEME, "agents.transport:Transport")


register()

__all__ = [
    "Chunk",
    "ChunkApp",
    "Transport",
    "TransportSettings",
    "chunk_app",
    "chunk_topic",
    "register",
    "run_worker",
]
