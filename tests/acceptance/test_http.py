"""The HTTP front on a running pipeline: what it acknowledges is decided, whatever dies."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from front import FrontProcess, Got, front
from observing import samples
from pipeline import Workers, until
from shop import encode, order, report, stock_up

from infra.embedded import Part, Stack
from streams.messages import ReportType
from streams.metrics import ALL, Teller
from streams.parts import Parts
from streams.settings import Settings
from streams.stores.kafka_access import access
from streams.stores.reader_kafka import TopicReader
from streams.topics import SUBMITTED

pytest_plugins = ["stack_fixtures"]
pytestmark = pytest.mark.timeout(120)

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def fronts(
    settings: Settings, running: Workers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FrontProcess, FrontProcess]]:
    """Two processes beside the workers, each on a port of its own."""
    directory = tmp_path_factory.mktemp("fronts")
    with front(settings, directory) as one, front(settings, directory) as other:
        yield one, other


@pytest.fixture
async def shelf(parts: Parts) -> str:
    """A SKU with plenty."""
    await stock_up(parts, "http", [("HTTP-1", 1_000_000)])
    return "HTTP-1"


def body(name: str, sku: str = "HTTP-1", qty: int = 1) -> bytes:
    """An order as bytes."""
    return encode(order(name, (sku, qty), channel="http"))


async def test_an_order_comes_back_decided(fronts: tuple[FrontProcess, FrontProcess], shelf: str) -> None:
    """202, then the decision by waiting on the other process, by its name and by its id, and a token that holds."""
    one, other = fronts
    taken = one.submit(body("one", shelf, 2), traceparent=TRACE)
    assert (taken.status, taken.json) == (202, {"order": "http:one", "trace_id": TRACE[3:35]})
    story = other.get(taken.headers["location"] + "?wait=10")
    assert (story.status, story.json["outcome"], story.json["state"]) == (200, "accepted", "held")
    assert story.json["trace_id"] == TRACE[3:35]
    assert story.json["lines"] == [{"sku": shelf, "pool": "main", "qty": 2}]
    by_id = one.get(f"/v1/orders/{story.json['order_id']}")
    assert by_id.json == story.json
    timeline = one.get(f"/v1/orders/{story.json['order_id']}/timeline")
    assert timeline.json["moments"] == story.json["moments"]
    assert [stage["name"] for stage in timeline.json["stages"]] == ["intake", "payment"]
    assert one.get("/v1/orders/http:one", if_none_match=by_id.headers["etag"]).status == 304


async def test_a_trace_is_made_where_none_came(fronts: tuple[FrontProcess, FrontProcess], shelf: str) -> None:
    """It is the order's own id, as intake would have it, also when what came is no trace context."""
    one, _ = fronts
    taken = one.submit(body("trace", shelf), traceparent="00-" + "0" * 32 + "-00f067aa0ba902b7-01")
    story = one.get("/v1/orders/http:trace?wait=10").json
    assert taken.json["trace_id"] == story["trace_id"] == story["order_id"].replace("-", "")


@pytest.mark.parametrize(
    ("body_", "problem", "field"),
    [
        (b"", "empty", None),
        (b"{", "not_json", None),
        (b"[]", "invalid_field", "$"),
        (body("x").replace(b'"qty":1', b'"qty":0'), "invalid_field", "$.lines[0].qty"),
        (body("x").replace(b"http", b"a:b"), "invalid_field", "$.channel"),
        (body("x").replace(b'"submitted_at":"20', b'"submitted_at":"19'), "invalid_field", "$.submitted_at"),
    ],
)
def test_what_intake_would_bury_is_refused(
    fronts: tuple[FrontProcess, FrontProcess], body_: bytes, problem: str, field: str | None
) -> None:
    """With the reason, field and fix that a dead letter would have, alone and as a line of a batch."""
    one, _ = fronts
    alone = one.submit(body_)
    assert (alone.status, alone.problem, alone.json.get("field")) == (400, problem, field)
    assert alone.json["fix"]
    if body_:
        batch = one.batch(body_ + b"\n")
        assert batch.status == 207
        assert batch.lines == [alone.json | {"line": 1}]


