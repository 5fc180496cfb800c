"""Counts entered in bulk leave Locust's statistics as one event for each order would have."""

import json
import os
import subprocess
import sys

SCRIPT = """
import json, random
from locust.stats import RequestStats
from loadtest.swarm import measures

choose = random.Random(1)
latencies = [int(choose.lognormvariate(4, 1.2)) for _ in range(5_000)]
counts = {}
for ms in latencies:
    counts[ms] = counts.get(ms, 0) + 1

one, bulk = RequestStats(), RequestStats()
for ms in latencies:
    one.log_request("DECISION", "topic", ms, 0)
for _ in range(7):
    one.log_request("DECISION", "topic", None, 0)
    one.log_error("DECISION", "topic", "late")
part = {ms: n for ms, n in counts.items() if ms % 2}
measures.add(bulk, "DECISION", "topic", part, failed=3, why="late")
measures.add(bulk, "DECISION", "topic", {ms: n for ms, n in counts.items() if not ms % 2}, failed=4, why="late")
measures.add(bulk, "DECISION", "topic", {})

def told(stats):
    found = []
    for entry in (stats.entries[("topic", "DECISION")], stats.total):
        row = entry.to_dict()
        for changing in ("current_rps", "current_fail_per_sec", "total_rps", "total_fail_per_sec"):
            del row[changing]
        found.append([row, entry.num_none_requests, sum(entry.num_reqs_per_sec.values())])
    return [found, [error.occurrences for error in stats.errors.values()]]

print(json.dumps([told(one), told(bulk)]))
"""


def test_bulk_is_as_good_as_one_by_one() -> None:
    """Requests, failures, mean, extremes and every percentile are the same, in the entry and in the total.

    In a process of its own: Locust replaces threads and sockets of whoever imports it.
    """
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"LOCUST_SKIP_MONKEY_PATCH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, bulk = json.loads(done.stdout)
    assert one == bulk
    assert bulk[1] == [7]
