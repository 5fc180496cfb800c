"""TCP proxies between workers and servers, in a process of their own, that can be told to misbehave.

`python -m loadtest.drills.proxy '{"redis": {"redis": 6379}}'` listens on a port of its own for each server of each
link, says which as one JSON line, then takes an order a line, `{"link": "redis", "mode": "cut", "delay_s": 0}`, and
says when it has carried it out. It ends when its standard input closes.

A Kafka client connects to the addresses that brokers tell it. So in the link `kafka` small answers are looked through
for the addresses of its servers, and ours put in their place: the length stays the same.
"""

import asyncio
import json
import socket
import struct
import sys
from collections.abc import AsyncIterator, Mapping
from enum import StrEnum

import uvloop

HOST = "127.0.0.1"
REWRITTEN = "kafka"
"""The link whose answers tell addresses."""
PIECE_BYTES = 65_536
QUEUED_PIECES = 64
"""What one direction may hold back; beyond that its sender has to wait, as with a full window."""
NUMBER_BYTES = 4
"""Kafka's lengths and ports."""
ADDRESSES_MAX_BYTES = 65_536
"""Answers that tell addresses are smaller than this; larger ones are records and pass as they are."""


class Mode(StrEnum):
    """What a link does with what passes."""

    OPEN = "open"
    """All passes."""
    CUT = "cut"
    """Connections are reset, new ones as soon as they are made."""
    BLACK_HOLE = "black-hole"
    """Connections are taken and stay, and nothing passes until the link opens: a network that loses packets."""
    HALF_CLOSE = "half-close"
    """Questions pass; in place of the answer the connection ends: it was done, and nobody was told."""


class Link:
    """The way to one kind of server: a listener for each of its nodes, one mode for all."""

    def __init__(self, name: str, servers: Mapping[str, int]) -> None:
        self.name = name
        self.mode = Mode.OPEN
        self.delay_s = 0.0
        """Added in each direction."""
        self.ports: dict[str, int] = {}
        """Ours, by the names of the servers."""
        self._servers = servers
        self._passable = asyncio.Event()
        self._passable.set()
        self._lines: set[_Line] = set()
        self._listeners: list[asyncio.Server] = []

    async def listen(self) -> None:
        """Take a free port for each server."""
        for server in self._servers:
            await self._listen(server)

    async def _listen(self, server: str) -> None:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = _Line(self, reader, writer)
            self._lines.add(line)
            try:
                if self.mode is not Mode.CUT:
                    await line.run(self._servers[server])
            finally:
                line.reset()
                self._lines.discard(line)

        listener = await asyncio.start_server(take, HOST, 0)
        self._listeners.append(listener)
        self.ports[server] = listener.sockets[0].getsockname()[1]

    def set(self, mode: Mode, delay_s: float = 0.0) -> None:
        """What happens from now on to what passes."""
        self.mode, self.delay_s = mode, delay_s
        if mode is Mode.BLACK_HOLE:
            self._passable.clear()
        else:
            self._passable.set()
        if mode is Mode.CUT:
            self._reset_all()

    def close(self) -> None:
        """End all."""
        for listener in self._listeners:
            listener.close()
        self._reset_all()

    async def passable(self) -> None:
        """Wait until something may pass."""
        await self._passable.wait()

    async def answers(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """What a server says, in pieces; ends when it has ended."""
        while self.name == REWRITTEN:
            try:
                head = await reader.readexactly(NUMBER_BYTES)
                length = int.from_bytes(head)
                if length <= ADDRESSES_MAX_BYTES:
                    yield head + self._readdressed(await reader.readexactly(length))
                    continue
                yield head
                while length:
                    piece = await reader.readexactly(min(length, PIECE_BYTES))
                    length -= len(piece)
                    yield piece
            except asyncio.IncompleteReadError:
                return
        async for piece in pieces(reader):
            yield piece

    def _readdressed(self, answer: bytes) -> bytes:
        """An answer with our addresses in place of the servers': a host is followed by its port, in four bytes."""
        host, ours = HOST.encode(), {self._servers[name]: port for name, port in self.ports.items()}
        first, *others = answer.split(host)
        for i, behind in enumerate(others):
            port = ours.get(int.from_bytes(behind[:NUMBER_BYTES]))
            if port is not None:
                others[i] = port.to_bytes(NUMBER_BYTES) + behind[NUMBER_BYTES:]
        return host.join([first, *others])

    def _reset_all(self) -> None:
        for line in list(self._lines):
            line.reset()


class _Line:
    """One connection of a client, and ours to the server for it."""

    def __init__(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._link = link
        self._reader, self._writer = reader, writer
        self._writers = [writer]

    async def run(self, port: int) -> None:
        """Carry both directions until both have ended."""
        await self._link.passable()
        try:
            reader, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            return  # the server is down: the client's connection ends, too
        self._writers.append(writer)
        questions = pieces(self._reader)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._carry(questions, writer, is_answer=False))
                tasks.create_task(self._carry(self._link.answers(reader), self._writer, is_answer=True))
        except* OSError:
            self.reset()  # one side was reset: so is the other
        for each in self._writers:
            each.close()

    def reset(self) -> None:
        """End both sides at once by RST, unless they have ended."""
        for writer in self._writers:
            if writer.is_closing():
                continue
            line = writer.get_extra_info("socket")
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _carry(self, source: AsyncIterator[bytes], to: asyncio.StreamWriter, *, is_answer: bool) -> None:
        """One direction: what comes is written when its delay is over, in order."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED_PIECES)

        async def read() -> None:
            async for piece in source:
                await waiting.put((loop.time() + self._link.delay_s, piece))
            await waiting.put((0.0, b""))

        async def write() -> None:
            while (due := await waiting.get())[1]:
                await asyncio.sleep(due[0] - loop.time())
                await self._link.passable()
                if is_answer and self._link.mode is Mode.HALF_CLOSE:
                    break
                to.write(due[1])
                await to.drain()
            if not to.is_closing():
                to.write_eof()

        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(read())
            await write()
            reading.cancel()


async def pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What comes, as it comes."""
    while piece := await reader.read(PIECE_BYTES):
        yield piece


async def _main() -> None:
    links = {name: Link(name, servers) for name, servers in json.loads(sys.argv[1]).items()}
    for link in links.values():
        await link.listen()
    _say({"ports": {name: link.ports for name, link in links.items()}})
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        links[order["link"]].set(Mode(order["mode"]), order["delay_s"])
        _say({"done": order})
    for link in links.values():
        link.close()


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
