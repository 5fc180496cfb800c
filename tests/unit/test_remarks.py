"""Remarks of operators: kept with who and when, told to those who watch, shown to the buyer without the operator."""

from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from builders import NOW, accepted, submission, world
from lifecycle_kit import PAID, said, take

from streams.core.decode import Undecodable
from streams.core.remarks import author_of, is_author, remark
from streams.messages import Change, Report, ReportType
from streams.story import tell
from streams.timeline import timeline

TEXT = "暴雪，杭州分拣中心停运一天。Snow: a day's delay."  # noqa: RUF001 - Chinese has a comma of its own


async def test_a_remark_is_told_once_and_shown_without_its_author() -> None:
    """Two remarks are two changes, the same one again is none; the ledger has the author, the buyer has the text."""
    made = await world()
    (order_id,) = await accepted(made, submission("s-1"))
    first = remark(order_id, "lin.wei", f"  {TEXT} ", NOW + timedelta(hours=1), "e-1")
    second = remark(order_id, "lin.wei", "On its way again.", NOW + timedelta(hours=2), "e-2")
    assert isinstance(first, bytes)
    assert isinstance(second, bytes)
    reports = [msgspec.json.decode(value, type=Report) for value in (first, second, first)]
    await take(made, *reports)
    assert said(made, order_id) == [Change.REMARKED, Change.REMARKED]
    steps = await made.ledger.step_records(order_id)
    assert next((author_of(s.source), s.note, s.occurred_at) for s in steps) == (
        "lin.wei",
        TEXT,
        NOW + timedelta(hours=1),
    )
    story = await tell(made.ledger, order_id)
    assert story is not None
    shown = timeline(story)
    assert [r.text for r in shown.remarks] == [TEXT, "On its way again."]
    assert b"lin.wei" not in msgspec.json.encode(shown)


async def test_what_a_channel_notes_is_not_for_the_buyer() -> None:
    """A seller's memo is shown to service only; so are reports that changed nothing, and who the buyer is."""
    made = await world()
    (order_id,) = await accepted(made, submission("s-1"))
    memo = Report("1", "jd", ReportType.ORDER_REMARKED, order_id, NOW, note="awkward customer")
    paid = [Report(event, "jd", PAID, order_id, NOW, note="memo") for event in ("2", "3")]
    await take(made, memo, *paid)
    story = await tell(made.ledger, order_id)
    assert story is not None
    text = msgspec.json.encode(timeline(story))
    assert [m.what for m in timeline(story).moments] == ["submitted", "accepted", "payment.succeeded"]
    for hidden in (b"memo", b"awkward", b"buyer_id", f'"{story.buyer_id}"'.encode(), b"pool"):
        assert hidden not in text
    assert Change.REMARKED not in said(made, order_id)


@pytest.mark.parametrize("text", ["", "  ", "x" * 257, "two\nlines", "bell\a"])
def test_what_is_no_remark_is_refused(text: str) -> None:
    """Nothing, too much, and more than a line: with the field and the fix."""
    wrong = remark(UUID(int=1), "lin", text, NOW, "e")
    assert isinstance(wrong, Undecodable)
    assert wrong.field == "$.text"
    assert wrong.fix


def test_who_can_make_remarks() -> None:
    """Names that fit behind the mark of an operator; no source of another kind is taken for one."""
    assert is_author("lin.wei@shop")
    assert not any(map(is_author, ("", "a b", "x" * 24, "a+b")))
    assert author_of("operator+lin") == "lin"
    assert author_of("operator") is None
    assert author_of("tmall+lin") is None
