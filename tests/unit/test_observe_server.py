"""The small server: what it answers, what it refuses, and that nobody can hold it up."""

import asyncio
import json
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest
import pytest_asyncio

from agents.observe import server as module
from agents.observe.health import Checks, Readiness, livez
from agents.observe.server import Answer, Asked, Server
from streams.errors import SettingsError


async def echo(asked: Asked) -> Answer:
    """What was asked."""
    return Answer(200, json.dumps([asked.query, asked.headers.get("accept")]).encode())


async def fail(_: Asked) -> Answer:
    """A defect."""
    raise RuntimeError("secret")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    """With a path for each thing that can happen."""
    made = await Server.start({"/echo": echo, "/fail": fail, "/livez": livez}, "127.0.0.1", 0)
    yield made
    await made.close()


async def ask(server: Server, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes; status, headers and body of the answer. Status 0 when there is none."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request)
    raw = await reader.read()
    writer.close()
    if not raw:
        return 0, {}, b""
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = dict(field.lower().split(": ", 1) for field in fields)
    return int(line.split()[1]), headers, body


def get(path: str, method: str = "GET", headers: str = "") -> bytes:
    """A request."""
    return f"{method} {path} HTTP/1.1\r\nHost: here\r\n{headers}\r\n".encode()


async def test_a_handler_gets_query_and_headers(server: Server) -> None:
    """Fields of the query are decoded, the last of a name counts; headers are found in small letters."""
    status, headers, body = await ask(server, get("/echo?a=1&a=%202&b", headers="ACCEPT: text/plain\r\n"))
    assert (status, json.loads(body)) == (200, [{"a": " 2"}, "text/plain"])
    assert (headers["content-length"], headers["connection"]) == (str(len(body)), "close")


async def test_head_is_get_without_a_body(server: Server) -> None:
    """HEAD tells the length that GET would have, and sends nothing."""
    status, headers, body = await ask(server, get("/livez", "HEAD"))
    assert (status, headers["content-length"], body) == (200, "15", b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/nothing"), 404),
        (get("/echo", "POST"), 405),
        (get("/fail"), 500),
        (b"rubbish\r\n\r\n", 400),
        (b"GET /echo HTTP/3\r\n\r\n", 400),
        (b"GET /echo HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (get("/echo", headers=f"x: {'y' * module.MAX_HEAD_BYTES}\r\n"), 431),
    ],
)
async def test_what_cannot_be_answered_is_refused(server: Server, request_: bytes, status: int) -> None:
    """With the fitting status and a line for people; a defect tells nothing of itself."""
    found, _, body = await ask(server, request_)
    assert (found, body.count(b"\n")) == (status, 1)
    assert body.startswith(HTTPStatus(status).phrase.encode())
    assert b"secret" not in body


async def test_who_says_nothing_is_dropped(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a request holds a connection for the time-out and no longer."""
    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)
    assert await ask(server, b"GET /echo HTTP/1.1\r\n") == (0, {}, b"")


async def test_there_is_room_for_some_clients_only(server: Server) -> None:
    """More than so many connections are closed unanswered; when the others end there is room again."""
    idle = [await asyncio.open_connection(server.host, server.port) for _ in range(module.MAX_CLIENTS)]
    await asyncio.sleep(0.05)
    assert (await ask(server, get("/livez")))[0] == 0
    for _, writer in idle:
        writer.close()
    await asyncio.sleep(0.05)
    assert (await ask(server, get("/livez")))[0] == 200


async def test_a_port_that_is_taken_gives_way_to_the_next(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several workers of a machine may be given the same port; past the last one tried it is an error."""
    second = await Server.start({"/livez": livez}, "127.0.0.1", server.port)
    assert server.port < second.port < server.port + module.PORTS_TRIED
    assert (await ask(second, get("/livez")))[0] == 200
    await second.close()
    monkeypatch.setattr(module, "PORTS_TRIED", 1)
    with pytest.raises(SettingsError, match=str(server.port)):
        await Server.start({}, "127.0.0.1", server.port)


async def test_readiness_tells_each_check_and_asks_once() -> None:
    """200 when all is well, else 503 with what is wrong; who asks at once shares one look at the stores."""
    looks = 0
    wrong: Checks = {"assigned": None, "epoch": "another"}

    async def check() -> Checks:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.01)
        return wrong

    ready = Readiness(check)
    asked = Asked({}, {})
    answers = await asyncio.gather(*(ready(asked) for _ in range(5)), ready(asked))
    assert looks == 1
    assert {answer.status for answer in answers} == {503}
    assert json.loads(answers[0].body)["checks"] == {"assigned": "ok", "epoch": "another"}
    wrong = {"assigned": None}
    assert (await Readiness(check)(asked)).status == 200


async def test_readiness_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs makes a worker unready, in time for whoever asks."""
    monkeypatch.setattr("agents.observe.health.READY_WITHIN_S", 0.05)
    hangs = asyncio.Event()

    async def check() -> Checks:
        await hangs.wait()
        return {}

    ready = Readiness(check)
    answer = await ready(Asked({}, {}))
    assert (answer.status, json.loads(answer.body)["status"]) == (503, "unavailable")
    hangs.set()
    assert (await ready(Asked({}, {}))).status == 200
