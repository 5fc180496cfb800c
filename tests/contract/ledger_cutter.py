"""A line to a server that breaks, once, at a moment of the test's choice."""

import asyncio
from contextlib import suppress
from typing import Self


class Cutter:
    """Forwards connections; the first time a client says `at`, the line breaks before the answer comes back.

    With `deliver` the server still gets what was said, without it does not.
    """

    def __init__(self, server_port: int, *, at: bytes, deliver: bool) -> None:
        self._server_port, self._at, self._deliver = server_port, at, deliver
        self._armed = True
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen on a port of its own."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and end what is left."""
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        server, requests = await asyncio.open_connection("127.0.0.1", self._server_port)
        back = asyncio.create_task(self._forward(server, answers))
        self._tasks.add(back)
        with suppress(ConnectionError):
            while data := await client.read(65_536):
                if self._armed and self._at in data:
                    self._armed = False
                    back.cancel()
                    await asyncio.wait([back])
                    if self._deliver:
                        requests.write(data)
                        await requests.drain()
                        await server.read(1)  # the server has answered, so it has done what it was told
                    break
                requests.write(data)
                await requests.drain()
        for writer in (requests, answers):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
            target.close()  # the server hung up, and so do we
