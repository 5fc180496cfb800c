"""The night orders that were eight hours late, replayed: a clock whose zone nobody had declared."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from builders import FakeChunk, FakeRecord, accepted, submission, world
from lifecycle_kit import sent
from msgspec import structs

from loadtest.fuzz.given import Given, tried
from loadtest.fuzz.program import LOOPBACK
from streams.errors import SettingsError
from streams.instants import to_datetime, to_ms
from streams.lifecycle import Lifecycle
from streams.messages import PickList
from streams.sources import normalisers
from streams.topics import PICKLISTS, REPORTED, SOURCE_HEADER

MIDNIGHT = datetime(2026, 11, 10, 16, tzinfo=UTC)
"""In Beijing, that is."""
NIGHTLY = """source = "nightly"
about = "A job that collects the night's payments, on a server that keeps UTC and says so nowhere"
numbers_of = "web"
[fields]
event_id = ["no", "at"]
order_no = "no"
code = "state"
time = "at"
[time]
format = "iso"
zone = "UTC"
[codes]
PAID = "payment.succeeded"
[[example]]
body = '{"no": "1", "state": "PAID", "at": "2026-11-10 16:00:00"}'
event = "payment.succeeded"
at = 2026-11-11T00:00:00+08:00
"""


async def test_orders_between_midnight_and_two_are_picked_at_once(tmp_path: Path) -> None:
    """A payment said at 16:30 UTC is one of 00:30 in Beijing: its pick list is there within the second, none waits."""
    (tmp_path / "nightly.toml").write_text(NIGHTLY)
    made = await world({"TEA": 100})
    made.clock.advance(MIDNIGHT.timestamp() - made.clock.now_ms() / 1000)
    minutes = range(0, 120, 10)
    orders = [structs.replace(submission(f"S-{m}"), channel_order_no=f"N-{m}") for m in minutes]
    ids = await accepted(made, *orders)
    lifecycle = Lifecycle(made.parts(), normalisers(str(tmp_path)))
    for offset, (minute, order_id) in enumerate(zip(minutes, ids, strict=True)):
        paid_at = MIDNIGHT + timedelta(minutes=minute)
        made.clock.advance((to_ms(paid_at) - made.clock.now_ms()) / 1000)
        body = msgspec.json.encode({"no": f"N-{minute}", "state": "PAID", "at": f"{paid_at:%Y-%m-%d %H:%M:%S}"})
        record = FakeRecord(offset, body, headers=((SOURCE_HEADER, b"nightly"),))
        await lifecycle.take(FakeChunk([record], topic=REPORTED.name))
        (picked,) = [
            pick
            for _, entry in sent(made, PICKLISTS.name)
            if (pick := msgspec.json.decode(entry.value or b"", type=PickList)).order_id == order_id
        ]
        assert picked.at - paid_at < timedelta(seconds=1)
        (step,) = await made.ledger.step_records(order_id)
        assert (step.occurred_at, step.zone) == (paid_at, "UTC")
        assert step.at == to_datetime(made.clock.now_ms())


def test_without_its_zone_nothing_is_read_and_the_command_says_what_to_write(tmp_path: Path) -> None:
    """The incident's mapping: workers refuse to start with it, and `sources check` names file, line, field and fix."""
    file = tmp_path / "nightly.toml"
    file.write_text(NIGHTLY.replace('zone = "UTC"\n', ""))
    with pytest.raises(SettingsError, match=r"nightly\.toml, line 10: .* carry no zone"):
        normalisers(str(tmp_path))
    ran, wrong = tried(Given(("sources", "check", "nightly.toml"), LOOPBACK, {"nightly.toml": file.read_bytes()}))
    assert (ran.code, wrong) == (SettingsError.exit_code, None)
    assert ran.err == (
        "floodway: nightly.toml, line 10: times in the form 'iso' carry no zone; declare it with the field `zone` in "
        '[time], as zone = "Asia/Shanghai".\n'
    )


def test_mappings_that_can_be_read_are_told(tmp_path: Path) -> None:
    """Ours without a file, those of a folder with their zones; a folder without mappings is refused."""
    ran, wrong = tried(Given(("sources", "check", "--json"), LOOPBACK))
    assert (ran.code, wrong) == (0, None)
    told = [msgspec.json.decode(line) for line in ran.out.splitlines()]
    assert {one["source"] for one in told} == normalisers().keys()
    assert {one["zone"] for one in told} >= {"Asia/Shanghai", "carried by each time"}
    ran, _ = tried(Given(("sources", "check", "nightly.toml"), LOOPBACK, {"nightly.toml": NIGHTLY.encode()}))
    assert (ran.code, "UTC" in ran.out) == (0, True)
    ran, _ = tried(Given(("sources", "check", "."), LOOPBACK))
    assert ran.code == 5
