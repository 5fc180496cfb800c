"""The limits of every field, from both sides, as the wire sees them."""

from typing import Any

import msgspec
import pytest
from builders import NOW, submission
from hypothesis import given
from hypothesis import strategies as st

from streams.core.decode import MessageDecoder, Undecodable
from streams.messages import (
    MAX_LINES,
    MAX_MESSAGE_BYTES,
    MAX_QTY,
    MAX_UNIT_PRICE,
    Change,
    DecidedLine,
    Decision,
    Line,
    OrderChanged,
    Outcome,
    Report,
    ReportType,
    ShipTo,
    Submission,
)

LINE = {"sku": "TEA", "qty": 2, "unit_price": 450}
BODY: dict[str, Any] = {
    "submission_id": "s-1",
    "channel": "web",
    "buyer_id": "ann",
    "lines": [LINE],
    "currency": "EUR",
    "submitted_at": "2026-11-11T00:00:00+08:00",
}
REPORT: dict[str, Any] = {
    "event_id": "e-1",
    "source": "pay",
    "type": "payment.succeeded",
    "order_id": "01920000-0000-7000-8000-000000000000",
    "occurred_at": "2026-11-11T00:00:00Z",
}


DECODERS: dict[type, MessageDecoder[Any]] = {Submission: MessageDecoder(Submission), Report: MessageDecoder(Report)}


def takes(body: dict[str, Any], kind: type = Submission) -> bool:
    """Whether a body is a valid message."""
    return not isinstance(DECODERS[kind].decode(msgspec.json.encode(body)), Undecodable)


def line(**changed: Any) -> dict[str, Any]:
    """A body whose only line is changed."""
    return BODY | {"lines": [LINE | changed]}


VALID = [
    BODY,
    BODY | {"submission_id": "x"},
    BODY | {"submission_id": "x" * 64},
    BODY | {"submission_id": "a:b|c/{}~!"},
    BODY | {"channel": "c" * 32},
    BODY | {"channel": "a.b_c~d@e+f-g"},
    BODY | {"buyer_id": "b" * 64},
    BODY | {"lines": [LINE] * MAX_LINES},
    BODY | {"currency": "CNY"},
    BODY | {"submitted_at": "2026-11-11T00:00:00.123456Z"},
    BODY | {"channel_order_no": ""},
    BODY | {"channel_order_no": "第 1 号" + "x" * 59},
    BODY | {"promotion_id": "11-11"},
    BODY | {"promotion_id": None},
    BODY | {"ship_to": {}},
    BODY | {"ship_to": {"name": "n" * 256, "address": "Straße 1, 上海", "country": None}},
    line(sku="9"),
    line(sku="s" * 64),
    line(qty=1),
    line(qty=MAX_QTY),
    line(unit_price=0),
    line(unit_price=MAX_UNIT_PRICE),
]

INVALID = [
    *({name: value for name, value in BODY.items() if name != left_out} for left_out in BODY),
    *(BODY | {name: None} for name in BODY),
    BODY | {"submission_id": ""},
    BODY | {"submission_id": "x" * 65},
    BODY | {"submission_id": "a b"},
    BODY | {"submission_id": "ä"},
    BODY | {"submission_id": "s-1\n"},
    BODY | {"submission_id": 7},
    BODY | {"channel": ""},
    BODY | {"channel": "c" * 33},
    BODY | {"channel": "a:b"},
    BODY | {"channel": "-web"},
    BODY | {"channel": "web\n"},
    BODY | {"buyer_id": ""},
    BODY | {"buyer_id": "b" * 65},
    BODY | {"buyer_id": "ann\x00"},
    BODY | {"lines": []},
    BODY | {"lines": [LINE] * (MAX_LINES + 1)},
    BODY | {"lines": LINE},
    BODY | {"currency": "eur"},
    BODY | {"currency": "EURO"},
    BODY | {"currency": "EU"},
    BODY | {"currency": "EUR\n"},
    BODY | {"submitted_at": "2026-11-11T00:00:00"},
    BODY | {"submitted_at": "yesterday"},
    BODY | {"submitted_at": 1_790_000_000},
    BODY | {"channel_order_no": "x" * 65},
    BODY | {"channel_order_no": "a\tb"},
    BODY | {"promotion_id": ""},
    BODY | {"promotion_id": "p" * 65},
    BODY | {"promotion_id": "a|b"},
    BODY | {"promotion_id": "a:b"},
    BODY | {"ship_to": {"name": "n" * 257}},
    BODY | {"ship_to": {"phone": "1" * 65}},
    BODY | {"ship_to": {"city": "a\x7fb"}},
    BODY | {"ship_to": {"address": "a\x00b"}},
    BODY | {"ship_to": "home"},
    line(sku=""),
    line(sku="s" * 65),
    line(sku="a|b"),
    line(sku="a b"),
    line(sku=".a"),
    line(sku="TEA\n"),
    line(qty=0),
    line(qty=-1),
    line(qty=MAX_QTY + 1),
    line(qty="2"),
    line(qty=1.5),
    line(qty=True),
    line(unit_price=-1),
    line(unit_price=MAX_UNIT_PRICE + 1),
    line(unit_price=1.5),
]


