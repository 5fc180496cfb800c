"""`floodway reconcile` on a running pipeline: the differences of a day, as people and scripts get them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from command import CommandLine
from test_command_line import decided, line, stocked

from infra.embedded import Stack

pytest_plugins = ["stack_fixtures"]
pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("running")]


def test_the_differences_of_a_day_are_told_and_make_the_exit_code(stack: Stack, tmp_path: Path) -> None:
    """Nothing differs: 0. A number nobody submitted, another total, one left out: 1, in the table, JSON and HTML."""
    floodway = CommandLine.of(stack, tmp_path)
    stocked(floodway, **{"rec-a": 10})
    since = datetime.now(UTC).isoformat()
    lines = [line(f"rec-{n}", "rec-a", channel="pdd", channel_order_no=f"261111-{n}") for n in range(3)]
    assert {one["outcome"] for one in decided(floodway, lines)} == {"accepted"}
    header, rows = "order_sn,total\n", [f"261111-{n},2.50\n" for n in range(3)]
    export = tmp_path / "pdd.csv"
    export.write_text(header + "".join(rows))
    words = ("reconcile", "pdd", export, "--number", "order_sn", "--amount", "total", "--since", since)
    same = floodway(*words, "--json")
    assert (same.code, same.json["same"], same.json["rows_the_same"], same.json["orders"]) == (0, True, 3, 3)
    export.write_text(header + rows[0] + "261111-1,2.60\n" + "261111-9,2.50\n")
    page = tmp_path / "report.html"
    found = floodway(*words, "--json", "--html", page)
    assert found.code == 1
    assert found.json["counts"] == {"amount": 1, "missing_here": 1, "missing_there": 1}
    (amount,) = [one for one in found.json["differences"] if one["kind"] == "amount"]
    assert (amount["number"], amount["here"], amount["there"], amount["line"]) == ("261111-1", "250", "260", 3)
    assert "261111-9" in page.read_text(encoding="utf-8")
    table = floodway(*words)
    assert table.code == 1
    assert "261111-2" in table.out
    refused = floodway("reconcile", "pdd", export)
    assert refused.code == 5
    assert "There is no column 'number'" in refused.error
    assert floodway("reconcile", "nobody", export).code == 5
