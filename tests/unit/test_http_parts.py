"""Parts of the HTTP front without a server: tokens, rates, gates, appends, keys, news, stories, routes."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from builders import NOW_MS, SETTINGS, chunk, submission, take_in, world

from agents.http import openapi
from agents.http.appender import Appender
from agents.http.idempotency import Keys
from agents.http.limits import Gate, Rates
from agents.http.messages import Answer, Request, segments
from agents.http.problems import TITLES, Refusal
from agents.http.settings import HttpSettings, load_http
from agents.http.submitting import read
from agents.http.tokens import Caller, Right, Tokens, demand, make_token
from agents.http.watching import Watching
from streams.clock import ManualClock
from streams.core.decode import MessageDecoder
from streams.errors import FloodwayError, LogUnavailable, Refused, SettingsError
from streams.finding import which_order
from streams.messages import Submission
from streams.stores.answers_fake import FakeAnswers
from streams.stores.log import Entry
from streams.stores.log_fake import FakeLog
from streams.story import Moment, tell, unseen
from streams.topics import SUBMITTED

SHOP = Caller("shop", frozenset({Right.WRITE}), 10.0)


def bearer(token: str) -> dict[bytes, bytes]:
    """Headers with a token."""
    return {b"authorization": b"Bearer " + token.encode()}


def test_tokens_are_known_by_their_hash() -> None:
    """A token made is known under its name, scopes and rate; no other is, and the settings' text form hides all."""
    (token, digest), (other, other_digest) = make_token(), make_token()
    line = f"shop orders:write {digest} rate=7;ops orders:read,orders:write,orders:remark {other_digest}"
    settings = HttpSettings(tokens=line, host="0.0.0.0")
    tokens = Tokens.load(settings)
    assert tokens.caller(bearer(token)) == Caller("shop", frozenset({Right.WRITE}), 7.0)
    assert tokens.caller(bearer(other)).rights == frozenset(Right)
    for wrong in ({}, bearer(token[:-1]), bearer(digest), {b"authorization": b"Basic " + token.encode()}):
        with pytest.raises(Refusal) as refused:
            tokens.caller(wrong)
        assert refused.value.problem.status == 401
    assert digest not in repr(settings)
    with pytest.raises(Refusal, match="orders:read"):
        demand(SHOP, Right.READ)


@pytest.mark.parametrize(
    "line",
    [
        "shop",
        "shop orders:write",
        "shop orders:eat sha256:" + "0" * 64,
        "shop orders:write sha256:00",
        "shop orders:write md5:" + "0" * 64,
        "s|x orders:write sha256:" + "0" * 64,
        "somebody.whose.name.is.long orders:remark sha256:" + "0" * 64,
        "shop orders:write sha256:" + "0" * 64 + " rate=fast",
        ";".join(["a orders:read sha256:" + "0" * 64] * 2),
    ],
)
def test_a_bad_line_is_refused_without_being_told(line: str) -> None:
    """Where it stands is told; what stands there may be a token by mistake, so it is not."""
    with pytest.raises(SettingsError) as refused:
        Tokens.load(HttpSettings(tokens=line))
    assert "0000" not in str(refused.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "shop.example"])
def test_nobody_else_is_let_in_without_tokens(host: str) -> None:
    """Anything but loopback needs tokens; loopback without any lets this machine do everything."""
    with pytest.raises(SettingsError, match="TOKENS_FILE"):
        Tokens.load(HttpSettings(host=host))
    assert Tokens.load(HttpSettings()).caller({}).rights == frozenset(Right)


def test_settings_are_checked_against_each_other() -> None:
    """What contradicts is told with both names; what is read from the environment is what is used."""
    assert load_http({"FLOODWAY_HTTP_PORT": "9"}).port == 9
    for wrong in (
        {"append_timeout_s": 20.0},
        {"idempotency_ttl_s": 5.0},
        {"idempotency_ttl_s": 1e6},
        {"port": 70_000},
        {"tls_cert_file": "x"},
        {"rate_per_s": 0.0},
    ):
        with pytest.raises(SettingsError, match="FLOODWAY_HTTP_"):
            HttpSettings(**wrong)


def test_a_rate_is_kept_and_a_batch_is_paid_off() -> None:
    """A burst, then the rate; what a batch took beyond keeps the next request waiting, and says for how long."""
    now_s = 100.0
    rates = Rates(2.0, lambda: now_s)
    for _ in range(20):
        rates.take(SHOP)
    with pytest.raises(Refusal) as refused:
        rates.take(SHOP)
    assert refused.value.problem.status == 429
    now_s += 0.15
    rates.take(SHOP)
    rates.charge(SHOP, 100)
    now_s += 9.0
    with pytest.raises(Refusal) as refused:
        rates.take(SHOP)
    assert int(refused.value.headers[b"retry-after"]) == 2
    now_s += 1.2
    rates.take(SHOP)
    rates.take(Caller("other", SHOP.rights, 10.0))


