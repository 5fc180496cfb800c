"""The proxies of drills, on real sockets: each way to misbehave is what a client would see of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from infra.embedded.addresses import HOST
from loadtest.drills.links import Links, servers
from loadtest.drills.proxy import ADDRESSES_MAX_BYTES, Link, Mode
from streams.settings import Settings

SOON_S = 2.0
SILENCE_S = 0.3


class Echo:
    """A server that answers each line with itself, and remembers what it was asked."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client has said all."""
        while line := await reader.readline():
            self.heard.append(line)
            writer.write(line)
            await writer.drain()
        writer.close()


class Client:
    """One connection by way of a link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, link: Link) -> "Client":
        """Connect."""
        return cls(*await asyncio.open_connection(HOST, link.ports["1"]))

    async def ask(self, line: bytes, *, within_s: float = SOON_S) -> bytes:
        """The answer; empty when the connection has ended."""
        self.writer.write(line)
        async with asyncio.timeout(within_s):
            return await self.reader.readline()


Connect = Callable[[Link], Awaitable[Client]]


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes connections, which end with the test."""
    made: list[Client] = []

    async def connect(link: Link) -> Client:
        made.append(await Client.of(link))
        return made[-1]

    yield connect
    for client in made:
        client.writer.transport.abort()
    await asyncio.sleep(0)


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[Echo]:
    """A running server."""
    made = Echo()
    server = await asyncio.start_server(made.serve, HOST, 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await asyncio.sleep(0.01)  # the connections' last tasks


@pytest_asyncio.fixture
async def link(echo: Echo) -> AsyncIterator[Link]:
    """An open link to it."""
    made = Link("redis", {"1": echo.port})
    await made.listen()
    yield made
    made.close()
    await asyncio.sleep(0.01)


async def test_an_open_link_passes_everything_and_ends_with_its_ends(link: Link, echo: Echo, connect: Connect) -> None:
    """A megabyte comes back as it was, and the client's end reaches the server and returns."""
    client = await connect(link)
    assert await client.ask(b"one\n") == b"one\n"
    large = (b"x" * 999 + b"\n") * 1_000
    client.writer.write(large)
    assert await client.reader.readexactly(len(large)) == large
    client.writer.write_eof()
    assert await asyncio.wait_for(client.reader.read(), SOON_S) == b""
    assert echo.heard[0] == b"one\n"


async def test_a_cut_link_resets_what_is_there_and_what_comes(link: Link, echo: Echo, connect: Connect) -> None:
    """Nothing reaches the server until it heals; then a new connection works."""
    client = await connect(link)
    assert await client.ask(b"one\n") == b"one\n"
    link.set(Mode.CUT)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.readline(), SOON_S)
    with pytest.raises(ConnectionResetError):
        await (await connect(link)).ask(b"two\n")
    link.set(Mode.OPEN)
    assert await (await connect(link)).ask(b"three\n") == b"three\n"
    assert echo.heard == [b"one\n", b"three\n"]


async def test_a_black_hole_takes_everything_and_tells_nothing(link: Link, echo: Echo, connect: Connect) -> None:
    """Old and new connections stay and are silent; what was sent meanwhile arrives when it heals."""
    client = await connect(link)
    assert await client.ask(b"one\n") == b"one\n"
    link.set(Mode.BLACK_HOLE)
    late = await connect(link)
    for silent, line in ((client, b"two\n"), (late, b"three\n")):
        with pytest.raises(TimeoutError):
            await silent.ask(line, within_s=SILENCE_S)
    assert echo.heard == [b"one\n"]
    link.set(Mode.OPEN)
    assert await asyncio.wait_for(client.reader.readline(), SOON_S) == b"two\n"
    assert await asyncio.wait_for(late.reader.readline(), SOON_S) == b"three\n"


async def test_a_half_closed_link_delivers_the_question_and_loses_the_answer(
    link: Link, echo: Echo, connect: Connect
) -> None:
    """The server did what it was asked, the client sees its connection end without a word."""
    client = await connect(link)
    link.set(Mode.HALF_CLOSE)
    assert await client.ask(b"commit\n") == b""
    assert echo.heard == [b"commit\n"]
    link.set(Mode.OPEN)
    assert await (await connect(link)).ask(b"again\n") == b"again\n"


