"""The rules of the watch are checked; those that come along are right."""

from datetime import UTC, datetime, timedelta

import pytest

from agents.roles import ROLES, group
from streams.core.rules import CHECKS, lasting, read_rules
from streams.core.waits import Waits
from streams.errors import SettingsError
from streams.reports import UNKNOWN_CODE
from streams.watch.config import load_rules
from streams.watch.delays import mean_ms, share_ms

FILE = """\
[rules.unread]
check = "lag"
group = "floodway-lifecycle"
topic = "orders.reported.v1"
after = "5m"
escalate = ["10m", "1h"]
headline = "Unread"
detail = "$count wait for $lasting"
cause = "c"
fix = "f"

[rules.quiet]
check = "source_quiet"
every = { default = "6h", sf = "30m" }
headline = "$subject is quiet"
detail = "since $since"
cause = "c"
fix = "f"
"""
NOW = datetime(2026, 11, 11, tzinfo=UTC)


def test_a_file_says_what_needs_people() -> None:
    """Times are in seconds; sources have an interval each."""
    unread, quiet = read_rules(FILE, "w.toml").values()
    assert (unread.check, unread.after_s, unread.escalate_s, unread.clear_s) == ("lag", 300.0, (600.0, 3_600.0), 120.0)
    assert quiet.every == {"default": 21_600.0, "sf": 1_800.0}


WRONG = {
    'check = "lag"': ('check = "leg"', 2, "none of lag, source_quiet"),
    '"orders.reported.v1"': ('"orders.v9"', 4, "there is no topic"),
    'after = "5m"': ("after = 5", 5, "such as 10s, 5m, 2h or 1d"),
    '["10m", "1h"]': ('["1h", "10m"]', 6, "growing times"),
    "$count wait": ("$coumt wait", 8, "known are subject, count"),
    '"$subject is quiet"': ('"5 $"', 15, "write $$"),
    'sf = "30m"': ("sf = 30", 14, "'sf' needs a time"),
    'fix = "f"': ('fix = ""', 10, "must be a text"),
    'topic = "orders.reported.v1"': ('topics = "orders.reported.v1"', 4, "known are check"),
    "[rules.unread]": ("[rule.unread]", 1, "known are rules"),
}


@pytest.mark.parametrize("right", WRONG)
def test_what_a_file_says_wrong_is_refused_with_line_and_fix(right: str) -> None:
    """Each mistake names the file, the line it stands on, and what to write."""
    wrong, line, fix = WRONG[right]
    with pytest.raises(SettingsError) as refused:
        read_rules(FILE.replace(right, wrong, 1), "w.toml")
    assert f"w.toml, line {line}: " in str(refused.value)
    assert fix in str(refused.value)


def test_the_rules_that_come_along_watch_all_that_can_be_watched() -> None:
    """Every check is used, the groups exist, and the ticket that quarantine opens is the rule's own."""
    rules = load_rules(None)
    assert {rule.check for rule in rules.values()} == set(CHECKS)
    assert {rule.group for rule in rules.values() if rule.group} <= {group(role) for role in ROLES}
    assert rules[UNKNOWN_CODE].check == "quarantined_codes"
    assert rules["orders_unprocessed"].after_s == 7_200
    assert rules["reports_unconsumed"].after_s == 300


def test_records_wait_since_they_were_first_seen_behind_the_group() -> None:
    """However old a record says it is; a group that moves but stays behind is late by what it has not read."""
    waits, minute = Waits(), timedelta(minutes=1)
    assert waits.look(NOW, {0: 10, 1: 5}, {0: 10, 1: 5}) == (0, None)
    assert waits.look(NOW + minute, {0: 12, 1: 5}, {0: 10, 1: 5}) == (2, NOW + minute)
    assert waits.look(NOW + 2 * minute, {0: 20, 1: 5}, {0: 11, 1: 5}) == (9, NOW + minute)
    assert waits.look(NOW + 3 * minute, {0: 20, 1: 6}, {0: 12, 1: 5}) == (9, NOW + 2 * minute)
    assert waits.look(NOW + 4 * minute, {0: 20, 1: 6}, {0: 20, 1: 6}) == (0, None)
    assert waits.look(NOW + 3 * 60 * minute, {0: 21, 1: 6}, {0: 20, 1: 6}) == (1, NOW + 180 * minute)


def test_percentiles_are_a_tenth_too_high_at_most() -> None:
    """Counts by size tell the delay that a share did not exceed; the mean is exact."""
    found = {48: (98, 98 * 100.0), 72: (2, 2_000.0)}
    assert 100.0 <= share_ms(found, 0.5) <= 110.0
    assert 1_000.0 <= share_ms(found, 0.99) <= 1_100.0
    assert mean_ms(found) == 118.0
    assert (share_ms({}, 0.5), mean_ms({})) == (0.0, 0.0)


def test_times_are_told_as_people_say_them() -> None:
    """In the unit that fits."""
    assert [lasting(s) for s in (30, 119, 720, 7_200, 9_000, 400_000)] == [
        "30 s",
        "119 s",
        "12 min",
        "2 h",
        "2.5 h",
        "4.6 d",
    ]
