"""Whether the texts of a message have the characters they may have; see the patterns in `streams.messages`. Pure.

All texts of a message are joined by line feeds, which none of them may have, and matched at once; only a message that
does not fit is looked at field by field.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from streams.messages import CURRENCY, NAME, TEXT, VISIBLE, Report, ShipTo, Submission


class WrongText(NamedTuple):
    """The JSON path of a text that has other characters than it may, and the pattern it should match."""

    field: str
    pattern: str


# channel, submission_id, buyer_id, currency, then SKUs and the promotion.
_submission_fits = re.compile(rf"{NAME}\n{VISIBLE}\n{VISIBLE}\n{CURRENCY}(?:\n{NAME})+").fullmatch
_texts_fit = re.compile(TEXT).fullmatch
_REPORT = tuple(
    (field, re.compile(pattern).fullmatch, pattern)
    for field, pattern in (
        ("event_id", VISIBLE),
        ("source", NAME),
        ("note", TEXT),
        ("shipment", VISIBLE),
        ("sku", NAME),
        ("raw_code", TEXT),
        ("zone", TEXT),
    )
)
_SHIP_TO = ShipTo.__struct_fields__


def wrong_text_of_submission(found: Submission) -> WrongText | None:
    """The first wrong text of a submission, if there is one."""
    lines, promotion_id = found.lines, found.promotion_id
    names = lines[0].sku if len(lines) == 1 else "\n".join([line.sku for line in lines])
    feeds = 3 + len(lines)
    if promotion_id is not None:
        names, feeds = f"{names}\n{promotion_id}", feeds + 1
    joined = f"{found.channel}\n{found.submission_id}\n{found.buyer_id}\n{found.currency}\n{names}"
    # Counted, so that no field can bring a line feed along and pass for two.
    fits = _submission_fits(joined) and joined.count("\n") == feeds
    if fits and found.channel_order_no is None and found.ship_to is None:
        return None
    texts = "".join(_free_texts(found))
    if fits and _texts_fit(texts):
        return None
    return next(_wrong(found), None)


def wrong_text_of_report(found: Report) -> WrongText | None:
    """The first wrong text of a report, if there is one."""
    for field, fits, pattern in _REPORT:
        text = getattr(found, field)
        if text is not None and fits(text) is None:
            return WrongText(f"$.{field}", pattern)
    return None


def _free_texts(found: Submission) -> Iterator[str]:
    if found.channel_order_no is not None:
        yield found.channel_order_no
    if found.ship_to is not None:
        for name in _SHIP_TO:
            text = getattr(found.ship_to, name)
            if text is not None:
                yield text


def _wrong(found: Submission) -> Iterator[WrongText]:
    checks = [
        ("$.submission_id", found.submission_id, VISIBLE),
        ("$.channel", found.channel, NAME),
        ("$.buyer_id", found.buyer_id, VISIBLE),
        *((f"$.lines[{i}].sku", line.sku, NAME) for i, line in enumerate(found.lines)),
        ("$.currency", found.currency, CURRENCY),
        ("$.channel_order_no", found.channel_order_no, TEXT),
        ("$.promotion_id", found.promotion_id, NAME),
        *((f"$.ship_to.{name}", getattr(found.ship_to, name, None), TEXT) for name in _SHIP_TO),
    ]
    for field, text, pattern in checks:
        if text is not None and re.fullmatch(pattern, text) is None:
            yield WrongText(field, pattern)
