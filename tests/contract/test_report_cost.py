"""What a report costs in processor time: two cores must do 10,000 a second, whoever else is at work beside them."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec
import pytest
from ledger_server import Server
from ledger_values import EPOCH, NOW, accepted

from streams.clock import ManualClock
from streams.instants import to_ms
from streams.lifecycle import Lifecycle
from streams.messages import Report, ReportType
from streams.parts import Parts
from streams.receiving import receive
from streams.settings import Settings
from streams.stores.ledger_postgres import PostgresLedger
from streams.stores.log_fake import FakeLog
from streams.stores.stock_fake import FakeStock
from streams.topics import ALL, CHANGED, REPORTED

pytest_plugins = ["ledger_fixtures"]

ORDERS, CHUNK = 2_000, 2_000
WAY = (
    ReportType.PAYMENT_SUCCEEDED,
    ReportType.WAREHOUSE_ACCEPTED,
    ReportType.PICKING_STARTED,
    ReportType.PARCEL_PACKED,
    ReportType.PARCEL_SHIPPED,
    ReportType.PARCEL_MOVED,
    ReportType.PARCEL_OUT_FOR_DELIVERY,
    ReportType.PARCEL_DELIVERED,
    ReportType.ORDER_COMPLETED,
)
MOST_US = 2 * 1_000_000 / 10_000
"""Of worker and Postgres together; Redis is asked for one report in nine, Kafka costs what it costs everybody."""


@dataclass(frozen=True)
class Raw:
    """One record."""

    offset: int
    value: bytes
    timestamp: int = 0
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True)
class Piece:
    """One chunk."""

    records: Sequence[Raw]
    topic: str = REPORTED.name
    partition: int = 0

    def acknowledge(self) -> bool:
        """Nobody waits for it."""
        return True


@pytest.mark.slow
async def test_ten_thousand_reports_a_second_fit_two_cores(
    postgres: PostgresLedger, servers: tuple[Server, Server]
) -> None:
    """The whole way of orders, shuffled: read, merged, written with what is to be told, told. On the real ledger."""
    stock, clock = FakeStock(dedupe_retention_s=86_400.0), ManualClock(to_ms(NOW))
    await stock.install_epoch(EPOCH)
    log = FakeLog({topic.name: 2 for topic in ALL})
    parts = Parts(stock, postgres, log, clock, Settings())
    await receive(parts, "opening", [("TEA", 10 * ORDERS)])
    made = [accepted(number) for number in range(ORDERS)]
    await postgres.persist(made, EPOCH)
    now_ms = clock.now_ms()
    holds = [booking.intent.reservation for booking in made]
    await stock.reserve(EPOCH, holds, now_ms=now_ms, held_until_ms=now_ms + 1_800_000)
    values = [
        msgspec.json.encode(Report(f"e-{at}", "src", kind, booking.order_id, NOW, shipment=_parcel(number, at)))
        for number, booking in enumerate(made)
        for at, kind in enumerate(WAY)
    ]
    Random(7).shuffle(values)
    records = [Raw(offset, value) for offset, value in enumerate(values)]
    lifecycle = Lifecycle(parts)
    await lifecycle.take(Piece(records[:CHUNK]))
    ours_s, theirs_s = time.process_time(), _cpu_s(servers[0].pids())
    for at in range(CHUNK, len(records), CHUNK):
        await lifecycle.take(Piece(records[at : at + CHUNK]))
    count = len(records) - CHUNK
    ours_us = (time.process_time() - ours_s) / count * 1e6
    theirs_us = (_cpu_s(servers[0].pids()) - theirs_s) / count * 1e6
    print(f"a report costs the worker {ours_us:.0f} us and Postgres {theirs_us:.0f} us")
    assert len(log.values(CHANGED.name)) == len(records)
    assert ours_us + theirs_us < MOST_US


def _parcel(number: int, at: int) -> str | None:
    return f"SF{number:012}" if WAY[at].value.startswith("parcel") else None


def _cpu_s(pids: Iterable[int]) -> float:
    """Seconds of processor time that these processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
