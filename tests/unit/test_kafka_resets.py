"""A connection to Kafka that was reset before it is written to, under uvloop, on real sockets."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from streams.stores import kafka_resets, log_kafka

HOST = "127.0.0.1"


def on_a_reset_connection(use: Callable[[AIOKafkaConnection], Awaitable[None]]) -> None:
    """Run `use` with a connection whose transport has ended behind aiokafka's back."""

    async def scene() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), HOST, 0)
        port = server.sockets[0].getsockname()[1]
        connection = AIOKafkaConnection(HOST, port)
        connection._reader, connection._writer = await asyncio.open_connection(HOST, port)
        # Its own reader would notice the end in a moment; in that moment it is written to.
        connection._read_task = reading = asyncio.ensure_future(asyncio.Event().wait())
        connection._writer.transport.abort()
        await asyncio.sleep(0.05)
        try:
            await use(connection)
        finally:
            reading.cancel()
            server.close()
            await asyncio.sleep(0.01)

    uvloop.run(scene())


def test_uvloop_tells_of_it_by_a_bare_error() -> None:
    """What aiokafka's own code makes of it: if this fails, `kafka_resets` is needed no more."""

    async def use(connection: AIOKafkaConnection) -> None:
        with pytest.raises(RuntimeError, match="the handler is closed"):
            AIOKafkaConnection.send.__wrapped__(connection, ApiVersionRequest())

    on_a_reset_connection(use)


def test_it_is_an_outage_and_the_connection_is_given_up() -> None:
    """Whoever sends gets what aiokafka retries, and the next request makes a new connection."""
    assert log_kafka  # importing the log is enough

    async def use(connection: AIOKafkaConnection) -> None:
        assert connection._writer is not None
        with pytest.raises(KafkaConnectionError, match="was reset"):
            connection.send(ApiVersionRequest())
        assert connection._writer is None

    on_a_reset_connection(use)


def test_installing_twice_replaces_once() -> None:
    """Every module that talks to Kafka may ask for it."""
    before = AIOKafkaConnection.send
    kafka_resets.install()
    assert AIOKafkaConnection.send is before
