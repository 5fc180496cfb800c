"""People are told by a real worker: by webhook and mail, once each, also when it dies, and after a replay."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from command import CommandLine
from pipeline import prepared, until, workers
from receivers import Got, Hook, Mailbox, answering, hook, mailbox

from agents.bootstrap import close, connect
from infra.embedded import Stack
from streams.core.signing import is_signed
from streams.messages import Notification, NotificationType, Ticket
from streams.parts import Parts
from streams.stores.log import Entry
from streams.topics import NOTIFICATIONS, TICKETS

pytest_plugins = ["stack_fixtures"]
pytestmark = pytest.mark.timeout(150)

SECRET = "whsec_" + base64.b64encode(os.urandom(32)).decode()
PLAN = """
[languages]
tmall = "zh"

[targets.shop]
kind = "webhook"
url = "{url}"
secret_env = "TEST_HOOK_SECRET"

[targets.broken]
kind = "webhook"
url = "{broken}"
secret_env = "TEST_HOOK_SECRET"

[targets.duty]
kind = "smtp"
host = "127.0.0.1"
port = {port}
security = "none"
from = "floodway@example.com"
to = "duty@example.com"

[[route]]
events = "order.*"
to = ["shop", "broken"]

[[route]]
events = "ticket.*"
to = "duty"
"""


@pytest.fixture
async def told() -> AsyncIterator[tuple[Hook, Hook, Mailbox]]:
    """Two receivers of webhooks, of which one refuses, and a mailbox."""
    async with hook() as shop, hook() as broken, mailbox() as box:
        broken.answer = answering(404)
        yield shop, broken, box


async def tell(parts: Parts, first: int, count: int) -> None:
    """So many notices, over two partitions."""
    for number in range(first, first + count):
        notice = Notification(
            f"acc-{number}",
            NotificationType.ORDER_PAID,
            "tmall",
            f"S-{number}",
            "ann",
            UUID(int=number),
            "…",
            datetime.now(UTC),
            "t",
        )
        entry = Entry(f"tmall:S-{number}".encode(), msgspec.json.encode(notice), parts.clock.now_ms())
        await parts.log.append(NOTIFICATIONS.name, number % 2, [entry])


async def test_people_are_told_once(
    stack: Stack, told: tuple[Hook, Hook, Mailbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notices reach the webhook signed and in Chinese, tickets the mailbox; a worker that is killed repeats nothing but
    what was on its way; what the other webhook refuses is a dead letter, and after a replay only that one gets it.
    """
    shop, broken, box = told
    plan = tmp_path / "notify.toml"
    plan.write_text(PLAN.format(url=shop.url, broken=broken.url, port=box.port), encoding="utf-8")
    monkeypatch.setenv("TEST_HOOK_SECRET", SECRET)
    settings = await prepared(stack, notify_file=str(plan), notify_private_targets="true")
    parts = await connect(settings)
    try:
        with workers(settings, notify=1) as running:
            await tell(parts, 0, 30)
            await until(lambda: reached(shop, broken, 30), within_s=30, what="30 notices")
            running.kill(running.pids()[0])
            await tell(parts, 30, 10)
            await until(lambda: reached(shop, broken, 40), within_s=60, what="10 more after a kill")
            ticket = Ticket("rule:x", "rule", "3 orders wait", "detail", "fix", datetime.now(UTC))
            await parts.log.append(
                TICKETS.name, 0, [Entry(b"rule:x", msgspec.json.encode(ticket), parts.clock.now_ms())]
            )
            await until(lambda: arrived(box), within_s=30, what="a mail")
            broken.answer, before = answering(200), len(ours(shop))
            floodway = CommandLine.of(stack, tmp_path)
            letters = floodway("dlq", "list", "--topic", "notifications", "--json").json_lines
            assert {one["target"] for one in letters} == {"broken"}
            assert {delivery_id(one) for one in ours(shop)} == {f"acc-{n}" for n in range(40)}
            floodway("dlq", "replay", "--topic", "notifications", "--every")
            await until(lambda: reached(broken, broken, 80), within_s=30, what="the replayed")
            assert len(ours(shop)) == before
    finally:
        await close(parts)
    assert 40 <= len(ours(shop)) <= 41  # what was on its way when it was killed may come twice, under the same id
    got = ours(shop)[0]
    assert is_signed(got.headers, got.body, SECRET, int(got.headers["webhook-timestamp"]))
    assert "已付款" in json.loads(got.body)["subject"]
    assert box.mails[0]["Subject"] == "[Floodway] 3 orders wait"


def delivery_id(one: Got) -> str:
    """Under which id it was delivered."""
    return str(json.loads(one.body)["delivery_id"])


def ours(target: Hook) -> list[Got]:
    """What it got of this test's: others in the same stack have notices, too."""
    return [one for one in target.got if delivery_id(one).startswith("acc-")]


async def reached(shop: Hook, other: Hook, count: int) -> bool:
    """Whether both have heard so much."""
    await asyncio.sleep(0)
    return min(len(ours(shop)), len(ours(other))) >= count


async def arrived(box: Mailbox) -> bool:
    """Whether there is a mail."""
    await asyncio.sleep(0)
    return bool(box.mails)
