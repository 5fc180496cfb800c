"""The demo, as a newcomer runs it: real baskets from an empty directory to balanced books."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.aftermath import followed
from loadtest.follow import WORD
from loadtest.generator import GeneratorReport
from loadtest.mixes import make_plan
from loadtest.outcome import SurgeReport
from loadtest.plan import Kind
from streams.audit import AuditReport

ORDERS = 5_000


@pytest.mark.timeout(180)
def test_demo_ends_with_balanced_books_and_says_so_in_json(tmp_path: Path) -> None:
    """The last line is one JSON object with what went in and came out, exit code 0, and nothing was left to chance."""
    done = subprocess.run(
        [Path(sys.executable).parent / "floodway", "demo", "--orders", str(ORDERS), "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    plan = make_plan(ORDERS, 12)
    assert said["submitted"] == ORDERS
    assert said["accepted"] + sum(said["rejected"].values()) == plan.kinds[Kind.ORDER]
    assert said["replayed"] == plan.kinds[Kind.REPEAT] > 0
    assert said["conflicts"] == plan.kinds[Kind.CONFLICT] > 0
    assert said["dead_lettered"] == plan.kinds[Kind.MALFORMED] > 0
    assert said["orders_per_s"] > 0
    assert 0 < said["latency_ms"]["p50"] <= said["latency_ms"]["p99"]
    assert sum(said["after"].values()) == said["accepted"]
    assert {"confirmed", "cancelled", "expired"} <= said["after"].keys()
    assert said["delivered"] == len(followed([""] * said["accepted"])) > 0
    page = (tmp_path / said["timeline"]).read_text(encoding="utf-8")
    story = re.search(r'id="held">(.*?)</script>', page)
    assert story is not None
    held = json.loads(story[1])
    assert held["timeline"]["status"] == "delivered"
    ways = ["intake", "payment", "acceptance", "queue", "picking", "handover", "transit", "delivery", "confirmation"]
    assert [stage["name"] for stage in held["timeline"]["stages"]] == ways
    assert {report["source"] for report in held["why"]["reports"]} == {"demo", "wms", "sf", "operator+demo"}
    assert held["timeline"]["remarks"][0]["text"] == WORD
    books = said["books"]
    assert books["balanced"] is True
    assert (books["missing"], books["repeated"], books["oversold"], books["leaked_holds"]) == (0, 0, 0, 0)
    assert books["submissions"] == books["decisions"] == plan.kinds[Kind.ORDER]
    assert books["redis_differs"] == []


def test_a_surge_passes_only_when_books_balance_and_all_came_as_planned() -> None:
    """Either alone is a failure, which the demo's exit code tells."""
    generated = GeneratorReport(1, 0, 1, 0.0)
    good = SurgeReport(1, 1, {}, 0, 0, 0, 1.0, {}, generated, books=AuditReport(balanced=True))
    assert good.passed
    assert not replace(good, books=AuditReport(balanced=False)).passed
    assert not replace(good, unexpected=["replayed: 1, planned 2"]).passed


def test_a_plan_is_the_same_for_the_same_seed_and_has_what_it_needs() -> None:
    """Shares of the mix are as documented, the hot SKU is wanted ten times over, and stock covers every promotion."""
    plan = make_plan(2_000, 12)
    assert plan.records == make_plan(2_000, 12).records
    assert plan.records != make_plan(2_000, 12, seed=2).records
    assert (plan.kinds[Kind.REPEAT], plan.kinds[Kind.CONFLICT], plan.kinds[Kind.MALFORMED]) == (100, 10, 10)
    wanted = sum(b'"promotion_id":"flash"' in r.head for r in plan.records if r.kind is Kind.ORDER)
    assert wanted == 10 * plan.flash_units
    for promotion in plan.promotions:
        assert all(plan.stock[sku] >= units for sku, units in promotion.quota)
