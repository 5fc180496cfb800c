"""What the tests of the lifecycle share: reports taken, time that passes, and what came of an order."""

from uuid import UUID

import msgspec
from builders import SETTINGS, FakeChunk, FakeRecord, Trouble, World, chunk

from streams.core.books import State
from streams.dead_letters import read_letter
from streams.lifecycle import Lifecycle
from streams.messages import Change, OrderChanged, ReportType
from streams.stores.log import Entry
from streams.topics import CHANGED, MESSAGE_ID_HEADER, REPORTED_DLQ

PAID, CANCELLED = ReportType.PAYMENT_SUCCEEDED, ReportType.ORDER_CANCELLED
TTL_S, RETENTION_S = SETTINGS.hold_ttl_s, SETTINGS.dedupe_retention_s
GRACE_S = SETTINGS.outbox_grace_s + 1


async def take(made: World, *messages: object, trouble: Trouble | None = None) -> FakeChunk:
    """Apply one chunk of reports."""
    one = chunk(*messages, trouble=trouble)  # type: ignore[arg-type]
    await Lifecycle(made.parts(trouble)).take(one)
    return one


async def expire(made: World, after_s: float = TTL_S, trouble: Trouble | None = None) -> int:
    """Let time pass, and the keeper look."""
    made.clock.advance(after_s)
    return await Lifecycle(made.parts(trouble)).expire_due()


async def send_left(made: World) -> int:
    """Let the grace pass, and another process tell what was left."""
    made.clock.advance(GRACE_S)
    return await Lifecycle(made.parts()).send_left()


def state(made: World, order_id: UUID) -> State:
    """Where an order stands."""
    return made.ledger.accepted[order_id].state


def sent(made: World, topic: str) -> list[tuple[str, Entry]]:
    """What stands in a topic, with its id, in order of the partitions."""
    entries = [entry for (name, _), es in sorted(made.log.appended.items()) if name == topic for entry in es]
    return [((dict(entry.headers)[MESSAGE_ID_HEADER] or b"").decode(), entry) for entry in entries]


def told(made: World, topic: str) -> list[str]:
    """Ids of what was sent to a topic, repeats left out as a reader would, sorted."""
    return sorted({message_id for message_id, _ in sent(made, topic)})


def said(made: World, order_id: UUID) -> list[Change]:
    """What was announced of an order, as a reader sees it who drops repeats and goes by the version."""
    found = {one: msgspec.json.decode(e.value or b"", type=OrderChanged) for one, e in sent(made, CHANGED.name)}
    mine = [change for change in found.values() if change.order_id == order_id]
    return [change.change for change in sorted(mine, key=lambda change: change.version or 0)]


def letters(made: World) -> list[tuple[int, str]]:
    """Offsets and reasons of the dead letters."""
    entries = [e for (topic, _), es in made.log.appended.items() if topic == REPORTED_DLQ.name for e in es]
    found = [read_letter(FakeRecord(0, e.value, headers=e.headers)) for e in entries]
    return [(letter.offset, letter.reason) for letter in found if letter is not None]


async def forget(made: World) -> None:
    """Let the stock forget how holds ended: two retentions pass, with a call in each."""
    for _ in range(2):
        made.clock.advance(RETENTION_S + 1)
        now_ms = made.clock.now_ms()
        await made.stock.reserve(1, [], now_ms=now_ms, held_until_ms=now_ms + 1)
