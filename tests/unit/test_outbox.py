"""What is to be told is written with the steps: whoever dies leaves nothing unsaid, and each has one id for ever."""

from datetime import timedelta

import msgspec
import pytest
from builders import Crash, Trouble, World, accepted, at_call, outages, report, submission, world
from lifecycle_kit import CANCELLED, GRACE_S, TTL_S, expire, said, send_left, sent, take, told

from streams.core.books import State
from streams.lifecycle import Lifecycle
from streams.messages import Change, Notification, NotificationType, OrderChanged, PickAction, PickList, ReportType
from streams.outbox import Outbox
from streams.rebuild import rebuild_stock
from streams.topics import CHANGED, NOTIFICATIONS, PICKLISTS

TOPICS = (CHANGED.name, NOTIFICATIONS.name, PICKLISTS.name)


def notices(made: World) -> list[NotificationType]:
    """What the buyer was told of, in order."""
    return [msgspec.json.decode(e.value or b"", type=Notification).type for _, e in sent(made, NOTIFICATIONS.name)]


def picks(made: World) -> list[PickAction]:
    """What the warehouse was told, in order."""
    return [msgspec.json.decode(entry.value or b"", type=PickList).action for _, entry in sent(made, PICKLISTS.name)]


async def test_a_payment_makes_a_pick_list_and_a_notice_at_once() -> None:
    """Paid: the hold is confirmed, the warehouse gets the lines with their pool, the buyer hears, watchers see."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    await take(made, report(order_id, "e-1"))
    ((_, entry),) = sent(made, PICKLISTS.name)
    made_list = msgspec.json.decode(entry.value or b"", type=PickList)
    assert (made_list.order_id, made_list.action) == (order_id, PickAction.PICK)
    assert [(line.sku, line.pool, line.qty) for line in made_list.lines] == [("TEA", "main", 2)]
    assert (notices(made), said(made, order_id)) == ([NotificationType.ORDER_PAID], [Change.CONFIRMED])
    ((_, entry),) = sent(made, CHANGED.name)
    change = msgspec.json.decode(entry.value or b"", type=OrderChanged)
    assert (change.status, change.version) == ("paid", 1)
    assert change.read_token
    assert not made.ledger.outbox


async def test_a_paid_order_that_is_cancelled_is_not_picked() -> None:
    """The list is withdrawn; one that was cancelled before it was paid never had one."""
    made = await world()
    paid, never = await accepted(made, submission("s-1"), submission("s-2"))
    await take(made, report(paid, "1"), report(never, "2", CANCELLED), report(paid, "3", CANCELLED), report(never, "4"))
    assert picks(made) == [PickAction.PICK, PickAction.WITHDRAW]
    assert sorted(notices(made)) == sorted(
        [NotificationType.ORDER_PAID, NotificationType.ORDER_CANCELLED, NotificationType.ORDER_REFUND_DUE] * 2
    )


async def test_two_steps_of_one_order_are_both_told_after_a_crash() -> None:
    """The process dies behind the second step, before it has told of either: the last state alone will not do."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    with pytest.raises(Crash):
        await take(made, report(order_id, "1"), report(order_id, "2", CANCELLED), trouble=_append_fails())
    await take(made, report(order_id, "1"), report(order_id, "2", CANCELLED))
    await send_left(made)
    assert said(made, order_id) == [Change.CONFIRMED, Change.REFUND_DUE]
    assert sorted(notices(made)) == [
        NotificationType.ORDER_CANCELLED,
        NotificationType.ORDER_PAID,
        NotificationType.ORDER_REFUND_DUE,
    ]


def _append_fails() -> Trouble:
    return outages(["log.append"], times=1, error=Crash)


