"""`floodway stock restock` on a running pipeline: units that came back, line by line, and books that balance."""

import time
from pathlib import Path

import pytest
from command import CommandLine
from test_command_line import decided, line, shelves, stocked

from infra.embedded import Stack

pytest_plugins = ["stack_fixtures"]
pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("running")]


def test_units_come_back_line_by_line_and_by_policy(stack: Stack, tmp_path: Path) -> None:
    """One unit by hand, once; more than were sold are refused; a cancellation before shipping brings the rest."""
    floodway = CommandLine.of(stack, tmp_path)
    stocked(floodway, **{"rst-a": 10})
    (order,) = (one["order_id"] for one in decided(floodway, [line("rst-1", "rst-a", 4)]))
    assert floodway("report", "payment.succeeded", order).code == 0
    until(floodway, (6, 0, 4))
    for done in (True, False):
        said = floodway("stock", "restock", order, "rst-a=1", "--ref", "RMA-1", "--json")
        assert (said.code, said.json["done"]) == (0, done)
    assert shelves(floodway, "rst-a") == {"main": (7, 0, 3)}
    refused = floodway("stock", "restock", "cli:rst-1", "rst-a=4", "--ref", "RMA-2")
    assert refused.code == 5
    assert "has 3 of rst-a sold and not put back; 4 cannot be" in refused.error
    assert floodway("stock", "restock", order, "--ref", "cancelled").code == 5
    assert floodway("report", "order.cancelled", order).code == 0
    until(floodway, (10, 0, 0))
    assert "nothing to put back" in floodway("stock", "restock", order, "--ref", "RMA-3").out
    verified = floodway("verify", "--json")
    faults = verified.json["redis_differs_count"], verified.json["contradictory"], verified.json["unbalanced_skus"]
    assert faults == (0, 0, 0)


def until(floodway: CommandLine, accounts: tuple[int, int, int]) -> None:
    """Wait until the SKU stands so in main."""
    deadline = time.monotonic() + 30
    while (found := shelves(floodway, "rst-a")) != {"main": accounts}:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
