"""`floodway week`, scaled down: the order in which reports come makes no difference, on the real stack."""

from pathlib import Path

import pytest
from command import measured

ORDERS = 500


@pytest.mark.timeout(180)
def test_a_week_as_it_comes_ends_as_the_week_in_order(tmp_path: Path) -> None:
    """No order differs from its twin; delay and manual touch meet their targets; only unknown codes wait."""
    code, said, _ = measured(tmp_path, "week", "--orders", str(ORDERS), "--seed", "3")
    assert code == 0, said["failures"]
    assert (said["passed"], said["balanced"], said["different"], said["unexpected"]) == (True, True, {}, [])
    assert said["in_order"]["messages"] > 9 * ORDERS
    assert said["as_it_came"]["messages"] > 1.1 * said["in_order"]["messages"]
    assert sum(said["statuses"].values()) == ORDERS
    assert len(said["statuses"]) >= 7
    assert set(said["waiting"]) <= {"unknown_code"}
    assert said["waiting"].get("unknown_code", 0) == said["unknown_codes"] >= said["tickets"]
    assert 0 < said["state_delay_s"]["p50"] <= said["state_delay_s"]["mean"] * 4
    assert said["state_delay_min"] < 1.4
    assert said["state_delay_s"]["changes"] == said["told"]["changed"] > 5 * ORDERS
    assert said["told"]["picklist"] > ORDERS / 2
    assert said["reports_per_s_on_two_cores"] > 0
    assert said["books"]["submissions"] == said["books"]["decisions"] == 2 * ORDERS
