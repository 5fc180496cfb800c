"""The book of deliveries on a real Postgres, and lanes that deliver from it to real receivers."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest
from ledger_server import Server

from streams.notify.config import load_wordings
from streams.stores.deliveries import Done, ToDeliver
from streams.stores.deliveries_postgres import PostgresDeliveries
from streams.topics import NOTIFICATIONS

pytest_plugins = ["ledger_fixtures", "delivery_fixtures"]

NOW = datetime(2026, 11, 11, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
WORDINGS = load_wordings()


def to(target: str, delivery_id: str, *, offset: int = 0, key: bytes = b"k", is_replay: bool = False) -> ToDeliver:
    """A message for a target."""
    return ToDeliver(target, delivery_id, NOTIFICATIONS.name, 0, offset, key, b"{}", is_replay)


async def due(deliveries: PostgresDeliveries, target: str) -> list[str]:
    """What waits for a target, in order."""
    async with deliveries.lane(target) as lane:
        assert lane is not None
        return [one.message.delivery_id for one in await lane.due(10)]


async def test_a_message_is_due_once_for_each_target(deliveries: PostgresDeliveries) -> None:
    """Read again it is not due again, neither while it waits nor once it stands in the book."""
    await deliveries.add([to("a", "1"), to("b", "1"), to("a", "2")], NOW)
    await deliveries.add([to("a", "2"), to("a", "1"), to("a", "3")], NOW)
    assert await due(deliveries, "a") == ["1", "2", "3"]
    await deliveries.enter("a", [Done("1", 2, NOW)])
    await deliveries.add([to("a", "1")], NOW)
    assert await due(deliveries, "a") == ["2", "3"]
    assert await due(deliveries, "b") == ["1"]
    assert await deliveries.of_message("1") == [("a", Done("1", 2, NOW))]
    assert [(s.target, s.waiting) for s in await deliveries.standing()] == [("a", 2), ("b", 1)]


async def test_only_a_replay_makes_what_was_given_up_due_again(deliveries: PostgresDeliveries) -> None:
    """And only where it failed: who got it does not get it again."""
    await deliveries.add([to("a", "1"), to("b", "1")], NOW)
    await deliveries.enter("a", [Done("1", 1, NOW, "refused")])
    await deliveries.enter("b", [Done("1", 1, NOW)])
    await deliveries.add([to("a", "1"), to("b", "1")], NOW)
    assert await due(deliveries, "a") == []
    await deliveries.add([to("a", "1", is_replay=True), to("b", "1", is_replay=True)], NOW)
    assert (await due(deliveries, "a"), await due(deliveries, "b")) == (["1"], [])
    await deliveries.enter("a", [Done("1", 1, NOW)])
    assert [done.failed for _, done in await deliveries.of_message("1")] == [None, None]


async def test_a_lane_is_one_process_own(servers: tuple[Server, Server], deliveries: PostgresDeliveries) -> None:
    """Another gets it only when the first has left it, also by dying."""
    other = await PostgresDeliveries.connect(servers[0].dsn(), lanes=4)
    async with deliveries.lane("a") as mine, other.lane("a") as theirs, other.lane("b") as beside:
        assert mine is not None
        assert theirs is None
        assert beside is not None
    with pytest.raises(RuntimeError):
        async with deliveries.lane("a"):
            raise RuntimeError("it dies")
    async with asyncio.timeout(5):
        while True:
            async with other.lane("a") as theirs:
                if theirs is not None:
                    break
            await asyncio.sleep(0.05)
    await other.close()


async def test_the_book_forgets(deliveries: PostgresDeliveries) -> None:
    """What was entered long ago is taken out."""
    await deliveries.enter("a", [Done("old", 1, NOW - timedelta(days=31)), Done("new", 1, NOW)])
    assert await deliveries.forget(NOW - timedelta(days=30)) == 1
    assert await deliveries.of_message("old") == []
    assert len(await deliveries.of_message("new")) == 1
