"""What tests of deliveries share: notices, chunks of them, and a process that delivers from a real book."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from receivers import Hook

from streams.clock import SystemClock
from streams.core.sinks import read_plan
from streams.dead_letters import read_letter
from streams.messages import Notification, NotificationType
from streams.notify.config import load_wordings
from streams.notify.lanes import Lanes
from streams.notify.taking import Taking
from streams.parts import Parts
from streams.settings import Settings
from streams.stores.deliveries_postgres import PostgresDeliveries
from streams.stores.ledger_fake import FakeLedger
from streams.stores.log_fake import FakeLog
from streams.stores.stock_fake import FakeStock
from streams.topics import ALL, NOTIFICATIONS, NOTIFICATIONS_DLQ

NOW = datetime(2026, 11, 11, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
WORDINGS = load_wordings()


class RawRecord(msgspec.Struct, frozen=True):
    """A record as it is read."""

    offset: int
    value: bytes | None
    key: bytes | None = b"web:s-1"
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int = 0


class RawChunk:
    """A chunk that says whether it was acknowledged."""

    def __init__(self, records: Sequence[RawRecord], topic: str = NOTIFICATIONS.name) -> None:
        self.topic, self.partition, self.records = topic, 1, records
        self.acknowledged = False

    def acknowledge(self) -> bool:
        """Note it."""
        self.acknowledged = True
        return True


def notice(number: int, order: int = 0, channel: str = "web") -> RawRecord:
    """A notice to a buyer."""
    made = Notification(
        f"n-{number}",
        NotificationType.ORDER_SHIPPED,
        channel,
        f"s-{order}",
        "ann",
        UUID(int=order),
        "…",
        NOW,
        "t",
        shipment="SF1",
    )
    return RawRecord(number, msgspec.json.encode(made), f"{channel}:s-{order}".encode())


class World:
    """One process that delivers, by a plan, from a real book."""

    def __init__(self, deliveries: PostgresDeliveries, plan: str, environ: Mapping[str, str]) -> None:
        self.log = FakeLog({topic.name: 2 for topic in ALL})
        settings = Settings(notify_private_targets=True, breaker_open_s=0.2, retry_max_delay_s=0.2)
        parts = Parts(FakeStock(), FakeLedger(), self.log, SystemClock(), settings)
        found = read_plan(plan, "notify.toml", environ, frozenset({"en", "zh"}))
        self.taking = Taking(parts, deliveries, found)
        self.lanes = Lanes(parts, deliveries, found, WORDINGS)

    async def take(self, *records: RawRecord, topic: str = NOTIFICATIONS.name) -> RawChunk:
        """Take a chunk, and wake the lanes."""
        chunk = RawChunk(records, topic)
        await self.taking.take(chunk)
        self.lanes.wake()
        return chunk

    def letters(self) -> list[tuple[str, str]]:
        """Reason and target of each dead letter."""
        entries = [e for (topic, _), es in self.log.appended.items() if topic == NOTIFICATIONS_DLQ.name for e in es]
        found = [read_letter(RawRecord(0, e.value, e.key, e.headers)) for e in entries]
        return [(one.reason, one.target or "") for one in found if one is not None]


def webhook(name: str, to: Hook, **more: str) -> str:
    """A target, as it stands in the file."""
    lines = "\n".join(f"{key} = {value}" for key, value in more.items())
    return f'[targets.{name}]\nkind = "webhook"\nurl = "{to.url}"\nsecret_env = "HOOK"\n{lines}\n'


def route(*names: str) -> str:
    """All to these targets."""
    return f'[[route]]\nevents = ["order.*", "ticket.*"]\nto = {list(names)}\n'
