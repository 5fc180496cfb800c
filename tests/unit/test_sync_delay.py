"""How late sources are is counted when what they say is announced, once, by sources that are known."""

from datetime import timedelta

import msgspec
from builders import NOW, accepted, report, submission, world
from lifecycle_kit import take

from streams.messages import ReportType
from streams.telemetry import REGISTRY


def counted(source: str, name: str = "count") -> float:
    """So many reports of a source, or seconds of delay in sum, since this process began."""
    return REGISTRY.get_sample_value(f"floodway_sync_delay_seconds_{name}", {"source": source}) or 0.0


async def test_a_report_counts_once_from_its_sources_time_to_its_announcement() -> None:
    """90 s late is 90 s; read again it does not count; a source without a mapping is among the others."""
    made = await world()
    (order,) = await accepted(made, submission())
    at = NOW - timedelta(seconds=90)
    shipped = msgspec.structs.replace(report(order, "e-1", ReportType.PARCEL_SHIPPED, source="sf"), occurred_at=at)
    stranger = msgspec.structs.replace(report(order, "e-2", ReportType.PARCEL_PACKED, source="zzz"), occurred_at=at)
    before = counted("sf"), counted("sf", "sum"), counted("other"), counted("zzz")
    await take(made, shipped, stranger)
    await take(made, shipped)
    after = counted("sf"), counted("sf", "sum"), counted("other"), counted("zzz")
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 90, 1, 0]


async def test_a_clock_that_runs_ahead_is_not_late() -> None:
    """What its source dates into the future counts, with no delay."""
    made = await world()
    (order,) = await accepted(made, submission())
    before = counted("wms"), counted("wms", "sum")
    await take(made, report(order, "e-3", ReportType.PARCEL_SHIPPED, source="wms"))
    assert (counted("wms") - before[0], counted("wms", "sum") - before[1]) == (1, 0)
