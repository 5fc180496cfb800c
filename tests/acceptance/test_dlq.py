"""Dead letters on the command line of a running pipeline: listed, shown, mended by stock or by hand, sent again."""

import asyncio
import time
from pathlib import Path
from uuid import UUID

import pytest
from command import CommandLine
from shop import encode, order, stock_up

from infra.embedded import Stack
from streams.core.books import State
from streams.core.decode import Undecodable
from streams.core.intent import intent
from streams.dead_letters import original_headers
from streams.messages import Report, ReportType
from streams.parts import Parts
from streams.replay import Letter, letters
from streams.stores.log import Entry
from streams.topics import REPORTED, REPORTED_DLQ, SUBMITTED, SUBMITTED_DLQ, Topic

pytest_plugins = ["stack_fixtures"]
pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("running")]


@pytest.fixture
def floodway(stack: Stack, tmp_path: Path) -> CommandLine:
    """The command line, in a directory of its own."""
    return CommandLine.of(stack, tmp_path)


async def letters_of(parts: Parts, topic: Topic, key: str, count: int) -> list[Letter]:
    """The dead letters with this key, once there are so many."""
    deadline = time.monotonic() + 20
    while True:
        found = [letter async for letter in letters(parts, topic) if letter.record.key == key.encode()]
        if len(found) == count:
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)


async def test_a_bad_submission_is_listed_shown_and_replayed_once(parts: Parts, floodway: CommandLine) -> None:
    """Sent again it fails again, as a new letter; the old one is out of the list, and its headers came along."""
    bad = b'{"submission_id":"dlq-1","channel":"shop","lines":[]}'
    entry = Entry(b"shop:dlq-1", bad, parts.clock.now_ms(), (("from", b"a test"),))
    await parts.log.append(SUBMITTED.name, 2, [entry])
    (letter,) = await letters_of(parts, SUBMITTED_DLQ, "shop:dlq-1", 1)
    at = "{}-{}".format(*letter.position)
    shown = floodway("dlq", "show", at, "--json").json
    assert (shown["reason"], shown["value"]) == ("invalid_field", bad.decode())
    assert shown["from"].startswith(f"{SUBMITTED.name} 2-")
    assert shown["fix"]
    said = floodway("dlq", "replay", at, "--json")
    assert said.json["sent"] == 1, said.err
    first, second = await letters_of(parts, SUBMITTED_DLQ, "shop:dlq-1", 2)
    assert (first.position, first.replayed_at is None, second.replayed_at) == (letter.position, False, None)
    assert original_headers(second.record) == (
        *entry.headers,
        ("floodway-replay-of", f"{SUBMITTED_DLQ.name}-{at}".encode()),
    )
    open_ = [x["position"] for x in floodway("dlq", "list", "--json").json_lines if x["key"] == "shop:dlq-1"]
    assert open_ == ["{}-{}".format(*second.position)]


async def test_a_report_that_came_before_its_order_is_taken_by_a_replay(parts: Parts, floodway: CommandLine) -> None:
    """A payment of an order that was not there yet is a letter; once the order is there the replay confirms it."""
    submitted = order("dlq-late", ("DLQ-SKU", 1))
    made = intent(submitted, None, 0, 0)
    assert not isinstance(made, Undecodable)
    paid = Report("dlq-pay", "pay", ReportType.PAYMENT_SUCCEEDED, made.order_id, submitted.submitted_at)
    key = str(made.order_id)
    await parts.log.append(REPORTED.name, 1, [Entry(key.encode(), encode(paid), parts.clock.now_ms())])
    (letter,) = await letters_of(parts, REPORTED_DLQ, key, 1)
    assert letter.why.reason == "unknown_order"
    await stock_up(parts, "dlq", [("DLQ-SKU", 5)])
    await parts.log.append(SUBMITTED.name, 0, [Entry(b"shop:dlq-late", encode(submitted), parts.clock.now_ms())])
    await reaches(parts, made.order_id, State.HELD)
    again = ("dlq", "replay", "{}-{}".format(*letter.position), "--topic", "reported", "--json")
    assert floodway(*again, "--dry-run").json == {"topic": REPORTED_DLQ.name, "letters": 1, "sent": 0}
    assert floodway(*again).json["sent"] == 1
    await reaches(parts, made.order_id, State.CONFIRMED)
    # Replayed on purpose a second time it is known already, and changes nothing.
    assert floodway(*again, "--again").json["sent"] == 1
    (same,) = await letters_of(parts, REPORTED_DLQ, key, 1)
    assert same.replayed_at is not None
    await reaches(parts, made.order_id, State.CONFIRMED)


async def reaches(parts: Parts, order_id: UUID, state: State) -> None:
    """Wait until an order is in this state."""
    deadline = time.monotonic() + 20
    while (found := (await parts.ledger.orders([order_id])).get(order_id)) is None or found.state is not state:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)


def test_what_cannot_be_meant_is_refused(floodway: CommandLine) -> None:
    """A position that is none, a letter that is not there, a replay of nothing in particular."""
    assert "no position" in floodway("dlq", "show", "3:4").error
    assert "no dead letter" in floodway("dlq", "show", "3-99999999").error
    assert "Name positions" in floodway("dlq", "replay").error
    assert "above 0" in floodway("dlq", "replay", "--every", "--rate", "0").error
    assert "no duration" in floodway("dlq", "list", "--since", "soon").error
