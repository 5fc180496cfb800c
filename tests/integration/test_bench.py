"""`floodway bench`, on servers of its own: every measured part did its work. Speeds are not looked at."""

import json
import subprocess
import sys

from loadtest.bench.parts_run import NAMES, records_of

ORDERS = 4_000


def bench(*arguments: str) -> dict[str, object]:
    """What the command prints as JSON."""
    command = [sys.executable, "-c", "from infra.cli import main; main()", "bench", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_every_part_does_its_work() -> None:
    """Each part handles all its records, uses CPU for it, and the parts of the whole are compared with it."""
    report = bench("parts", "--orders", str(ORDERS), "--rounds", "1")
    parts = report["parts"]
    assert isinstance(parts, dict)
    assert list(parts) == list(NAMES)
    for name, part in parts.items():
        assert part["records"] == records_of(name, ORDERS), name
        assert part["client_cpu_us_per_record"] > 0, name
    assert parts["reserve"]["accepted_ratio"] == 1
    assert parts["reserve-promo"]["accepted_ratio"] == 0.01
    assert parts["reserve"]["script_us_per_record"] > 0
    ratios = report["ratios"]
    assert isinstance(ratios, dict)
    assert all(ratios.values())
    assert len(ratios) == 5
