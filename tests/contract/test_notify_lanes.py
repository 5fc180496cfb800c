"""Lanes deliver from a real book to real receivers."""

import asyncio
import json

import msgspec
from aiohttp import web
from notify_kit import NOW, SECRET, RawRecord, World, notice, route, webhook
from receivers import Got, answering, hook, mailbox, until

from streams.core.signing import is_signed, webhook_id
from streams.messages import Ticket, TicketEvent
from streams.stores.deliveries_postgres import PostgresDeliveries
from streams.topics import MESSAGE_ID_HEADER, NOTIFICATIONS_DLQ, REPLAY_HEADER, TICKETS

pytest_plugins = ["ledger_fixtures", "delivery_fixtures"]


async def test_a_webhook_gets_what_is_signed_once(deliveries: PostgresDeliveries) -> None:
    """A chunk that is read twice is delivered once, in order, signed, in the channel's language, and entered."""
    async with hook() as shop, asyncio.TaskGroup() as tasks:
        plan = f'[languages]\njd = "zh"\n{webhook("shop", shop)}{route("shop")}'
        world = World(deliveries, plan, {"HOOK": SECRET})
        running = tasks.create_task(world.lanes.run())
        for _ in range(2):
            chunk = await world.take(notice(1), notice(2, channel="jd"), notice(3))
            assert chunk.acknowledged
        await shop.until(3)
        await asyncio.sleep(0.1)
        running.cancel()
    bodies = [json.loads(got.body) for got in shop.got]
    assert [body["delivery_id"] for body in bodies] == ["n-1", "n-2", "n-3"]
    assert [got.headers["webhook-id"] for got in shop.got] == [webhook_id(f"n-{n}") for n in (1, 2, 3)]
    assert all(is_signed(got.headers, got.body, SECRET, int(got.headers["webhook-timestamp"])) for got in shop.got)
    assert bodies[0]["type"] == "order.shipped"
    assert bodies[0]["data"]["shipment"] == "SF1"
    assert "on its way" in bodies[0]["subject"]
    assert "已发货" in bodies[1]["subject"]
    assert [(name, done.tries, done.failed) for name, done in await deliveries.of_message("n-1")] == [("shop", 1, None)]


async def test_a_slow_target_holds_up_no_other(deliveries: PostgresDeliveries) -> None:
    """While one receiver answers nothing at all the other gets everything, and chunks are acknowledged."""
    free = asyncio.Event()

    async def stuck(_: Got) -> web.Response:
        await free.wait()
        return web.Response(status=200)

    async with hook() as slow, hook() as quick, asyncio.TaskGroup() as tasks:
        slow.answer = stuck
        plan = f"{webhook('slow', slow)}{webhook('quick', quick)}{route('slow', 'quick')}"
        world = World(deliveries, plan, {"HOOK": SECRET})
        running = tasks.create_task(world.lanes.run())
        chunks = [await world.take(*(notice(100 * c + n, n) for n in range(100))) for c in range(3)]
        await quick.until(300)
        assert all(chunk.acknowledged for chunk in chunks)
        assert len(slow.got) == 1
        waiting = {standing.target: standing.waiting for standing in await deliveries.standing()}
        assert waiting["slow"] == 300
        free.set()
        await slow.until(300)
        running.cancel()
    assert [json.loads(got.body)["delivery_id"] for got in slow.got] == [f"n-{n}" for n in range(300)]


async def test_what_fails_is_tried_again_in_order(deliveries: PostgresDeliveries) -> None:
    """A receiver that is down for some tries gets each message, none before the one that came before it."""
    async with hook() as shop, asyncio.TaskGroup() as tasks:
        shop.answer = answering(503, 503, 429, 500, 200)
        world = World(deliveries, webhook("shop", shop) + route("shop"), {"HOOK": SECRET})
        running = tasks.create_task(world.lanes.run())
        await world.take(notice(1), notice(2))
        await shop.until(6)
        await asyncio.sleep(0.1)
        running.cancel()
    assert [json.loads(got.body)["delivery_id"] for got in shop.got] == ["n-1"] * 5 + ["n-2"]
    assert len({got.headers["webhook-id"] for got in shop.got}) == 2
    ((_, done),) = await deliveries.of_message("n-1")
    assert (done.tries, done.failed) == (5, None)
    assert world.letters() == []


async def test_what_is_given_up_is_a_dead_letter_and_can_be_replayed(deliveries: PostgresDeliveries) -> None:
    """A refusal at once, a receiver that stays down after its bound; a replay goes to that target only."""
    async with hook() as rude, hook() as down, hook() as fine, asyncio.TaskGroup() as tasks:
        rude.answer, down.answer = answering(403), answering(503)
        down_target = webhook("down", down, give_up_after="'1s'")
        plan = f"{webhook('rude', rude)}{down_target}{webhook('fine', fine)}"
        world = World(deliveries, plan + route("rude", "down", "fine"), {"HOOK": SECRET})
        running = tasks.create_task(world.lanes.run())
        await world.take(notice(1))
        await until(lambda: len(world.letters()) == 2)
        assert sorted(world.letters()) == [("gave_up", "down"), ("refused", "rude")]
        assert len(rude.got) == 1
        rude.answer = answering(200)
        entries = [e for (topic, _), es in world.log.appended.items() if topic == NOTIFICATIONS_DLQ.name for e in es]
        assert {(entry.key, entry.value) for entry in entries} == {(notice(1).key, notice(1).value)}
        again = msgspec.structs.replace(notice(1), headers=((REPLAY_HEADER, b"notifications.v1.dlq-0-0"),))
        await world.take(again)
        await rude.until(2)
        await asyncio.sleep(0.2)
        running.cancel()
    assert len(fine.got) == 1
    assert rude.got[0].headers["webhook-id"] == rude.got[1].headers["webhook-id"]


