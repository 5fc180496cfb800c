"""An order's story over HTTP: why it is where it is by any of its names, remarks as they come, links for buyers."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from front import JSON, FrontProcess, Got, front
from msgspec import structs
from pipeline import Workers
from shop import encode, order, report, stock_up

from streams.messages import ReportType
from streams.parts import Parts
from streams.settings import Settings

pytest_plugins = ["stack_fixtures"]
pytestmark = pytest.mark.timeout(120)

TRACE = "0af7651916cd43dd8448eb211c80319c"
READER, WRITER = "reader-token", "writer-token"
DEADLINE_S = 20.0


def scoped(name: str, scopes: str, token: str) -> str:
    """A token as the settings have it."""
    return f"{name} {scopes} sha256:{sha256(token.encode()).hexdigest()}"


@pytest.fixture(scope="module")
def one(settings: Settings, running: Workers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontProcess]:
    """A front with a token that reads, one that writes and remarks, and a key for links."""
    tokens = ";".join(
        [scoped("service", "orders:read", READER), scoped("lin.wei", "orders:write,orders:remark", WRITER)]
    )
    with front(settings, tmp_path_factory.mktemp("story"), tokens=tokens, link_keys="k" * 40) as process:
        yield process


def ask(one: FrontProcess, method: str, path: str, token: str, body: object = None, **headers: str) -> Got:
    """A request with a token."""
    sent = {"Authorization": f"Bearer {token}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return one.ask(method, path, None if body is None else json.dumps(body).encode(), sent | JSON if body else sent)


async def placed(one: FrontProcess, parts: Parts, name: str, number: str, trace: str | None = None) -> dict[str, Any]:
    """An accepted order."""
    await stock_up(parts, "story", [("STORY-1", 1_000)])
    made = structs.replace(order(name, ("STORY-1", 1), channel="http", buyer="buyer-of-mine"), channel_order_no=number)
    headers = {"traceparent": f"00-{trace}-{'1' * 16}-01"} if trace else {}
    sent = one.ask("POST", "/v1/orders", encode(made), JSON | {"Authorization": f"Bearer {WRITER}"} | headers)
    assert sent.status == 202
    found = ask(one, "GET", f"/v1/orders/http:{name}?wait=20", READER)
    assert found.json["outcome"] == "accepted"
    story: dict[str, Any] = found.json
    return story


def until(look: Any) -> Any:
    """What `look` comes to, once it is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


async def test_why_finds_an_order_by_all_its_names(one: FrontProcess, parts: Parts) -> None:
    """Id, submission, number, trace from outside, all the same answer: submission, decision, hold, reports, stages."""
    story = await placed(one, parts, "why", "34 00/1", TRACE)
    order_id = story["order_id"]
    await report(parts, ReportType.PAYMENT_SUCCEEDED, [UUID(order_id)])
    until(lambda: ask(one, "GET", f"/v1/orders/{order_id}/why", READER).json["status"] == "paid")
    found = [
        ask(one, "GET", f"/v1/orders/{name}/why", READER)
        for name in (order_id, order_id.replace("-", ""), "http:why", "http:34%2000%2F1", TRACE)
    ]
    assert {(got.status, got.json["order_id"]) for got in found} == {(200, order_id)}
    why = found[0].json
    assert why["trace_id"] == TRACE
    assert (why["owner"], why["hold"]["state"]) == ("the warehouse", "confirmed")
    assert why["submission"]["lines"] == [["STORY-1", 1]]
    assert why["decision"]["outcome"] == "accepted"
    assert [(r["what"], r["effect"]) for r in why["reports"]] == [("payment.succeeded", "the stock is confirmed")]
    assert [s["name"] for s in why["stages"]] == ["intake", "payment", "acceptance"]
    assert "late" not in why
    for path in ("", "/timeline"):
        assert ask(one, "GET", f"/v1/orders/{TRACE}{path}", READER).json["order_id"] == order_id
    assert ask(one, "GET", f"/v1/orders/{'9' * 32}/why", READER).problem == "unknown_order"
    assert ask(one, "GET", f"/v1/orders/{order_id}/why", WRITER).problem == "no_right"