async def test_a_slow_link_delays_each_direction_and_keeps_the_order(link: Link, connect: Connect) -> None:
    """A round trip takes twice the delay; many pieces at once take no longer than one."""
    client = await connect(link)
    link.set(Mode.OPEN, delay_s=0.1)
    began = time.monotonic()
    for n in range(50):
        client.writer.write(b"%d\n" % n)
        await client.writer.drain()
    assert [await client.reader.readline() for _ in range(50)] == [b"%d\n" % n for n in range(50)]
    assert 0.2 <= time.monotonic() - began < SOON_S
    link.set(Mode.OPEN)


async def test_a_server_that_is_down_ends_the_connection(connect: Connect) -> None:
    """The proxy does not pretend that there is somebody."""
    gone = await asyncio.start_server(lambda reader, writer: None, HOST, 0)
    port = gone.sockets[0].getsockname()[1]
    gone.close()
    link = Link("redis", {"1": port})
    await link.listen()
    with pytest.raises(ConnectionResetError):
        await (await connect(link)).ask(b"anybody?\n")
    link.close()


async def test_kafkas_addresses_lead_through_the_proxy() -> None:
    """In a small answer the brokers' ports become ours, others stay; a large one is records, and passes untouched."""
    hosts = [HOST.encode() + port.to_bytes(4) for port in (21_001, 21_002, 21_003)]
    small = b"\x00\x01" + b"..".join(hosts) + HOST.encode()
    large = (hosts[0] * 10_000)[: ADDRESSES_MAX_BYTES + 1]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (small, large):
            writer.write(len(answer).to_bytes(4) + answer)
        writer.close()

    broker = await asyncio.start_server(serve, HOST, 0)
    link = Link("kafka", {"1": 21_001, "2": 21_002, "real": broker.sockets[0].getsockname()[1]})
    await link.listen()
    reader, writer = await asyncio.open_connection(HOST, link.ports["real"])
    ours = [HOST.encode() + link.ports[name].to_bytes(4) for name in ("1", "2")]
    wanted = b"\x00\x01" + b"..".join([*ours, hosts[2]]) + HOST.encode()
    assert await asyncio.wait_for(reader.readexactly(4 + len(small)), SOON_S) == len(small).to_bytes(4) + wanted
    assert await asyncio.wait_for(reader.read(-1), SOON_S) == len(large).to_bytes(4) + large
    writer.close()
    link.close()
    broker.close()


async def test_the_process_tells_its_ports_and_takes_orders(echo: Echo, connect: Connect) -> None:
    """By lines on its standard input and output; settings that lead through it keep all else of an address."""
    settings = Settings(
        kafka_bootstrap=f"{HOST}:1,{HOST}:2",
        redis_url=f"redis://{HOST}:{echo.port}/3",
        postgres_dsn=f"postgresql://floodway@{HOST}:4/floodway",
    )
    assert servers(settings) == {"kafka": {"1": 1, "2": 2}, "redis": {"1": echo.port}, "postgres": {"1": 4}}
    async with Links.started(settings) as links:
        led = links.lead(settings)
        assert led.redis_url.startswith(f"redis://{HOST}:")
        assert led.redis_url.endswith("/3")
        assert led.postgres_dsn.startswith(f"postgresql://floodway@{HOST}:")
        assert len(led.kafka_bootstrap.split(",")) == 2
        ports = {"1": int(led.redis_url.removesuffix("/3").rpartition(":")[2])}
        through = Link("redis", {})
        through.ports = ports
        assert await (await connect(through)).ask(b"one\n") == b"one\n"
        await links.set("redis", Mode.HALF_CLOSE)
        assert await (await connect(through)).ask(b"two\n") == b""
        await links.set("redis")
        assert await (await connect(through)).ask(b"three\n") == b"three\n"
    assert echo.heard == [b"one\n", b"two\n", b"three\n"]