async def test_an_expiry_is_told_though_its_stock_is_lost() -> None:
    """Booked, not yet told, and Redis forgets all of it: what has to be told does not hang on the stock."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    made.clock.advance(TTL_S)
    with pytest.raises(Crash):
        await expire(made, 0, _append_fails())
    made.stock._holds.clear()
    await rebuild_stock(made.ledger, made.stock, made.clock, retention_s=TTL_S, reason="lost")
    assert await expire(made, 0) == 0
    assert await send_left(made) == 1
    assert (said(made, order_id), notices(made)) == ([Change.EXPIRED], [NotificationType.ORDER_EXPIRED])
    assert made.ledger.accepted[order_id].state is State.EXPIRED


@pytest.mark.parametrize("number", range(1, 16))
async def test_a_crash_anywhere_tells_each_once_by_its_id(number: int) -> None:
    """Before or after any call the process dies; sent again or not, a reader who goes by the id sees each once."""
    wanted = None
    for when in ("never", "before", "after"):
        made = await world()
        (order_id,) = await accepted(made, submission())
        trouble = Trouble() if when == "never" else at_call(number, "before" if when == "before" else "after")
        try:
            await take(made, report(order_id, "1"), trouble=trouble)
        except Crash:
            await take(made, report(order_id, "1"))
        await send_left(made)
        assert not made.ledger.outbox
        found = {topic: [one.split(":", 1)[1] for one in told(made, topic)] for topic in TOPICS}
        wanted = wanted or found
        assert found == wanted
        assert [len(found[topic]) for topic in TOPICS] == [1, 1, 1]


async def test_what_is_sent_again_is_byte_for_byte_the_same_but_for_its_token() -> None:
    """A second process sends what the first had sent and not taken out: same id, same key, same content."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    with pytest.raises(Crash):
        await take(made, report(order_id, "1"), trouble=outages(["ledger.said"], times=1, error=Crash))
    await send_left(made)
    for topic in (NOTIFICATIONS.name, PICKLISTS.name):
        (first, one), (second, two) = sent(made, topic)
        assert (first, one.key, one.value) == (second, two.key, two.value)
    (first, one), (second, two) = sent(made, CHANGED.name)
    assert first == second
    changes = [msgspec.json.decode(entry.value or b"", type=OrderChanged) for entry in (one, two)]
    assert msgspec.structs.replace(changes[0], read_token=None) == msgspec.structs.replace(changes[1], read_token=None)


async def test_nobody_sends_what_is_young_or_their_own() -> None:
    """Within the grace the writer has time; a process that is slow to send does not send the same beside itself."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    with pytest.raises(Crash):
        await take(made, report(order_id, "1"), trouble=_append_fails())
    assert await Lifecycle(made.parts()).send_left() == 0
    made.clock.advance(GRACE_S)
    outbox = Outbox(made.parts())
    outbox._sending.update(made.ledger.outbox)
    assert await outbox.send_left() == 0
    assert not sent(made, CHANGED.name)
    assert await Outbox(made.parts()).send_left() == 1


async def test_outages_are_outlasted_when_what_was_left_is_sent() -> None:
    """Log and ledger may be away for a while: it is sent in the end, and taken out."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    with pytest.raises(Crash):
        await take(made, report(order_id, "1"), trouble=_append_fails())
    made.clock.advance(GRACE_S)
    trouble = outages(["ledger.unsaid", "log.partitions", "log.append", "ledger.said"])
    assert await Lifecycle(made.parts(trouble)).send_left() == 1
    assert said(made, order_id) == [Change.CONFIRMED]
    assert not made.ledger.outbox


async def test_a_refund_that_was_made_is_not_asked_for_again() -> None:
    """The channel's refund comes before the payment that it is of: no demand is left, the status is refunded."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    await take(made, report(order_id, "1", ReportType.REFUND_SUCCEEDED), report(order_id, "2"))
    assert made.ledger.accepted[order_id].state is State.REFUND_DUE
    assert Change.REFUND_DUE not in said(made, order_id)
    assert picks(made) == []
    changes = [msgspec.json.decode(entry.value or b"", type=OrderChanged) for _, entry in sent(made, CHANGED.name)]
    assert changes[-1].status == "refunded"
    assert await made.books() == {("TEA", "main"): (10, 0, 0)}


async def test_a_small_refund_ends_no_sale() -> None:
    """Less than the total is a partial refund, whatever its source calls it: the units stay sold."""
    made = await world()
    (order_id,) = await accepted(made, submission())
    small = msgspec.structs.replace(report(order_id, "2", ReportType.REFUND_SUCCEEDED), amount=899)
    await take(made, report(order_id, "1"), small)
    assert made.ledger.accepted[order_id].state is State.CONFIRMED
    assert said(made, order_id) == [Change.CONFIRMED, Change.PARTLY_REFUNDED]
    full = msgspec.structs.replace(small, event_id="3", amount=900, occurred_at=small.occurred_at + timedelta(hours=1))
    await take(made, full)
    assert made.ledger.accepted[order_id].state is State.REFUND_DUE