def test_limits_are_told(fronts: tuple[FrontProcess, FrontProcess]) -> None:
    """Too large, of another type, by another method, on another path, with a parameter that is none."""
    one, _ = fronts
    assert one.submit(b" " * 70_000).problem == "too_large"
    assert one.ask("POST", "/v1/orders", b"{}", {"Content-Type": "text/plain"}).status == 415
    wrong = one.ask("DELETE", "/v1/orders")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert one.get("/v1/nothing").status == 404
    assert one.get("/v1/orders/http:one?wat=1").problem == "invalid_parameter"
    assert one.get("/v1/orders/http:one?wait=-1").problem == "invalid_parameter"
    assert one.get("/v1/orders/nobody").problem == "invalid_parameter"
    assert one.get("/v1/orders/http:never").problem == "unknown_order"
    assert one.get("/v1/orders/http:one", floodway_read_token="yesterday").json["field"] == "floodway-read-token"
    assert one.ask("HEAD", "/livez").body == b""


async def test_a_key_gets_one_answer_from_all_processes(
    fronts: tuple[FrontProcess, FrontProcess], settings: Settings, shelf: str
) -> None:
    """The first answer again, from either process, and 422 for another body; the order stands in Kafka once."""
    one, other = fronts
    first = one.submit(body("key", shelf), Idempotency_Key='"k-1"')
    again = other.submit(body("key", shelf), Idempotency_Key='"k-1"')  # stamped anew, so another request
    assert (first.status, again.status, again.problem) == (202, 422, "key_reused")
    same = body("key-2", shelf)
    answers = [which.submit(same, Idempotency_Key="k-2") for which in (one, other, one)]
    assert {(a.status, a.body, a.headers["location"]) for a in answers} == {
        (202, answers[0].body, "/v1/orders/http:key-2")
    }
    assert [a.headers.get("idempotency-replayed") for a in answers] == [None, "true", "true"]
    assert await count(settings, b"http:key-2") == 1
    assert one.submit(same, Idempotency_Key="a b").problem == "invalid_parameter"


async def test_one_of_many_at_once_does_the_work(
    fronts: tuple[FrontProcess, FrontProcess], settings: Settings, shelf: str
) -> None:
    """Twenty requests under one key at the same time: one is taken, the others hear 409 or the answer kept."""
    same = body("race", shelf)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: fronts[n % 2].submit(same, Idempotency_Key="race"), range(20)))
    kinds = [a.status if a.status == 409 else a.headers.get("idempotency-replayed", "first") for a in answers]
    assert kinds.count("first") == 1
    assert set(kinds) <= {"first", "true", 409}
    assert all(a.headers["retry-after"] for a in answers if a.status == 409)
    assert await count(settings, b"http:race") == 1


async def test_without_redis_keys_wait_and_orders_do_not(settings: Settings, running: Workers, tmp_path: Path) -> None:
    """Redis is away for the front: under a key 503 and when to come again, without one 202."""
    with front(settings, tmp_path, redis_url=NOWHERE) as alone:
        keyed = alone.submit(body("no-redis"), Idempotency_Key='"k"')
        assert (keyed.status, keyed.problem, keyed.headers["retry-after"]) == (503, "unavailable", "1")
        assert alone.submit(body("no-redis-2")).status == 202
    assert await count(settings, b"http:no-redis") == 0
    assert await count(settings, b"http:no-redis-2") == 1


async def test_a_batch_tells_of_each_line(fronts: tuple[FrontProcess, FrontProcess], shelf: str) -> None:
    """Good lines are taken beside bad ones, empty lines count and are passed over, the last needs no line feed."""
    one, other = fronts
    got = one.batch(
        b"\n".join([body("b-1", shelf), b"", b"nonsense\r", body("b-2", shelf) + b"\r", body("b-3", shelf)])
    )
    assert got.status == 207
    assert (got.headers["floodway-taken"], got.headers["floodway-not-taken"]) == ("3", "1")
    assert [(line["line"], line["status"]) for line in got.lines] == [(1, 202), (3, 400), (4, 202), (5, 202)]
    for line in got.lines:
        if line["status"] == 202:
            assert other.get(f"/v1/orders/{line['order']}?wait=10").json["outcome"] == "accepted"
    assert one.batch(b"\n\n").problem == "empty"
    keyed = one.ask("POST", "/v1/orders:batch", b"", {"Content-Type": "application/x-ndjson", "Idempotency-Key": "k"})
    assert keyed.problem == "invalid_parameter"


