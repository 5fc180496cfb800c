"""Logs say what they are about, as lines for people or as JSON, and not more often than is good."""

import io
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from agents import logs
from streams import telemetry
from streams.messages import Outcome, Reason
from streams.settings import Settings

logger = logging.getLogger("streams.somewhere")


@pytest.fixture(autouse=True)
def own_root() -> Iterator[None]:
    """Handlers and levels as they were, afterwards."""
    root = logging.getLogger()
    before, levels = root.handlers[:], [logging.getLogger(name).level for name in ("", *logs.OURS)]
    yield
    root.handlers[:] = before
    for name, level in zip(("", *logs.OURS), levels, strict=True):
        logging.getLogger(name).setLevel(level)


def said(monkeypatch: pytest.MonkeyPatch, settings: Settings, *, terminal: bool = False) -> io.StringIO:
    """What a process of the role intake writes from now on."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stderr", stream)
    logs.set_up(settings, "intake")
    return stream


def test_machines_get_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time with zone, level, role, message, and what the line is about; line ends and quotes stay inside."""
    stream = said(monkeypatch, Settings())
    logger.info('two\nlines, "quoted"', extra={"order": 5, "offset": 0, "trace": None, "password": "x"})
    found = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert found["at"].endswith("+00:00")
    assert (found["level"], found["role"], found["message"]) == ("INFO", "intake", 'two\nlines, "quoted"')
    assert (found["order"], found["offset"]) == (5, 0)
    assert {"trace", "password"}.isdisjoint(found)


def test_an_error_brings_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback is one field; what has no JSON form is told as text."""
    stream = said(monkeypatch, Settings(log_format="json"), terminal=True)
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logger.exception("failed", extra={"order": object()})
    found = json.loads(stream.getvalue())
    assert "RuntimeError: boom" in found["error"]
    assert "object object" in found["order"]


def test_people_get_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, or where text is asked for: no JSON, and what the line is about stands behind it."""
    for settings, terminal in ((Settings(), True), (Settings(log_format="text"), False)):
        stream = said(monkeypatch, settings, terminal=terminal)
        logger.warning("slow", extra={"topic": "t", "partition": 3})
        assert stream.getvalue().endswith("WARNING streams.somewhere slow  topic=t partition=3\n")


def test_levels_are_ours_and_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The level set is that of our own loggers; libraries speak from WARNING on."""
    stream = said(monkeypatch, Settings(log_level="ERROR"))
    logger.warning("not said")
    logging.getLogger("aiokafka").info("not said")
    logging.getLogger("aiokafka").warning("theirs")
    logger.error("ours")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["theirs", "ours"]


def test_one_of_so_many_decisions_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Every third over batches of any size, with its own order and offset; none for 0."""
    sample = telemetry.Sample()
    sample.one_in = 3
    number = 0
    with caplog.at_level(logging.INFO, logger="streams.telemetry"):
        for size in (2, 5, 1, 0, 4):
            intents = [SimpleNamespace(partition=1, offset=n) for n in range(number, number + size)]
            decisions = [
                SimpleNamespace(trace_id="t", order_id=n, outcome=Outcome.REJECTED, reason=Reason.BUYER_LIMIT)
                for n in range(number, number + size)
            ]
            sample.log(intents, decisions)
            number += size
    found = [logs.about(record) for record in caplog.records]
    assert [line["offset"] for line in found] == [line["order"] for line in found] == [0, 3, 6, 9]
    assert found[0]["reason"] == "buyer_limit"
    assert telemetry.SAMPLE.one_in == 0


def test_a_flood_of_the_same_is_told_of_with_a_number() -> None:
    """So many lines a second; the first of the next second tells how many were left out."""
    sparingly = telemetry.Sparingly(2)
    assert [sparingly.left_out(at_s) for at_s in (1.0, 1.1, 1.2, 1.9, 2.0, 2.1, 3.0)] == [0, 0, None, None, 2, 0, 0]
