"""What the front does with clients that are slow, too many or too large, and with servers that are not there."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest
from front import FrontProcess, free_port, front
from pipeline import Workers
from shop import encode, order

from loadtest.processes import stats, tree
from streams.settings import Settings, environment

pytest_plugins = ["stack_fixtures"]
pytestmark = pytest.mark.timeout(120)

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def body(name: str) -> bytes:
    """An order as bytes."""
    return encode(order(name, ("LIMITS-1", 1), channel="limits"))


@pytest.fixture(scope="module")
def strict(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontProcess]:
    """A front that waits for nobody for long."""
    short = {"head_timeout_s": 1, "body_timeout_s": 1, "waiters_max": 1, "streams_max": 1, "wait_max_s": 4}
    with front(settings, tmp_path_factory.mktemp("strict"), **short) as one:
        yield one


def told(connection: socket.socket) -> bytes:
    """All that is said until the connection is closed."""
    with connection, connection.makefile("rb") as answer:
        return answer.read()


@pytest.mark.parametrize("begun", [b"", b"POST /v1/orders HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(strict: FrontProcess, begun: bytes) -> None:
    """Neither from the start nor half way; the connection is closed without a word."""
    connection = strict.connect()
    connection.sendall(begun)
    began = time.monotonic()
    assert told(connection) == b""
    assert 0.5 < time.monotonic() - began < 8


def test_a_second_request_gets_its_time_anew(strict: FrontProcess) -> None:
    """A connection that has lived for longer than a head may take is served; half a head on it is not waited for."""
    connection = HTTPConnection("127.0.0.1", strict.port, timeout=20)
    connection.connect()
    kept = connection.sock
    for _ in range(3):
        connection.request("GET", "/livez")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        assert connection.sock is kept
        time.sleep(0.6)
    kept.sendall(b"GET /livez HTTP/1.1\r\n")
    assert told(kept) == b""
    connection.close()


def test_a_head_without_end_is_cut_off(strict: FrontProcess) -> None:
    """Past its bound it is refused, however it grows: by one header, by many, or by the path."""
    many = b"".join(b"X-%d: y\r\n" % n for n in range(10_000))
    for head in (
        b"GET /livez HTTP/1.1\r\nX: " + b"y" * 60_000,
        b"GET /livez HTTP/1.1\r\n" + many,
        b"GET /" + b"y" * 60_000,
    ):
        connection = strict.connect()
        connection.sendall(head + b" ")
        try:
            connection.sendall(b" HTTP/1.1\r\n\r\n")
            answer = told(connection)
        except OSError:
            continue  # closed while we were still sending
        assert b" 400 " in answer[:20] or answer == b"", answer[:200]
    assert strict.get("/livez").status == 200


def test_a_body_that_stands_still_is_408(strict: FrontProcess) -> None:
    """With a problem that says so; of a batch, behind the lines that were taken."""
    for path, kind, sent, status in (
        ("/v1/orders", "application/json", b"{", b" 408 "),
        ("/v1/orders:batch", "application/x-ndjson", b"", b" 408 "),
        ("/v1/orders:batch", "application/x-ndjson", body("still") + b"\n{", b" 207 "),
    ):
        connection = strict.connect()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 5000\r\n\r\n"
        connection.sendall(head.encode() + sent)
        answer = told(connection)
        assert status in answer[:20], answer
        assert b"too_slow" in answer
        assert answer.count(b'"status":202') == sent.count(b"\n")


def test_more_waits_and_streams_than_may_are_told_to_come_again(strict: FrontProcess) -> None:
    """The one there is room for waits and streams on; health and orders are none of them."""
    with ThreadPoolExecutor(1) as pool, strict.connect() as streaming:
        streaming.sendall(b"GET /v1/orders/limits:never/events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert streaming.recv(4_096).startswith(b"HTTP/1.1 200 OK")
        waiting = pool.submit(strict.get, "/v1/orders/limits:never?wait=4")
        time.sleep(1)
        for path in ("/v1/orders/limits:never?wait=4", "/v1/orders/limits:never/events"):
            full = strict.get(path)
            assert (full.status, full.problem, full.headers["retry-after"]) == (503, "busy", "1")
        assert strict.submit(body("beside")).status == 202
        assert waiting.result().status == 404
    deadline = time.monotonic() + 10
    while True:  # the stream's place is free again once the server has noticed that its reader has gone
        with strict.connect() as again:
            again.sendall(b"GET /v1/orders/limits:never/events HTTP/1.1\r\nHost: x\r\n\r\n")
            if again.recv(4_096).startswith(b"HTTP/1.1 200 OK"):
                break
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_without_postgres_orders_are_taken(settings: Settings, tmp_path: Path) -> None:
    """A front that starts while the ledger is away takes orders, is ready, and answers questions with 503."""
    alone = replace(settings, postgres_dsn=NOWHERE, postgres_replica_dsn=None)
    with front(alone, tmp_path) as one:
        assert one.get("/readyz").status == 200
        assert one.submit(body("no-ledger")).status == 202
        asked = one.get("/v1/orders/limits:no-ledger?wait=1")
        assert (asked.status, asked.problem) == (503, "unavailable")
        assert one.get("/v1/orders/limits:no-ledger/events").status == 503


def test_tls_is_spoken(settings: Settings, tmp_path: Path) -> None:
    """With a certificate of its own, which the client checks; plain text gets no answer."""
    certificate, key = tmp_path / "front.pem", tmp_path / "front.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    with front(settings, tmp_path, tls_cert_file=certificate, tls_key_file=key) as one:
        context = ssl.create_default_context(cafile=str(certificate))
        connection = HTTPSConnection("localhost", one.port, context=context, timeout=20)
        connection.request("POST", "/v1/orders", body("tls"), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 202
        with one.connect() as plain:
            plain.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not plain.recv(4_096).startswith(b"HTTP/")


@contextmanager
def shared(settings: Settings, directory: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Two processes on one port, under the command that starts them again."""
    argv = [sys.executable, "-c", "from infra.cli import main; main()", "http", "--port", str(port), "--processes", "2"]
    environ = {**os.environ, **environment(settings)}
    with (directory / "out.log").open("wb") as out:
        process = subprocess.Popen(argv, env=environ, cwd=directory, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def serving(process: "subprocess.Popen[bytes]", directory: Path) -> list[int]:
    """Ids of the processes that serve, once both are ready."""
    ready = list((directory / ".floodway/logs").glob("http-*.ready"))
    return [pid for pid in tree(process.pid, stats()) if serves(pid)] if len(ready) == 2 else []


def serves(pid: int) -> bool:
    """Whether it is the command itself, without the one that starts it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False  # it ended just now
    return b"http" in words and b"--processes" not in words


def test_processes_share_a_port_and_outlive_each_other(settings: Settings, running: Workers, tmp_path: Path) -> None:
    """Orders are taken by two processes; one is killed, the other goes on, and the place is filled again."""
    port = free_port()
    with shared(settings, tmp_path, port) as command:
        one = FrontProcess(command, port, tmp_path / "out.log")
        deadline = time.monotonic() + 60
        while len(before := serving(command, tmp_path)) < 2:
            assert time.monotonic() < deadline, one.log.read_text()
            time.sleep(0.1)
        assert [one.submit(body(f"shared-{n}")).status for n in range(10)] == [202] * 10
        os.kill(before[0], signal.SIGKILL)
        taken = 0
        while taken < 10:
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError):  # a connection may be the killed one's
                taken += one.submit(body(f"after-{taken}")).status == 202
        while not (set(now := serving(command, tmp_path)) - set(before) and len(now) == 2):
            assert time.monotonic() < deadline + 60, one.log.read_text()
            time.sleep(0.1)
    assert command.returncode == 0
