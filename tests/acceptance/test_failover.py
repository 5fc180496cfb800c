"""Postgres fails over in the middle of a surge: with a synchronous standby nothing that was announced is lost."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.cli.drill import run_one
from infra.embedded import Broker
from loadtest.drills.drill import Load
from loadtest.drills.table import DRILLS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LOAD = Load(rate_per_s=500.0, seconds=6.0)


def test_a_synchronous_standby_has_all_that_was_announced(broker: Broker, tmp_path: Path) -> None:
    """Killed for good, promoted, the old one re-seeded: books balance, no answer is missing, no worker had to die."""
    report = run_one(replace(DRILLS["postgres-failover"], load=LOAD), 5, broker=broker, data_dir=tmp_path)
    assert report.failures == []
    assert (report.passed, report.balanced, report.missing, report.oversold) == (True, True, 0, 0)
    assert report.worker_restarts == 0
    assert report.longest_gap_s >= 0.5, "nothing stood still: nothing was put to the test"