def test_a_batch_over_a_limit_says_where_it_ends(settings: Settings, running: Workers, tmp_path: Path) -> None:
    """Told of its length it is refused unread; else lines have their results, and the last one says what was wrong."""
    with front(settings, tmp_path, batch_max_bytes=100_000, batch_max_orders=600) as small:
        assert small.batch(b"x" * 100_001).status == 413
        lines = b"".join(body(f"long-{n}") + b"\n" for n in range(700))
        assert len(lines) < 150_000
        got = chunked(small, lines)
        assert got.status == 207
        taken = [line for line in got.lines if line["status"] == 202]
        assert [line["line"] for line in taken] == list(range(1, len(taken) + 1))
        assert got.lines[-1]["status"] == 413
        assert got.lines[-1]["line"] == len(taken) + 1
        assert got.headers["connection"] == "close"


async def test_events_are_pushed_and_go_on_where_they_ended(
    fronts: tuple[FrontProcess, FrontProcess], parts: Parts, shelf: str
) -> None:
    """A stream opened before the order tells of its decision and its cancellation; another, on the other process, only
    what came behind the last id seen.
    """
    one, other = fronts
    with stream(one, "/v1/orders/http:told/events") as events:
        one.submit(body("told", shelf))
        submitted, accepted = await events.until(2)
        assert (submitted["event"], accepted["event"]) == ("submitted", "accepted")
        order_id = one.get("/v1/orders/http:told").json["order_id"]
        await report(parts, ReportType.ORDER_CANCELLED, [UUID(order_id)])
        changed = (await events.until(3))[2]
        assert changed["event"] == "order.cancelled"
    with stream(other, f"/v1/orders/{order_id}/events", last_event_id=accepted["id"]) as later:
        assert await later.until(1) == [changed]
    assert one.get("/v1/orders/http:told").headers["etag"] == f'W/"{changed["id"]}"'


async def test_a_front_killed_amid_batches_loses_nothing_acknowledged(
    settings: Settings, running: Workers, parts: Parts, shelf: str, tmp_path: Path
) -> None:
    """Batches and single orders until the process is killed: what had its 202 stands in Kafka and is decided."""
    acknowledged: list[str] = []
    with front(settings, tmp_path) as doomed:
        killed = threading.Event()

        def batches() -> None:
            n = 0
            while not killed.is_set():
                n += 1
                lines = b"".join(body(f"kill-b{n}-{i}", shelf) + b"\n" for i in range(300))
                try:
                    got = doomed.batch(lines)
                except OSError:
                    return
                acknowledged.extend(line["order"] for line in got.lines if line["status"] == 202)

        def singles() -> None:
            n = 0
            while not killed.is_set():
                n += 1
                try:
                    got = doomed.submit(body(f"kill-s{n}", shelf))
                except OSError:
                    return
                if got.status == 202:
                    acknowledged.append(got.json["order"])

        with ThreadPoolExecutor(3) as pool:
            done = [pool.submit(batches), pool.submit(singles)]
            await asyncio.sleep(1.5)
            os.kill(doomed.process.pid, signal.SIGKILL)
            doomed.process.wait()
            killed.set()
            for one in done:
                one.result()
    assert len(acknowledged) > 300
    assert any(":kill-s" in name for name in acknowledged)
    wanted = [(name.split(":", 1)[0], name.split(":", 1)[1]) for name in acknowledged]

    async def all_decided() -> bool:
        return all(
            [
                len(await parts.ledger.lookup(wanted[at : at + 2000])) == len(wanted[at : at + 2000])
                for at in range(0, len(wanted), 2000)
            ]
        )

    await until(all_decided, within_s=30, what="decisions on what was acknowledged")


