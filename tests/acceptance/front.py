"""Front processes as they run, and a plain HTTP client to ask them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from streams.settings import Settings, environment

READY_WITHIN_S = 60.0
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


@dataclass(frozen=True)
class Got:
    """An answer; names of headers in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The one value of the body."""
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """The values of an NDJSON body."""
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def problem(self) -> str:
        """The last word of a problem's type; fails for any other answer."""
        assert self.headers["content-type"] == "application/problem+json", self
        assert self.json["status"] == self.status
        kind: str = self.json["type"].rpartition(":")[2]
        return kind


@dataclass
class FrontProcess:
    """One process of `floodway http`."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    token: str | None = field(default=None)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 30.0,
    ) -> Got:
        """One request over a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, dict(headers or {}))
            found = connection.getresponse()
            return Got(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Got:
        """GET; `_` in a header's name stands for `-`."""
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def submit(self, body: bytes, **headers: str) -> Got:
        """POST one order."""
        return self.ask(
            "POST", "/v1/orders", body, JSON | {name.replace("_", "-"): value for name, value in headers.items()}
        )

    def batch(self, body: bytes) -> Got:
        """POST lines."""
        return self.ask("POST", "/v1/orders:batch", body, NDJSON)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), 10)


@contextmanager
def front(settings: Settings, directory: Path, *, port: int | None = None, **http: object) -> Iterator[FrontProcess]:
    """A front process that listens; `http` are settings of it, without the prefix."""
    own = {f"FLOODWAY_HTTP_{name.upper()}": str(value) for name, value in http.items()}
    chosen = port or free_port()
    ready = directory / f"front-{chosen}-{time.monotonic_ns()}.ready"
    log = ready.with_suffix(".log")
    environ = {**os.environ, **environment(settings), "FLOODWAY_READY_FILE": str(ready), **own}
    argv = [sys.executable, "-c", "from infra.cli import main; main()", "http", "--port", str(chosen)]
    with log.open("wb") as out:
        process = subprocess.Popen(argv, env=environ, cwd=directory, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while not ready.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield FrontProcess(process, chosen, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
