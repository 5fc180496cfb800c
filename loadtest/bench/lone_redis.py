"""A Valkey alone, with the settings file of the stack, for measurements that need no other server."""

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from infra.embedded import spawn
from infra.embedded.addresses import HOST
from infra.embedded.binaries import REDIS_CONF, find_binaries
from infra.embedded.children import end
from infra.embedded.probes import redis_answers, wait_until
from streams.errors import StackError

READY_TIMEOUT_S = 10.0
STOP_GRACE_S = 5.0


@contextlib.contextmanager
def lone_redis() -> Iterator[str]:
    """Start it on a free port in a temporary directory; yields its URL. Raises `StackError`."""
    with tempfile.TemporaryDirectory(prefix="floodway-redis-") as directory:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        argv: list[str | Path] = [find_binaries().valkey, REDIS_CONF, "--port", str(port)]
        argv += ["--bind", HOST, "--dir", directory]
        child = spawn(argv, log_path=Path(directory, "redis.log"))
        try:
            wait_until(lambda: child.poll() is not None or redis_answers(port, child.pid), timeout_s=READY_TIMEOUT_S)
            if child.poll() is not None or not redis_answers(port, child.pid):
                raise StackError(f"Valkey did not start: {Path(directory, 'redis.log').read_text()[-500:]}")
            yield f"redis://{HOST}:{port}/0"
        finally:
            end(child, grace_s=STOP_GRACE_S)