def test_a_gate_lets_so_many_in() -> None:
    """One more is refused, until one has left."""
    gate = Gate(1, "things")
    with gate.enter(), pytest.raises(Refusal, match="things"), gate.enter():
        pass
    with gate.enter():
        assert gate.is_full
    assert gate.inside == 0


class SlowLog(FakeLog):
    """Confirms when told to; fails those that are listed by number."""

    def __init__(self, *failing: int) -> None:
        super().__init__({SUBMITTED.name: 3})
        self.go = asyncio.Semaphore(0)
        self.sizes: list[int] = []
        self._failing = failing

    async def append(self, topic: str, partition: int, entries: Sequence[Entry]) -> None:
        """Wait, then do it or not."""
        self.sizes.append(len(entries))
        number = len(self.sizes)
        await self.go.acquire()
        if number in self._failing:
            raise LogUnavailable("no answer")
        await super().append(topic, partition, entries)


def entry(name: str) -> Entry:
    """A record."""
    return Entry(name.encode(), b"x" * 100, NOW_MS)


async def test_what_comes_meanwhile_goes_together() -> None:
    """One append of a partition at a time, in order; each waits for its own; a failure is told to those in it only."""
    log = SlowLog(2)
    appender = Appender(log, max_bytes=1_000)
    first = appender.put(1, [entry("a")])
    await asyncio.sleep(0)
    second, third = appender.put(1, [entry("b"), entry("c")]), appender.put(1, [entry("d")])
    log.go.release()
    assert await first is None
    fourth = appender.put(1, [entry("e")])
    assert appender.backlog_bytes > 0
    log.go.release()
    assert isinstance(await second, FloodwayError)
    assert isinstance(await third, FloodwayError)
    log.go.release()
    assert await fourth is None
    assert log.sizes == [1, 3, 1]
    assert [e.key for e in log.appended[SUBMITTED.name, 1]] == [b"a", b"e"]
    await appender.flush()
    assert appender.backlog_bytes == 0


async def test_a_full_appender_makes_wait() -> None:
    """Above its limit there is no room until something was confirmed."""
    log = SlowLog()
    appender = Appender(log, max_bytes=300)
    one, two = appender.put(0, [entry("a")]), appender.put(1, [entry("b")])
    assert appender.is_full
    waiting = asyncio.create_task(appender.room())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    log.go.release()
    await waiting
    log.go.release()
    assert await one is None
    assert await two is None


async def test_a_request_that_is_given_up_does_not_take_others_along() -> None:
    """Its record is appended all the same, and the next one is confirmed."""
    log = SlowLog()
    appender = Appender(log, max_bytes=1_000)
    given_up = asyncio.create_task(appender.append(entry("a")))
    await asyncio.sleep(0.01)
    given_up.cancel()
    log.go.release()
    log.go.release()
    assert await appender.append(entry("a")) is None
    assert len([e for entries in log.appended.values() for e in entries]) == 2


def request(key: bytes | None, caller: Caller = SHOP) -> Request:
    """A request with this key."""

    async def receive() -> dict[str, Any]:
        raise AssertionError("nobody reads it")

    headers = {} if key is None else {b"idempotency-key": key}
    return Request("POST", headers, b"", receive, caller, {})


async def test_keys_do_work_once() -> None:
    """The answer again for the same request, by quoted or bare key; each caller has keys of its own."""
    keys, done = Keys(FakeAnswers(ManualClock(), lease_s=1, keep_s=10)), 0

    async def work() -> Answer:
        nonlocal done
        done += 1
        return Answer(202, b"%d" % done, headers={b"location": b"/x"})

    assert (await keys.once(request(b'"k"'), b"body", work)).body == b"1"
    again = await keys.once(request(b"k"), b"body", work)
    assert (again.status, again.body, again.headers[b"location"]) == (202, b"1", b"/x")
    assert (await keys.once(request(b"k", Caller("other", SHOP.rights, 1)), b"body", work)).body == b"2"
    assert (await keys.once(request(None), b"body", work)).body == b"3"
    with pytest.raises(Refusal) as refused:
        await keys.once(request(b"k"), b"other body", work)
    assert refused.value.problem.status == 422


@pytest.mark.parametrize("key", [b"", b'""', b'"k', b"k k", b"\xc3\xa4", b"k" * 129])
async def test_what_is_no_key_is_refused(key: bytes) -> None:
    """Before anything is done."""
    keys = Keys(FakeAnswers(ManualClock(), lease_s=1, keep_s=10))
    with pytest.raises(Refusal) as refused:
        await keys.once(request(key), b"", lambda: pytest.fail("worked"))
    assert refused.value.problem.status == 400