@pytest.mark.parametrize("body", VALID)
def test_what_lies_within_the_limits_is_taken(body: dict[str, Any]) -> None:
    """The last value inside of each limit is valid."""
    assert takes(body)


@pytest.mark.parametrize("body", INVALID)
def test_what_lies_outside_the_limits_is_refused(body: dict[str, Any]) -> None:
    """The first value outside of each limit is invalid; so are other types, and required fields left out."""
    assert not takes(body)


@pytest.mark.parametrize(
    ("changed", "valid"),
    [
        ({}, True),
        ({"type": "order.cancelled", "amount": 0, "note": "n" * 256}, True),
        ({"amount": 2**53 - 1}, True),
        ({"amount": 2**53}, False),
        ({"amount": -1}, False),
        ({"note": "n" * 257}, False),
        ({"note": "a\nb"}, False),
        ({"type": "order.eaten"}, False),
        ({"order_id": "no uuid"}, False),
        ({"event_id": ""}, False),
        ({"source": "a:b"}, False),
        ({"occurred_at": "2026-11-11T00:00:00"}, False),
    ],
)
def test_the_limits_of_a_report(changed: dict[str, Any], *, valid: bool) -> None:
    """Reports have their limits too, from both sides."""
    assert takes(REPORT | changed, Report) is valid


@pytest.mark.parametrize("code", [*range(0x20), 0x7F])
def test_no_text_has_control_characters(code: int) -> None:
    """Each of the 33 is refused in free text and in names, at the end as well."""
    for text in (chr(code), f"a{chr(code)}b", f"a{chr(code)}"):
        assert not takes(BODY | {"channel_order_no": text})
        assert not takes(BODY | {"ship_to": {"address": text}})
        assert not takes(BODY | {"buyer_id": text})
        assert not takes(line(sku=text))


def test_unknown_fields_are_tolerated() -> None:
    """Producers may run ahead of us, at every depth."""
    ahead = BODY | {"gift": True, "lines": [LINE | {"weight_g": 5}], "ship_to": {"planet": "Earth"}}
    assert takes(ahead)
    assert takes(REPORT | {"bank": {"name": "b"}}, Report)


def test_the_largest_valid_submission_fits_a_message() -> None:
    """All texts at their longest, in characters of four bytes, stay below the bound on a message."""
    wide = "🌊"
    made = Submission(
        "x" * 64,
        "c" * 32,
        "b" * 64,
        tuple(Line(f"{i:0>64}", MAX_QTY, MAX_UNIT_PRICE) for i in range(MAX_LINES)),
        "EUR",
        NOW,
        channel_order_no=wide * 64,
        promotion_id="p" * 64,
        ship_to=ShipTo(wide * 256, wide * 64, wide * 64, wide * 64, wide * 64, wide * 64, wide * 256),
    )
    encoded = msgspec.json.encode(made)
    assert msgspec.json.decode(encoded, type=Submission) == made
    assert len(encoded) < 20_000 < MAX_MESSAGE_BYTES


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~@+-]{0,63}", fullmatch=True),
            st.integers(1, MAX_QTY),
            st.integers(0, MAX_UNIT_PRICE),
        ),
        min_size=1,
        max_size=MAX_LINES,
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=64),
)
def test_a_submission_survives_the_wire(lines: list[tuple[str, int, int]], text: str) -> None:
    """Encoded and decoded, a submission equals itself."""
    made = msgspec.structs.replace(submission(lines=lines), channel_order_no=text, ship_to=ShipTo(name=text))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Submission) == made


def test_what_we_announce_survives_the_wire() -> None:
    """Reports, decisions and changes equal themselves after a round trip, and defaults are left out of the text."""
    held = (DecidedLine("TEA", "main", 2),)
    order_id = msgspec.convert(REPORT, Report).order_id
    decision = Decision(order_id, "s-1", "web", Outcome.ACCEPTED, NOW, NOW, "t", "EUR", 900, lines=held, held_until=NOW)
    change = OrderChanged(order_id, "s-1", "web", Change.CONFIRMED, NOW, "payment.succeeded", "t", held, "0/1")
    made = Report("e-1", "pay", ReportType.PAYMENT_SUCCEEDED, order_id, NOW)
    for message in (decision, change, made):
        assert msgspec.json.decode(msgspec.json.encode(message), type=type(message)) == message
    assert b"replay" not in msgspec.json.encode(decision)
    assert b"null" not in msgspec.json.encode(decision)