def test_it_ends_when_nobody_waits_any_more(settings: Settings, running: Workers, tmp_path: Path) -> None:
    """SIGTERM amid a slow batch, a long wait and a stream: the batch is answered, the others end, exit code 0."""
    with front(settings, tmp_path) as ending:
        assert ending.get("/v1/orders/http:never-ever").status == 404
        line = body("slow") + b"\n"
        head = b"POST /v1/orders:batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
        with ThreadPoolExecutor(2) as pool, ending.connect() as connection:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % (2 * len(line)) + line)
            waits = pool.submit(ending.get, "/v1/orders/http:never-ever?wait=30")
            streams = pool.submit(ending.get, "/v1/orders/http:never-ever/events")
            time.sleep(0.5)
            began = time.monotonic()
            ending.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(line)
            answer = connection.makefile("rb").read()
            assert b" 200 OK" in answer
            assert answer.count(b'"status":202') == 2
            assert waits.result().status == 404
            assert streams.result().status == 200
        assert ending.process.wait(10) == 0
        assert time.monotonic() - began < 10


def test_kafka_frozen_is_503_and_back_is_202(
    stack: Stack, settings: Settings, running: Workers, tmp_path: Path
) -> None:
    """While no broker confirms, nothing gets a 202; a repeat of the same request is taken once it is back."""
    with front(settings, tmp_path, append_timeout_s=1) as one:
        pid = stack.pids()[Part.KAFKA]
        os.kill(pid, signal.SIGSTOP)
        try:
            frozen = one.submit(body("frozen"), Idempotency_Key='"frozen"')
            assert (frozen.status, frozen.problem) == (503, "unavailable")
            assert int(frozen.headers["retry-after"]) >= 1
            batch = one.batch(body("frozen-2") + b"\n")
            assert batch.status == 207
            assert [line["status"] for line in batch.lines] == [503]
            assert one.get("/readyz").status == 503
            assert one.get("/livez").status == 200
        finally:
            os.kill(pid, signal.SIGCONT)
        taken = soon_taken(one, body("frozen"))
        assert taken.status == 202
        assert one.get("/v1/orders/http:frozen?wait=15").status == 200


def test_tokens_say_who_may_what(settings: Settings, running: Workers, tmp_path: Path) -> None:
    """401 without a known one, 403 without the scope, 429 when its rate is used up; health needs none."""
    made = {
        name: new_token(name, *scopes) for name, scopes in (("writer", ["orders:write"]), ("reader", ["orders:read"]))
    }
    file = tmp_path / "tokens"
    file.write_text(f"# who\n{made['writer'][1]} rate=3\n{made['reader'][1]}\n")
    with front(settings, tmp_path, tokens_file=file, rate_burst_s=1) as guarded:
        assert guarded.get("/livez").status == 200
        bare = guarded.get("/v1/orders/http:one")
        assert (bare.status, bare.problem, bare.headers["www-authenticate"]) == (401, "no_token", "Bearer")
        assert guarded.get("/v1/orders/http:one", authorization="Bearer nonsense").problem == "wrong_token"
        write, read = (f"Bearer {made[name][0]}" for name in ("writer", "reader"))
        assert guarded.get("/v1/orders/http:one", authorization=write).problem == "no_right"
        assert guarded.submit(body("guarded"), authorization=read).problem == "no_right"
        assert guarded.get("/v1/orders/http:nobody", authorization=read).status == 404
        statuses = [guarded.submit(body(f"guarded-{n}"), authorization=write).status for n in range(12)]
        assert statuses[:3] == [202, 202, 202]
        assert 429 in statuses


def test_it_refuses_to_let_others_in_without_tokens(settings: Settings, tmp_path: Path) -> None:
    """One line that names both settings, and no listener."""
    environ = {**os.environ, "FLOODWAY_KAFKA_BOOTSTRAP": settings.kafka_bootstrap}
    argv = [sys.executable, "-c", "from infra.cli import main; main()", "http", "--host", "0.0.0.0"]
    done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "FLOODWAY_HTTP_HOST=0.0.0.0" in done.stderr
    assert "FLOODWAY_HTTP_TOKENS_FILE" in done.stderr


