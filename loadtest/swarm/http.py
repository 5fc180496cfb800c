"""Orders over HTTP as Locust's users submit them, one in a request or many.

Locust's own entry is the request, from when it was sent. The order's is `PRODUCE`, from when it was meant to be sent.
"""

from collections.abc import Sequence
from http import HTTPStatus

import msgspec
from locust.contrib.fasthttp import FastHttpSession

from loadtest.swarm.orders_due import Due
from loadtest.swarm.session import Session

SINGLE, BATCH = "/v1/orders", "/v1/orders:batch"


class _Line(msgspec.Struct):
    """What matters of a batch's answer."""

    line: int
    status: int


_decode_lines = msgspec.json.Decoder(_Line).decode_lines


def post_one(client: FastHttpSession, session: Session, order: Due) -> None:
    """Post an order; all but 202 is a failure."""
    headers = _headers("application/json", session)
    answer = client.request(
        "POST", session.http.url + SINGLE, name=SINGLE, data=order.message.decode(), headers=headers
    )
    session.produced(
        order.intended_ms, "" if answer.status_code == HTTPStatus.ACCEPTED else _problem(answer.status_code)
    )


def post_batch(client: FastHttpSession, session: Session, orders: Sequence[Due]) -> None:
    """Post orders, a line each; a line that was not taken is a failure of that order."""
    headers = _headers("application/x-ndjson", session)
    body = b"\n".join(order.message for order in orders).decode()
    answer = client.request("POST", session.http.url + BATCH, name=BATCH, data=body, headers=headers)
    if answer.status_code not in {HTTPStatus.OK, HTTPStatus.MULTI_STATUS}:
        for order in orders:
            session.produced(order.intended_ms, _problem(answer.status_code))
        return
    statuses = {line.line: line.status for line in _decode_lines(answer.content or b"")}
    for number, order in enumerate(orders, 1):
        status = statuses.get(number, 0)
        session.produced(order.intended_ms, "" if status == HTTPStatus.ACCEPTED else _problem(status))


def _headers(kind: str, session: Session) -> dict[str, str]:
    token = session.http.token
    return {"Content-Type": kind} | ({"Authorization": f"Bearer {token}"} if token else {})


def _problem(status: int) -> str:
    return f"HTTP {status}" if status else "no answer"
