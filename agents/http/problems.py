"""What went wrong, as RFC 9457 has it: `application/problem+json`, with the field and the fix where they are known."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from msgspec import Struct

from streams.core.decode import Undecodable
from streams.errors import FloodwayError

CONTENT_TYPE = b"application/problem+json"
URN = "urn:floodway:problem:"

encode = msgspec.json.Encoder().encode

TITLES = {
    "not_json": "This is no JSON object",
    "invalid_field": "A field is missing or wrong",
    "empty": "There is nothing in it",
    "undecodable": "This cannot be read as a submission",
    "invalid_parameter": "A parameter or header is wrong",
    "too_large": "This is too large",
    "too_slow": "The request did not arrive in time",
    "unsupported_media_type": "This content type is not taken here",
    "no_token": "A token is needed",
    "wrong_token": "This token is not known",
    "no_right": "This token may not do that",
    "too_many": "Too many requests under this token",
    "in_flight": "A request under this key is being worked on",
    "key_reused": "This key was used with another request",
    "not_found": "There is nothing here",
    "unknown_order": "No decision on this order is known",
    "several_orders": "Several orders have this name",
    "rejected_order": "This order was rejected",
    "no_link_key": "This server makes no links",
    "method_not_allowed": "Not this method",
    "busy": "This server has its hands full",
    "unavailable": "Something behind this server does not answer",
    "draining": "This server is about to end",
    "defect": "This server made a mistake",
}


class Problem(Struct, frozen=True, omit_defaults=True):
    """What went wrong. `field` is a JSON path into the message or the name of a parameter, `fix` what to change."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    fix: str | None = None


class Refusal(FloodwayError):
    """A request is answered by a problem."""

    def __init__(
        self,
        status: HTTPStatus,
        kind: str,
        detail: str,
        *,
        field: str | None = None,
        fix: str | None = None,
        headers: Mapping[bytes, bytes] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(URN + kind, TITLES[kind], int(status), detail, field, fix)
        self.headers = headers or {}


def bad_parameter(name: str, detail: str, fix: str) -> Refusal:
    """A parameter or header is wrong."""
    return Refusal(HTTPStatus.BAD_REQUEST, "invalid_parameter", detail, field=name, fix=fix)


def come_again(kind: str, detail: str, *, after_s: float = 1.0, status: int = 503) -> Refusal:
    """The same request may go through after a while."""
    return Refusal(HTTPStatus(status), kind, detail, headers={b"retry-after": b"%d" % max(1, round(after_s))})


def of_undecodable(found: Undecodable) -> Refusal:
    """What intake would say of the same bytes."""
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if found.reason == "too_large" else HTTPStatus.BAD_REQUEST
    return Refusal(status, found.reason, found.detail, field=found.field, fix=found.fix)
