"""An order with a story worth looking at: two parcels, one delivered, one late in the snow, and a word on why."""

from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from agents.http.pages import snapshot
from streams.core.books import OrderRecord, State, StepRecord, StepResult, StoredDecision
from streams.core.vocabulary import EVENTS, Part
from streams.messages import Outcome, ReportType
from streams.story import Story, story_of
from streams.timeline import timeline
from streams.why import explain

BEIJING = ZoneInfo("Asia/Shanghai")
BEGIN = datetime(2026, 11, 10, 9, 2, tzinfo=BEIJING)
LOOKED_AT = datetime(2026, 11, 14, 9, 30, tzinfo=BEIJING)
FIRST, SECOND = "SF1400123456789", "ZT7319055310253"
REMARK = {
    "en": "Snow has closed the sorting centre in Hangzhou. Your second parcel goes on today; sorry for the wait.",
    "zh": "杭州分拨中心因暴雪停运，第二个包裹今天恢复运输。抱歉让您久等。",  # noqa: RUF001 - its own commas
}

_R = ReportType
_SAID: tuple[tuple[float, ReportType, str, str], ...] = (
    (0.07, _R.PAYMENT_SUCCEEDED, "alipay", ""),
    (1.1, _R.WAREHOUSE_ACCEPTED, "wms", ""),
    (1.9, _R.PICKING_STARTED, "wms", ""),
    (2.7, _R.PARCEL_PACKED, "wms", FIRST),
    (3.6, _R.PARCEL_PACKED, "wms", SECOND),
    (5.0, _R.PARCEL_SHIPPED, "sf", FIRST),
    (9.6, _R.PARCEL_SHIPPED, "kdniao", SECOND),
    (21.4, _R.PARCEL_MOVED, "kdniao", SECOND),
    (47.0, _R.PARCEL_OUT_FOR_DELIVERY, "sf", FIRST),
    (49.2, _R.PARCEL_DELIVERED, "sf", FIRST),
    (82.1, _R.ORDER_REMARKED, "operator+lin.wei", ""),
)


def _step(number: int, hours: float, kind: ReportType, source: str, shipment: str, lang: str) -> StepRecord:
    at, milestone = BEGIN + timedelta(hours=hours), EVENTS[kind]
    part: Part = (shipment, "")
    paid = kind is _R.PAYMENT_SUCCEEDED
    note = REMARK[lang] if kind is _R.ORDER_REMARKED else None
    code = None if milestone is None else milestone.code
    state = State.CONFIRMED if paid else None
    return StepRecord(at, at, kind.value, source, str(number), StepResult.TAKEN, state, code, part, None, None, note)


def sample(lang: str = "en") -> tuple[Story, str, str]:
    """The story, and its page as one file: for the buyer, and for service."""
    order_id = UUID("019a6f1a-27c0-7b11-8c5e-3f6f0a1d2b4c")
    order = OrderRecord(
        order_id=order_id,
        channel="tmall",
        submission_id="S-1",
        buyer_id="b-1",
        channel_order_no="3401 7725 0931",
        currency="CNY",
        total=45_800,
        promotion_id=None,
        pool="main",
        state=State.CONFIRMED,
        submitted_at=BEGIN,
        decided_at=BEGIN + timedelta(milliseconds=180),
        held_until=BEGIN + timedelta(minutes=30),
        changed_at=BEGIN,
        trace_id=order_id.hex,
        quantities=(("KETTLE-1L", 1), ("TEA-OOLONG", 2)),
    )
    decision = StoredDecision(order_id, b"", Outcome.ACCEPTED, None, order.decided_at, order.held_until, None, 3, 1)
    steps = [_step(number, *said, lang) for number, said in enumerate(_SAID)]
    story = story_of(decision, order, steps)
    shown, why = timeline(story), explain(order, decision, steps, LOOKED_AT)
    return story, snapshot(shown, LOOKED_AT), snapshot(shown, LOOKED_AT, why)
