"""A watch beside a pipeline in which nobody carries orders on: a ticket, seen to, gone when a worker comes."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from command import CommandLine
from observing import samples
from pipeline import prepared, until, workers

from agents.bootstrap import close, connect
from infra.embedded import Broker, Stack
from streams.messages import Ticket, TicketEvent
from streams.metrics import WATCH_LOOKED
from streams.stores.log import Entry
from streams.stores.reader_kafka import TopicReader
from streams.topics import REPORTED, TICKETS

pytestmark = pytest.mark.timeout(200)

RULES = """
[rules.unread]
check = "lag"
group = "floodway-lifecycle"
topic = "orders.reported.v1"
after = "1s"
escalate = ["2s", "1h"]
clear_after = "1s"
headline = "Reports are not consumed"
detail = "$count reports wait, for $lasting."
cause = "No lifecycle worker runs."
fix = "Start one."
"""
TICKET = f"unread:{REPORTED.name}"


@pytest.fixture
def stack(broker: Broker) -> Iterator[Stack]:
    """Servers of its own: elsewhere others leave tickets, and have lifecycle workers that read all reports."""
    with (
        tempfile.TemporaryDirectory(prefix="floodway-") as directory,
        Stack.start(Path(directory), broker=broker) as own,
    ):
        yield own


async def test_a_ticket_opens_escalates_and_closes_itself(stack: Stack, tmp_path: Path) -> None:
    """By a real watch: opened when reports wait, told on the topic, acknowledged by hand, closed when they are read."""
    (tmp_path / "watch.toml").write_text(RULES, encoding="utf-8")
    settings = await prepared(stack, watch_file=str(tmp_path / "watch.toml"), watch_interval_s=0.5)
    floodway = CommandLine.of(stack, tmp_path)
    parts = await connect(settings)
    try:
        with workers(settings, watch=1) as watching:
            assert floodway("tickets", "list").code == 0
            await parts.log.append(REPORTED.name, 0, [Entry(b"x", b"no report", parts.clock.now_ms())])
            await until(lambda: shown(floodway, level=1), within_s=30, what="a ticket that escalated")
            looked, _ = samples(str(watching.statuses()[0]["metrics"]))
            assert looked[WATCH_LOOKED.name, frozenset()] > parts.clock.now_ms() / 1_000 - 60
            listed = floodway("tickets", "list", "--json")
            assert f"1 affected  {TICKET}" in floodway("tickets", "list").out
            assert (listed.code, [one["ticket_id"] for one in listed.json_lines]) == (1, [TICKET])
            assert floodway("tickets", "ack", TICKET, "--by", "ann", "--note", "on it").code == 0
            assert "there is no ticket" in floodway("tickets", "ack", "nonsense").error.lower()
            with workers(settings, lifecycle=1):
                await until(lambda: shown(floodway, is_closed=True), within_s=60, what="the ticket to close")
            events = [
                (e["event"], e["who"], e["note"]) for e in floodway("tickets", "show", TICKET, "--json").json["events"]
            ]
        assert events == [
            ("opened", None, None),
            ("escalated", None, None),
            ("acknowledged", "ann", "on it"),
            ("closed", None, None),
        ]
        reader = await TopicReader.open(settings.kafka_bootstrap, TICKETS.name, start="beginning")
        told = [msgspec.json.decode(r.value or b"", type=Ticket) async for _, some in reader.until_end() for r in some]
        await reader.close()
        assert [one.event for one in told if one.ticket_id == TICKET] == [
            TicketEvent.OPENED,
            TicketEvent.ESCALATED,
            TicketEvent.ACKNOWLEDGED,
            TicketEvent.CLOSED,
        ]
    finally:
        await close(parts)


async def shown(floodway: CommandLine, *, level: int = 0, is_closed: bool = False) -> bool:
    """Whether the ticket is there, that far."""
    said = await asyncio.to_thread(floodway, "tickets", "show", TICKET, "--json")
    if said.code:
        return False
    return said.json["level"] >= level and (said.json["closed_at"] is not None) == is_closed