async def test_a_remark_comes_to_who_looks_on(one: FrontProcess, parts: Parts) -> None:
    """202, then an event on the open stream and a remark in the timeline; under one key once, with who said it."""
    order_id = (await placed(one, parts, "remark", "R1"))["order_id"]
    connection = HTTPConnection("127.0.0.1", one.port, timeout=DEADLINE_S)
    connection.request("GET", f"/v1/orders/{order_id}/events", headers={"Authorization": f"Bearer {READER}"})
    stream = connection.getresponse()
    path, text = f"/v1/orders/{order_id}/remarks", "Snow in Hangzhou: a day's delay. 暴雪"
    began = datetime.now(UTC)
    said = ask(one, "POST", path, WRITER, {"text": text}, idempotency_key='"snow"')
    again = ask(one, "POST", path, WRITER, {"text": text}, idempotency_key='"snow"')
    assert (said.status, said.json["author"]) == (202, "lin.wei")
    assert again.json == said.json
    while b"order.remarked" not in (line := stream.readline()):
        assert line, "the stream ended"
    heard = json.loads(stream.readline().removeprefix(b"data: "))
    connection.close()
    assert heard["note"] == text
    (remark,) = ask(one, "GET", f"/v1/orders/{order_id}/timeline", READER).json["remarks"]
    assert remark["text"] == text
    assert abs(datetime.fromisoformat(remark["at"]) - began).total_seconds() < DEADLINE_S
    (step,) = ask(one, "GET", f"/v1/orders/{order_id}/why", READER).json["reports"]
    assert (step["source"], step["note"]) == ("operator+lin.wei", text)
    assert ask(one, "POST", path, READER, {"text": text}).problem == "no_right"
    assert ask(one, "POST", path, WRITER, {"text": "two\nlines"}).problem == "invalid_field"
    assert ask(one, "POST", path, WRITER, {"text": "x" * 300}).problem == "invalid_field"
    assert ask(one, "POST", "/v1/orders/http:nobody/remarks", WRITER, {"text": text}).problem == "unknown_order"


async def test_a_buyer_sees_one_order_and_no_more_of_it_than_he_needs(one: FrontProcess, parts: Parts) -> None:
    """The link's token reads timeline and events of its order; nothing else, of no other, nothing of the buyer."""
    mine, other = await placed(one, parts, "mine", "M1"), await placed(one, parts, "other", "O1")
    made = ask(one, "POST", "/v1/orders/http:mine/links", READER)
    assert made.status == 201
    url = made.json["url"]
    found = re.fullmatch(r"/orders/([0-9a-f-]{36})#token=(fwl_[\w-]{52})", url)
    assert found is not None
    assert found[1] == mine["order_id"]
    token = found[2]
    timeline = ask(one, "GET", f"/v1/orders/{mine['order_id']}/timeline", token)
    assert (timeline.status, timeline.json["number"]) == (200, "M1")
    assert b"buyer-of-mine" not in timeline.body
    assert b"buyer_id" not in timeline.body
    connection = HTTPConnection("127.0.0.1", one.port, timeout=DEADLINE_S)
    connection.request("GET", f"/v1/orders/{mine['order_id']}/events", headers={"Authorization": f"Bearer {token}"})
    assert connection.getresponse().readline() == b"retry: 2000\n"
    connection.close()
    for path in (
        f"{mine['order_id']}",
        f"{mine['order_id']}/why",
        f"{other['order_id']}/timeline",
        f"{other['order_id']}/events",
        "http:mine/timeline",
        "http:other/timeline",
    ):
        assert ask(one, "GET", f"/v1/orders/{path}", token).problem == "no_right", path
    assert ask(one, "POST", f"/v1/orders/{mine['order_id']}/links", token).problem == "no_right"
    assert ask(one, "POST", f"/v1/orders/{mine['order_id']}/remarks", token, {"text": "x"}).problem == "no_right"
    forged = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert ask(one, "GET", f"/v1/orders/{mine['order_id']}/timeline", forged).problem == "wrong_token"


def test_no_links_without_a_key(settings: Settings, running: Workers, tmp_path: Path) -> None:
    """Who asks for one is told what to set."""
    with front(settings, tmp_path) as process:
        refused = process.ask("POST", "/v1/orders/http:x/links")
        assert refused.problem == "no_link_key"
        assert "LINK_KEYS" in refused.json["fix"]
