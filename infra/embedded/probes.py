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

METADATA = 3
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


def kafka_serves(port: int, node: int) -> bool:
    """Whether Apache Kafka's `node` answers, and is itself among the brokers that take records."""
    correlation_id = 9
    request = struct.pack(">hhihi", METADATA, 1, correlation_id, -1, 0)  # of no topic
    with contextlib.suppress(OSError, struct.error), socket.create_connection((HOST, port), TIMEOUT_S) as line:
        line.settimeout(TIMEOUT_S)
        line.sendall(struct.pack(">i", len(request)) + request)
        answer = b""
        while len(answer) < 4 or len(answer) < 4 + struct.unpack_from(">i", answer)[0]:
            piece = line.recv(ANSWER_MAX_BYTES)
            answer += piece
            if not piece or len(answer) > ANSWER_MAX_BYTES:
                return False
        echoed, brokers = struct.unpack_from(">ii", answer, 4)
        return echoed == correlation_id and node in _broker_ids(answer, 12, brokers)
    return False


def _broker_ids(answer: bytes, at: int, count: int) -> set[int]:
    """The ids in a Metadata response (version 1): for each broker its id, host, port and rack."""
    found = set()
    for _ in range(count):
        node, host_length = struct.unpack_from(">ih", answer, at)
        at += 6 + host_length + 4
        (rack_length,) = struct.unpack_from(">h", answer, at)
        at += 2 + max(0, rack_length)
        found.add(node)
    return found


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
