"""Signatures of webhooks are those of Standard Webhooks."""

import base64

from streams.core.signing import TOLERANCE_S, is_signed, signed_headers, webhook_id

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'


def test_a_signature_is_the_one_that_the_specification_publishes() -> None:
    """Secret, id, time and body of the specification's own example give its signature."""
    headers = signed_headers(ID, BODY, [KEY], AT)
    assert headers == {
        "webhook-id": ID,
        "webhook-timestamp": str(AT),
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_what_was_changed_is_not_taken() -> None:
    """Another body, id, time or secret does not fit the signature; nor does one that is too old."""
    headers = signed_headers(ID, BODY, [KEY], AT)
    assert is_signed(headers, BODY, SECRET, AT)
    assert is_signed(headers, BODY, SECRET, AT + TOLERANCE_S)
    assert not is_signed(headers, BODY + b" ", SECRET, AT)
    assert not is_signed(headers | {"webhook-id": "msg_2"}, BODY, SECRET, AT)
    assert not is_signed(headers | {"webhook-timestamp": str(AT + 1)}, BODY, SECRET, AT)
    assert not is_signed(headers, BODY, "whsec_" + base64.b64encode(b"x" * 24).decode(), AT)
    assert not is_signed(headers, BODY, SECRET, AT + TOLERANCE_S + 1)
    assert not is_signed({}, BODY, SECRET, AT)


def test_while_a_secret_is_replaced_both_fit() -> None:
    """A message that is signed with two secrets is taken by who has either."""
    other = b"another secret of 24 byte"
    headers = signed_headers(ID, BODY, [other, KEY], AT)
    assert is_signed(headers, BODY, SECRET, AT)
    assert is_signed(headers, BODY, base64.b64encode(other).decode(), AT)


def test_an_id_fits_a_header_whatever_it_is_made_of() -> None:
    """Ids of tickets hold spaces and Chinese; what receivers see is plain, and the same each time."""
    assert webhook_id("unknown_code:jd:等待付款\n") == webhook_id("unknown_code:jd:等待付款\n")
    assert webhook_id("a") != webhook_id("b")
    assert webhook_id("等 待").isascii()
    assert webhook_id("等 待").isidentifier()