async def test_side_by_side_each_order_keeps_its_order(deliveries: PostgresDeliveries) -> None:
    """With a concurrency of four, messages of one order never overtake each other."""
    most = now = 0

    async def answer(got: Got) -> web.Response:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005 if int(json.loads(got.body)["delivery_id"][2:]) % 2 else 0.001)
        now -= 1
        return web.Response(status=200)

    async with hook() as shop, asyncio.TaskGroup() as tasks:
        shop.answer = answer
        world = World(deliveries, webhook("shop", shop, concurrency="4") + route("shop"), {"HOOK": SECRET})
        running = tasks.create_task(world.lanes.run())
        await world.take(*(notice(n, order=n % 10) for n in range(100)))
        await shop.until(100)
        await asyncio.sleep(0.1)
        running.cancel()
    told: dict[str, list[int]] = {}
    for got in shop.got:
        body = json.loads(got.body)
        told.setdefault(body["data"]["submission_id"], []).append(int(body["delivery_id"][2:]))
    assert all(numbers == sorted(numbers) for numbers in told.values())
    assert 1 < most <= 4


async def test_a_message_that_is_never_taken_lets_other_orders_pass(deliveries: PostgresDeliveries) -> None:
    """Where several go side by side; those of its own order wait behind it, and follow in order once it is taken."""
    poison = True

    async def answer(got: Got) -> web.Response:
        return web.Response(status=500 if poison and json.loads(got.body)["delivery_id"] == "n-0" else 200)

    async with hook() as shop, asyncio.TaskGroup() as tasks:
        shop.answer = answer
        world = World(deliveries, webhook("shop", shop, concurrency="2") + route("shop"), {"HOOK": SECRET})
        running = tasks.create_task(world.lanes.run())
        await world.take(*(notice(n, order=n % 10) for n in range(30)))
        await until(lambda: len(shop.ids() - {"n-0"}) == 27)
        assert shop.ids() == {f"n-{n}" for n in range(30)} - {"n-10", "n-20"}
        poison = False
        await until(lambda: len(shop.ids()) == 30, within_s=30)
        running.cancel()
    told = [json.loads(got.body)["delivery_id"] for got in shop.got]
    assert told[-3:] == ["n-0", "n-10", "n-20"]


async def test_a_mail_server_gets_buyers_and_people_on_duty(deliveries: PostgresDeliveries) -> None:
    """Mails arrive with subject and text in the right language, after a 4xx too; a 5xx is a dead letter."""
    async with mailbox() as box:
        plan = f"""
[languages]
default = "zh"
[targets.mail]
kind = "smtp"
host = "127.0.0.1"
port = {box.port}
security = "none"
from = "orders@example.com"
to = "{{buyer_id}}@example.com"
[targets.duty]
kind = "smtp"
host = "127.0.0.1"
port = {box.port}
security = "none"
from = "floodway@example.com"
to = ["duty@example.com", "lead@example.com"]
[[route]]
events = "order.*"
to = "mail"
[[route]]
events = "ticket.*"
to = "duty"
"""
        async with asyncio.TaskGroup() as tasks:
            world = World(deliveries, plan, {})
            running = tasks.create_task(world.lanes.run())
            box.refuse = ["451 later"]
            await world.take(notice(1))
            await until(lambda: box.mails)
            box.refuse = ["550 no such buyer"]
            await world.take(notice(2))
            await until(world.letters)
            ticket = Ticket("r:s", "r", "订单 \r\nBcc: x@y", "三个订单", "看看", NOW, TicketEvent.OPENED, NOW)
            headers = ((MESSAGE_ID_HEADER, b"r:s@1"),)
            await world.take(RawRecord(3, msgspec.json.encode(ticket), b"r:s", headers), topic=TICKETS.name)
            await until(lambda: len(box.mails) == 2)
            running.cancel()
    buyer, duty = box.mails
    assert (buyer["To"], box.recipients) == (
        "ann@example.com",
        [["ann@example.com"], ["duty@example.com", "lead@example.com"]],
    )
    assert buyer["Message-ID"] == f"<{webhook_id('n-1')}@example.com>"
    assert "已发货" in buyer["Subject"]
    assert "SF1" in buyer.get_content()
    assert world.letters() == [("refused", "mail")]
    assert duty["Subject"] == "[Floodway] 订单 Bcc: x@y"
    assert duty["Bcc"] is None
    assert "三个订单" in duty.get_content()


async def test_what_is_no_message_is_a_dead_letter(deliveries: PostgresDeliveries) -> None:
    """Bytes that are none are buried with a reason, their neighbour is delivered."""
    world = World(deliveries, '[targets.log]\nkind = "log"\n' + route("log"), {})
    bad = RawRecord(2, b'{"type": "order.eaten"}')
    chunk = await world.take(notice(1), bad, RawRecord(3, None))
    assert chunk.acknowledged
    assert sorted(world.letters()) == [("empty", ""), ("invalid_field", "")]
    assert [(one.target, one.waiting) for one in await deliveries.standing()] == [("log", 1)]