def new_token(name: str, *scopes: str) -> tuple[str, str]:
    """A token and its line, by the command."""
    argv = [sys.executable, "-c", "from infra.cli import main; main()", "token", name, "--json"]
    for scope in scopes:
        argv += ["--scope", scope]
    found = json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout)
    return found["token"], found["line"]


def soon_taken(one: FrontProcess, some: bytes) -> Got:
    """Repeat until it is taken, as a client would."""
    deadline = time.monotonic() + 20
    while (got := one.submit(some)).status == 503 and time.monotonic() < deadline:
        time.sleep(0.5)
    return got


def chunked(one: FrontProcess, content: bytes) -> Got:
    """POST a batch without telling its length."""
    pieces = [content[at : at + 8_000] for at in range(0, len(content), 8_000)]
    connection = HTTPConnection("127.0.0.1", one.port, timeout=30)
    connection.request(
        "POST", "/v1/orders:batch", iter(pieces), {"Content-Type": "application/x-ndjson"}, encode_chunked=True
    )
    found = connection.getresponse()
    got = Got(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
    connection.close()
    return got


async def count(settings: Settings, key: bytes) -> int:
    """How many records of submissions have this key."""
    reader = await TopicReader.open(access(settings), SUBMITTED.name, start="beginning")
    try:
        return sum([record.key == key async for _, records in reader.until_end() for record in records])
    finally:
        await reader.close()


class stream:  # noqa: N801 - reads as a function
    """Events of a stream as they come, taken in by a thread."""

    def __init__(self, one: FrontProcess, path: str, last_event_id: str | None = None) -> None:
        self._socket = one.connect()
        extra = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode())
        self.events: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "stream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    async def until(self, count: int) -> list[dict[str, Any]]:
        """The events, once there are so many."""

        async def enough() -> bool:
            return len(self.events) >= count

        await until(enough, within_s=15, what=f"{count} events, not {self.events}")
        return list(self.events)

    def _read(self) -> None:
        found: dict[str, Any] = {}
        for line in self._socket.makefile("rb"):
            name, colon, value = line.decode().strip().partition(": ")
            if colon and name in {"id", "event"}:
                found[name] = value
            elif colon and name == "data":
                self.events.append(found | {"data": json.loads(value)})
                found = {}


def test_the_page_needs_no_leave_and_holds_nothing(fronts: tuple[FrontProcess, FrontProcess]) -> None:
    """The page is served under any order's name, loads only what is served beside it, and knows of no order itself."""
    one, _ = fronts
    page, other = one.get("/orders/http:whatever"), one.get("/orders/http:another%2Fone")
    assert page.status == 200
    assert page.body == other.body
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for link in re.findall(rb'(?:src|href)="(/[^"]+)"', page.body):
        part = one.get(link.decode())
        assert part.status == 200
        assert one.get(link.decode(), if_none_match=part.headers["etag"]).status == 304


def test_a_front_tells_what_it_answered(fronts: tuple[FrontProcess, FrontProcess]) -> None:
    """Each process by itself: requests by route, method and status, of those that are not there without their path."""
    _, other = fronts
    found = re.search(r"metrics on (http://[\d.]+:\d+)", other.log.read_text())
    assert found is not None
    before, _ = samples(found[1])
    assert [other.get(path).status for path in ("/livez", "/livez", "/no/such", "/v1/orders/x:never")] == [
        200,
        200,
        404,
        404,
    ]
    assert other.ask("PUT", "/livez").status == 405
    after, names = samples(found[1])
    assert {m.name.removesuffix("_total") for m in ALL if m.teller is Teller.FRONT} <= names

    def more(route: str, method: str, status: int) -> float:
        labels = frozenset({("route", route), ("method", method), ("status", str(status))})
        key = "floodway_http_requests_total", labels
        return after[key] - before.get(key, 0)

    assert (more("/livez", "GET", 200), more("none", "GET", 404), more("/v1/orders/{order}", "GET", 404)) == (2, 1, 1)
    assert more("none", "other", 405) == 1
    assert not any("such" in value or "never" in value for _, labels in after for _, value in labels)
