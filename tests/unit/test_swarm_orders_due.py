"""Orders that users of Locust submit over HTTP are handed out when they are due, each once."""

import json
import threading
import time
from datetime import datetime

from loadtest.schedule import Phase
from loadtest.swarm.orders_due import Due, OrdersDue
from loadtest.swarm.words import Share

SHARE = Share("-5", 0, 1, 60, 4, 5.0, phases=(Phase("steady", 0.3, 200, 200),), sends=False)


def test_many_users_share_the_orders() -> None:
    """Eight at a time: every order once, none before its time, with that time in it."""
    started_at_ms = time.time_ns() // 1_000_000 + 50
    due, taken = OrdersDue(SHARE, started_at_ms), list[tuple[Due, float]]()

    def user() -> None:
        while orders := due.next(1):
            taken.extend((order, time.time_ns() / 1e6) for order in orders)

    users = [threading.Thread(target=user) for _ in range(8)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join()
    messages = [json.loads(order.message) for order, _ in taken]
    assert len({message["submission_id"] for message in messages}) == len(taken) == due.handed_out == 60
    for (order, taken_ms), message in zip(taken, messages, strict=True):
        assert taken_ms >= order.intended_ms - 1
        assert datetime.fromisoformat(message["submitted_at"]).timestamp() * 1000 == int(order.intended_ms)
    assert due.late_ms_max >= 0


def test_a_batch_is_what_has_fallen_due() -> None:
    """As many as are due, and no more than asked for; none when all are gone, or the run was stopped."""
    due = OrdersDue(SHARE, time.time_ns() // 1_000_000 - 10_000)
    assert [len(due.next(50)) for _ in range(3)] == [50, 10, 0]
    again = OrdersDue(SHARE, time.time_ns() // 1_000_000 - 10_000)
    again.stopped = True
    assert again.next(1) == []
