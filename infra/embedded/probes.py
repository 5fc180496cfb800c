"""Is a server really there? Each probe asks in the server's own protocol, once, within a second."""

import contextlib
import socket
import struct
import time
from collections.abc import Callable

from infra.embedded.addresses import HOST

TIMEOUT_S = 1.0
INTERVAL_S = 0.02
ANSWER_MAX_BYTES = 65_536

API_VERSIONS = 18


def kafka_answers(port: int) -> bool:
    """Whether a Kafka-protocol broker answers an ApiVersions request with success."""
    correlation_id = 7
    request = struct.pack(">hhih", API_VERSIONS, 0, correlation_id, -1)
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), TIMEOUT_S) as line:
        line.sendall(struct.pack(">i", len(request)) + request)
        answer = line.recv(ANSWER_MAX_BYTES)
        if len(answer) >= 10:
            _, echoed, error = struct.unpack(">iih", answer[:10])
            return (echoed, error) == (correlation_id, 0)
    return False


def redis_answers(port: int, pid: int) -> bool:
    """Whether the Redis of process `pid` answers, and has read its data back in."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), TIMEOUT_S) as line:
        line.sendall(b"PING\r\nINFO server\r\n")
        answer = b""
        while b"process_id:" not in answer or not answer.endswith(b"\r\n"):
            piece = line.recv(ANSWER_MAX_BYTES)
            answer += piece
            # While it loads, it answers PING with an error.
            if not piece or not answer.startswith(b"+PONG") or len(answer) > ANSWER_MAX_BYTES:
                return False
        return f"process_id:{pid}\r".encode() in answer
    return False


def wait_until(ready: Callable[[], bool], *, timeout_s: float) -> bool:
    """Ask `ready` until it says yes; False when it has not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() >= deadline:
            return False
        time.sleep(INTERVAL_S)
    return True
