"""The front keeps to its OpenAPI document, whatever is sent: Schemathesis against a real process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from front import front
from pipeline import Workers
from shop import encode, order

from streams.settings import Settings

pytest_plugins = ["stack_fixtures"]

HOOKS = """
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
"""


CONFIG = """
# What a schema cannot say: an order is not known, a key was used before, 1.0 is no whole number to us, a time lies
# outside of all centuries that are meant. That valid orders are taken is proved by other tests.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "400", "404", "409", "422", "429", "503"]
[checks.negative_data_rejection]  # a batch refuses line by line
expected-statuses = ["207", "400", "401", "403", "404", "405", "406", "408", "413", "414", "415", "422", "429"]
"""


@pytest.mark.timeout(240)
def test_no_contract_breach_and_no_server_error(settings: Settings, running: Workers, tmp_path: Path) -> None:
    """A bounded run of every check: no 5xx, no undocumented status, type, header or body, nothing invalid accepted."""
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    with front(settings, tmp_path, stream_max_s=0.2, heartbeat_s=0.1, wait_max_s=0.2, link_keys="k" * 32) as tested:
        tested.submit(encode(order("known", ("NONE", 1), channel="contract")))
        tested.get("/v1/orders/contract:known?wait=10")
        argv = [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"http://127.0.0.1:{tested.port}/openapi.json",
            "--max-examples", "10", "--seed", "1", "--generation-deterministic", "--request-timeout", "20",
            "--phases", "examples,coverage,fuzzing", "--no-color", "--workers", "1", "--max-failures", "5",
        ]  # fmt: skip
        done = subprocess.run(
            argv,
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=230,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:] + tested.log.read_text()[-4_000:]
        assert "Tested: 10" in done.stdout, done.stdout  # all but the document itself
