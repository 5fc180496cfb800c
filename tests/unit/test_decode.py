"""Bytes to messages: nothing raises, and each refusal tells its producer where and what to change."""

import json
from typing import Any

import msgspec
import pytest
from builders import submission
from hypothesis import given
from hypothesis import strategies as st

from streams.core.decode import (
    EARLIEST_S,
    LATEST_S,
    MessageDecoder,
    Undecodable,
    instant_out_of_range,
    trace_id,
)
from streams.messages import MAX_MESSAGE_BYTES, Report, Submission

SUBMISSIONS = MessageDecoder(Submission)
REPORTS = MessageDecoder(Report)
GOOD = msgspec.json.encode(submission())
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def changed(path: str, value: Any) -> bytes:
    """The good submission with the value at `a.b` changed; ... takes it out."""
    body: Any = json.loads(GOOD)
    place = body
    *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for part in way:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("value", "field", "fix"),
    [
        (changed("buyer_id", ...), "$.buyer_id", "add the field"),
        (changed("lines.0.sku", ...), "$.lines[0].sku", "add the field"),
        (changed("lines.0.qty", 0), "$.lines[0].qty", "whole number"),
        (changed("lines.0.qty", "2"), "$.lines[0].qty", "without quotes"),
        (changed("lines.0.qty", 1.5), "$.lines[0].qty", "whole number"),
        (changed("lines.0.sku", "a|b"), "$.lines[0].sku", "characters the schema allows"),
        (changed("lines.0.sku", ""), "$.lines[0].sku", "text within"),
        (changed("lines.0.sku", 5), "$.lines[0].sku", "text within"),
        (changed("lines", []), "$.lines", "between 1 and 100 lines"),
        (changed("submitted_at", "2026-11-11T00:00:00"), "$.submitted_at", "offset from UTC"),
        (changed("submitted_at", "11.11.2026"), "$.submitted_at", "2026-11-11T00:00:00+08:00"),
        (changed("currency", "eur"), "$.currency", "characters the schema allows"),
        (changed("ship_to", {"city": "a\x00"}), "$.ship_to.city", "characters the schema allows"),
        (b"[]", "$", "schema"),
        (b'"text"', "$", "schema"),
    ],
)
def test_an_invalid_field_is_named_with_its_fix(value: bytes, field: str, fix: str) -> None:
    """The JSON path leads to the field, the fix says what to change; the path is not said twice."""
    found = SUBMISSIONS.decode(value)
    assert isinstance(found, Undecodable)
    assert (found.reason, found.field) == ("invalid_field", field)
    assert found.fix is not None
    assert fix in found.fix
    assert found.detail
    assert " - at `" not in found.detail


@pytest.mark.parametrize(
    ("changes", "field", "fix"),
    [
        ({"type": "order.eaten"}, "$.type", "one of the values"),
        ({"order_id": "7"}, "$.order_id", "as it was announced"),
        ({"amount": -1}, "$.amount", "whole number"),
        ({"event_id": None}, "$.event_id", "give the field a value"),
    ],
)
def test_an_invalid_report_is_explained_too(changes: dict[str, Any], field: str, fix: str) -> None:
    """Reports have their own fields to name."""
    body = {"event_id": "e", "source": "pay", "type": "order.cancelled", "occurred_at": "2026-11-11T00:00:00Z"}
    found = REPORTS.decode(json.dumps(body | {"order_id": "01920000-0000-7000-8000-000000000000"} | changes).encode())
    assert isinstance(found, Undecodable)
    assert (found.reason, found.field) == ("invalid_field", field)
    assert fix in str(found.fix)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"{", "not_json"),
        (b"not json", "not_json"),
        (GOOD + b"x", "not_json"),
        (GOOD.replace(b"ann", b"\xff\xfe"), "not_json"),
        (b'{"x":' + b"[" * 50_000, "not_json"),
        (b" " * (MAX_MESSAGE_BYTES + 1 - len(GOOD)) + GOOD, "too_large"),
    ],
)
def test_what_is_no_message_at_all_has_its_reason_and_fix(value: bytes | None, reason: str) -> None:
    """Tombstones, broken JSON, bytes that are no text, bottomless nesting and giants are told apart."""
    found = SUBMISSIONS.decode(value)
    assert isinstance(found, Undecodable)
    assert found.reason == reason
    assert found.fix
    assert len(found.detail) < 512


def test_the_largest_message_is_taken() -> None:
    """The bound on bytes is inclusive."""
    padded = b" " * (MAX_MESSAGE_BYTES - len(GOOD)) + GOOD
    assert SUBMISSIONS.decode(padded) == submission()


@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_raise(value: bytes) -> None:
    """Whatever stands in a record, the answer is a value."""
    assert isinstance(SUBMISSIONS.decode(value), Undecodable)
    assert isinstance(REPORTS.decode(value), Undecodable)


@given(st.data())
def test_mutated_messages_never_raise(data: st.DataObject) -> None:
    """A valid message with bytes overwritten, cut out or put in is a submission or has a reason; nothing raises."""
    value = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at, to = sorted(data.draw(st.tuples(*[st.integers(0, len(value))] * 2)))
        value[at : min(to, at + 3)] = data.draw(st.binary(max_size=3))
    found = SUBMISSIONS.decode(bytes(value))
    assert isinstance(found, Submission | Undecodable)


@given(
    st.sampled_from(["submission_id", "lines", "lines.0.sku", "lines.0.qty", "submitted_at", "ship_to", "currency"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_any_json_in_any_field_gets_an_answer(path: str, value: Any) -> None:
    """A refusal of well-formed JSON points into the field that was changed, and says what to do."""
    found = SUBMISSIONS.decode(changed(path, value))
    if isinstance(found, Undecodable):
        assert found.reason == "invalid_field"
        assert str(found.field).startswith("$." + path.replace(".0", "[0]"))
        assert found.fix


@pytest.mark.parametrize(
    ("timestamp_s", "wrong"),
    [(EARLIEST_S - 0.001, True), (EARLIEST_S, False), (LATEST_S - 0.001, False), (LATEST_S, True), (1.8e12, True)],
)
def test_times_that_cannot_be_meant_are_refused(timestamp_s: float, *, wrong: bool) -> None:
    """2000 to 2100, the end excluded; milliseconds taken for seconds fall outside."""
    found = instant_out_of_range(timestamp_s, "$.submitted_at")
    assert (found is not None) is wrong
    if found is not None:
        assert (found.field, found.reason) == ("$.submitted_at", "invalid_field")


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ((), None),
        ((("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode()),), TRACE),
        ((("other", b"x"), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())), TRACE),
        ((("traceparent", None),), None),
        ((("traceparent", b"\xff"),), None),
        ((("traceparent", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"),), None),
        ((("traceparent", TRACE.encode()),), None),
        ((("traceparent", b"bad"), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())), TRACE),
    ],
)
def test_the_trace_is_read_from_its_header(headers: tuple[tuple[str, bytes | None], ...], found: str | None) -> None:
    """A valid traceparent gives its trace id; an invalid one is passed over."""
    assert trace_id(headers) == found
