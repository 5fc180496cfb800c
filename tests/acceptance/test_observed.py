"""What real workers tell of themselves: metrics that add up to what was done, and whether they are ready."""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from observing import Samples, fetch, samples
from pipeline import Workers, prepared, until, workers
from shop import key_of, order, stock_up, submit
from watch import decisions

from agents.bootstrap import close, connect
from infra.embedded import Part, Stack
from streams.messages import Outcome
from streams.metrics import ALL, WATCH_LOOKED, Teller
from streams.stores.log import Entry
from streams.topics import SUBMITTED

ACCEPTED, REJECTED, REPEATED, DEAD = 30, 12, 7, 3
SHORT = {"redis_timeout_s": 0.5, "breaker_open_s": 0.5, "log_one_in": 10, "tracing": True}


def url_of(running: Workers, role: str) -> str:
    """Where the worker of a role said that it tells of itself."""
    return next(str(one["metrics"]) for one in running.statuses() if one["role"] == role)


@pytest.mark.timeout(150)
async def test_workers_tell_what_they_did_and_whether_they_are_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each order, repeat and dead letter is in the counters once; a worker beside a dead Redis is alive, not ready.

    Its logs are JSON, with every tenth decision; its spans arrive where OpenTelemetry's variables say.
    """
    with (
        collecting() as (endpoint, spans),
        tempfile.TemporaryDirectory(prefix="floodway-") as directory,
        Stack.start(Path(directory)) as own,
    ):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        settings = await prepared(own, **SHORT)
        with workers(settings, intake=1, lifecycle=1) as running:
            parts = await connect(settings)
            try:
                await stock_up(parts, "observed", [("OBS", ACCEPTED)])
                made = [order(f"obs-{n}", ("OBS", 1)) for n in range(ACCEPTED + REJECTED)]
                async with decisions(parts) as answers:
                    await submit(parts, made)
                    await answers.until(lambda: all(key_of(s) in answers.heard for s in made), within_s=30)
                await submit(parts, made[:REPEATED])
                await parts.log.append(SUBMITTED.name, 0, [Entry(b"k", b"{", 1)] * DEAD)
            finally:
                await close(parts)
            intake = url_of(running, "intake")
            await until(lambda: counted(intake), within_s=15, what="counters")
            outcomes = [answers.heard[key_of(s)][0].outcome for s in made]
            check(samples(intake)[0], outcomes.count(Outcome.ACCEPTED))
            names = samples(intake)[1] | samples(url_of(running, "lifecycle"))[1]
            missing = {m.name for m in ALL if m.teller is Teller.WORKER} - {f"{n}_total" for n in names} - names
            assert missing <= {WATCH_LOOKED.name}  # the watch's, a process of its own
            for role in ("intake", "lifecycle"):
                assert fetch(url_of(running, role) + "/livez")[0] == 200
                await until(lambda role=role: ready(running, role, 200), within_s=10, what="ready")  # type: ignore[misc]
            check_logs(running.log_dir / "intake-0.log")
            await until(lambda: has_come(spans), within_s=10, what="spans")
            own.kill(Part.REDIS)
            await until(lambda: ready(running, "intake", 503), within_s=20, what="not ready")
            assert fetch(intake + "/livez")[0] == 200
            own.restart(Part.REDIS)
            await until(lambda: ready(running, "intake", 200), within_s=40, what="ready again")


async def counted(url: str) -> bool:
    """Whether all that was submitted has been counted and committed."""
    found, _ = await asyncio.to_thread(samples, url)
    records = found.get(("floodway_records_total", frozenset({("topic", SUBMITTED.name)})), 0)
    in_flight = found["floodway_worker_in_flight_records", frozenset()]
    committed = found["floodway_worker_last_commit_timestamp_seconds", frozenset()]
    return committed > 1e9 and records == ACCEPTED + REJECTED + REPEATED + DEAD and not in_flight


async def ready(running: Workers, role: str, status: int) -> bool:
    """Whether a worker answers so."""
    found, body = await asyncio.to_thread(fetch, url_of(running, role) + "/readyz")
    assert set(json.loads(body)["checks"]) <= {"assigned", "committing", "breakers", "epoch", "stores"}
    return found == status


def check(found: Samples, accepted: int) -> None:
    """The counters against what was sent and heard."""
    decided = {labels: value for (name, labels), value in found.items() if name == "floodway_decisions_total"}
    first = {dict(labels)["outcome"]: value for labels, value in decided.items() if ("replay", "false") in labels}
    assert first == {"accepted": ACCEPTED, "rejected": REJECTED}
    assert accepted == ACCEPTED
    assert sum(value for labels, value in decided.items() if ("replay", "true") in labels) == REPEATED
    dead = {labels: value for (name, labels), value in found.items() if name == "floodway_dead_letters_total"}
    assert dead == {frozenset({("topic", SUBMITTED.name), ("reason", "not_json")}): DEAD}
    assert found["floodway_decision_latency_seconds_count", frozenset()] == ACCEPTED + REJECTED + REPEATED + DEAD
    for stage in ("decode", "reserve", "persist", "announce"):
        assert found["floodway_stage_duration_seconds_count", frozenset({("stage", stage)})] > 0
    assert found["floodway_breaker_state", frozenset({("dependency", "redis"), ("state", "closed")})] == 1


def check_logs(file: Path) -> None:
    """Every line is JSON; a tenth of the decisions is there with its place, the dead letters with their reason."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    decided = [line for line in lines if line["message"] == "decided"]
    assert len(decided) == -(-(ACCEPTED + REJECTED + REPEATED) // SHORT["log_one_in"])
    assert all(line["order"] and line["trace"] and line["offset"] >= 0 for line in decided)
    assert [line["reason"] for line in lines if line["message"].startswith("buried")] == ["not_json"] * DEAD


async def has_come(spans: list[bytes]) -> bool:
    """Whether spans of every stage of intake have been sent."""
    return all(any(stage in body for body in spans) for stage in (b"reserve", b"persist", b"announce"))


@contextmanager
def collecting() -> Iterator[tuple[str, list[bytes]]]:
    """A collector of spans: where it is, and what it was sent."""
    found: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(self.rfile.read(int(self.headers["content-length"])))
            assert self.path == "/v1/traces"
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", found
        server.shutdown()
        thread.join()