async def test_a_failure_gives_the_key_back() -> None:
    """While the work is done others hear 409; once it has failed the next try does it."""
    keys, begun, go = Keys(FakeAnswers(ManualClock(), lease_s=1, keep_s=10)), asyncio.Event(), asyncio.Event()

    async def fails() -> Answer:
        begun.set()
        await go.wait()
        raise LogUnavailable("no")

    async def works() -> Answer:
        return Answer(202, b"yes")

    first = asyncio.create_task(keys.once(request(b"k"), b"", fails))
    await begun.wait()
    with pytest.raises(Refusal) as refused:
        await keys.once(request(b"k"), b"", works)
    assert refused.value.problem.status == 409
    go.set()
    with pytest.raises(LogUnavailable):
        await first
    assert (await keys.once(request(b"k"), b"", works)).body == b"yes"


class Said(NamedTuple):
    """A record of news."""

    key: bytes | None
    value: bytes | None
    offset: int = 0
    timestamp: int = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()


async def test_news_wakes_those_whom_it_concerns() -> None:
    """By order id and by name; with how far to read; not others, and nothing of what is no news."""
    watching = Watching()
    mine = UUID("0191f2f0-0000-7000-8000-000000000001")
    value = msgspec.json.encode({"order_id": mine, "channel": "web", "submission_id": "s:1", "read_token": "0/1"})
    with watching.watch(mine) as by_id, watching.watch(UUID(int=5)) as other:
        for junk in (Said(None, None), Said(b"\xff", b"{"), Said(str(mine).encode(), b"{}")):
            watching.tell(junk)
        assert not await by_id.wait(0)
        watching.tell(Said(str(mine).encode(), value))
        assert await by_id.wait(1)
        assert by_id.token == "0/1"
        with watching.watch(("web", "s:1")) as by_name:
            watching.tell(Said(b"whatever", value))
            assert await by_name.wait(1)
            assert await by_id.wait(0.01)
        assert not await other.wait(0.01)
        watching.wake_all()
        assert await other.wait(1)
    watching.tell(Said(str(mine).encode(), value))


async def test_a_story_has_moments_in_order_each_known_by_all_before_it() -> None:
    """Accepted and refused orders; ids differ where anything before them does, and tell what a reader has not seen."""
    made = await world()
    wrong = submission("s-2", lines=(("TEA", 99, 1),))
    assert await take_in(made.parts(settings=SETTINGS), [chunk(submission("s-1"), wrong)]) is None
    story = await tell(made.ledger, ("web", "s-1"))
    refused = await tell(made.ledger, which_order("web:s-2"))
    assert story is not None
    assert refused is not None
    assert [m.what for m in story.moments] == ["submitted", "accepted"]
    assert [(m.what, m.result) for m in refused.moments] == [("rejected", "out_of_stock")]
    assert refused.state is None
    assert await tell(made.ledger, story.order_id) == story
    assert await tell(made.ledger, ("web", "nobody")) is None
    assert unseen(story.moments, story.moments[0].id) == story.moments[1:]
    assert unseen(story.moments, story.version) == ()
    assert unseen(story.moments, "9-0badcafe") == unseen(story.moments, None) == story.moments
    assert isinstance(story.moments[0], Moment)
    with pytest.raises(Refused):
        which_order("nobody")
    with pytest.raises(Refused, match="position"):
        await tell(made.ledger, story.order_id, token="yesterday")


def test_the_front_finds_what_intake_finds() -> None:
    """What it takes intake decodes, and the time that only intake looks at is looked at here."""
    good = msgspec.json.encode(submission())
    assert read(good) == MessageDecoder(Submission).decode(good)
    assert getattr(read(good.replace(b"2026-", b"1996-")), "field", None) == "$.submitted_at"


def test_paths_are_cut_before_they_are_decoded() -> None:
    """A slash in a submission's id is no separator; what is no text has no path."""
    assert segments(b"/v1/orders/web:a%2Fb") == ["v1", "orders", "web:a/b"]
    assert segments(b"/%ff") is None


def test_the_document_tells_of_every_route_and_every_problem() -> None:
    """Paths, methods and scopes of the table are those of the document, and each status has its words."""
    document = openapi.document()
    told = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    from agents.http.routes import Health, routes

    nobody: Any = None
    table = routes(*(_Nobody(),) * 3, Health(nobody, asyncio.Event()))  # type: ignore[arg-type]
    assert told == {(path, method) for path, methods in table.items() for method in methods}
    for path, methods in table.items():
        for method, route in methods.items():
            open_to_all = document["paths"][path][method.lower()].get("security") == []
            assert open_to_all is (route.right is None), path
    assert len(TITLES) > 15


class _Nobody:
    """Has any handler."""

    def __getattr__(self, name: str) -> Any:
        return name
