"""An order's story as its buyer may read it: stages, parcels, remarks, milestones.

Left out are who the buyer is and where he lives, the pool that units came from, reports that changed nothing, what
sources wrote beside their codes, and which operator made a remark. Service reads those in `streams.why`.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from msgspec import Struct, structs

from streams.core.books import StepResult
from streams.core.remarks import author_of, public_source
from streams.core.stages import Stage
from streams.messages import Outcome, Reason, ReportType
from streams.story import Moment, Parcel, Story

REMARKED = ReportType.ORDER_REMARKED.value


class Goods(Struct, frozen=True):
    """Units of a SKU in an order."""

    sku: str
    qty: int


class Remark(Struct, frozen=True):
    """What an operator said to the buyer of an order, and when."""

    at: datetime
    text: str


class Timeline(Struct, frozen=True, omit_defaults=True):
    """What happened to an order, oldest first, and where it is. Money is minor units; times are UTC.

    A stage without `ended_at` goes on, and is late past its `due_at`. `version` is the id of the last event of its
    stream that this shows. What stands below `version` is only there for orders that were accepted.
    """

    order_id: UUID
    channel: str
    number: str
    outcome: Outcome
    decided_at: datetime
    moments: tuple[Moment, ...]
    version: str
    reason: Reason | None = None
    status: str | None = None
    status_zh: str | None = None
    status_en: str | None = None
    owner: str | None = None
    submitted_at: datetime | None = None
    held_until: datetime | None = None
    total: int | None = None
    currency: str | None = None
    lines: tuple[Goods, ...] = ()
    stages: tuple[Stage, ...] = ()
    parcels: tuple[Parcel, ...] = ()
    remarks: tuple[Remark, ...] = ()


def timeline(story: Story) -> Timeline:
    """The timeline of a story. Pure."""
    shown = tuple(public(story.moments))
    return Timeline(
        order_id=story.order_id,
        channel=story.channel,
        number=story.channel_order_no or story.submission_id,
        outcome=story.outcome,
        decided_at=story.decided_at,
        moments=shown,
        version=story.version,
        reason=story.reason,
        status=story.status,
        status_zh=story.status_zh,
        status_en=story.status_en,
        owner=story.owner,
        submitted_at=story.submitted_at,
        held_until=story.held_until,
        total=story.total,
        currency=story.currency,
        lines=tuple(Goods(line.sku, line.qty) for line in story.lines),
        stages=story.stages,
        parcels=story.parcels,
        remarks=tuple(Remark(m.occurred_at or m.at, m.note) for m in shown if m.note is not None),
    )


def public(moments: Iterable[Moment]) -> Iterable[Moment]:
    """Those that a buyer may read, as far as he may."""
    for moment in moments:
        if moment.result == StepResult.NOT_EXPECTED.value:
            continue
        said = moment.what == REMARKED
        if said and author_of(moment.source) is None:
            continue
        yield structs.replace(moment, source=public_source(moment.source), note=moment.note if said else None)
