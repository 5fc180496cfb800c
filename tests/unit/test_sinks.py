"""Who is told of what: the file is checked, and its routes lead where they say."""

import base64
from collections.abc import Mapping

import pytest

from streams.core.sinks import EVENTS, Logged, Mail, Plan, Webhook, read_plan
from streams.errors import SettingsError
from streams.notify.config import load_plan, load_wordings

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
ENVIRON = {"HOOK": SECRET, "HOOK_OLD": SECRET, "MAIL": "pass word", "SHORT": "whsec_c2hvcnQ="}
FILE = """\
zone = "Asia/Shanghai"

[languages]
default = "en"
tmall = "zh"

[targets.shop]
kind = "webhook"
url = "https://shop.example.com/hooks?a=b"
secret_env = ["HOOK", "HOOK_OLD"]
timeout = "5s"
give_up_after = "2h"
concurrency = 4

[targets.mail]
kind = "smtp"
host = "smtp.example.com"
from = "orders@example.com"
to = "{buyer_id}@mail.example.com"
user = "floodway"
password_env = "MAIL"

[targets.log]
kind = "log"

[[route]]
events = "order.*"
channels = "tmall"
to = ["shop", "mail"]

[[route]]
events = ["order.paid", "ticket.*"]
to = "log"
overtaken = true
min_level = 1
"""


def plan(text: str = FILE, environ: Mapping[str, str] = ENVIRON) -> Plan:
    """The plan in a text."""
    return read_plan(text, "notify.toml", environ, frozenset({"en", "zh"}))


def test_a_file_says_who_is_told() -> None:
    """Targets with their bounds and secrets, and the languages of channels, are read as they stand there."""
    found = plan()
    shop, mail, log = found.targets.values()
    assert isinstance(shop, Webhook)
    assert (shop.bounds.timeout_s, shop.bounds.give_up_s, shop.bounds.concurrency) == (5.0, 7_200.0, 4)
    assert shop.secrets == (b"s" * 32, b"s" * 32)
    assert isinstance(mail, Mail)
    assert (mail.port, mail.security, mail.password) == (587, "starttls", "pass word")
    assert isinstance(log, Logged)
    assert (found.language_of("tmall"), found.language_of("web"), str(found.zone)) == ("zh", "en", "Asia/Shanghai")


def test_routes_lead_to_targets() -> None:
    """By event, channel and level; what the order had overtaken only where it is asked for; each target once."""
    found = plan()
    assert found.targets_of("order.paid", "tmall") == ["shop", "mail"]  # tickets' level does not matter to orders
    assert found.targets_of("order.shipped", "web") == []
    assert found.targets_of("order.paid", "tmall", overtaken=True, level=1) == ["log"]
    assert found.targets_of("ticket.opened", "", level=0) == []
    assert found.targets_of("ticket.opened", "", level=1) == ["log"]


WRONG = {
    'kind = "log"': ('kind = "fax"', 24, "none of webhook, smtp, log"),
    'to = "log"': ('to = "lag"', 33, "did you mean log?"),
    '"order.paid", "ticket.*"': ('"order.payed"', 32, "did you mean order.paid?"),
    'tmall = "zh"': ('tmall = "fr"', 5, "take en, zh"),
    'timeout = "5s"': ('timeout = "5"', 11, "such as 10s, 5m, 2h or 1d"),
    "concurrency = 4": ("concurrency = 0", 13, "from 1 to 64"),
    'give_up_after = "2h"': ("give_up_afterwards = 2", 12, "known are kind, timeout"),
    'secret_env = ["HOOK", "HOOK_OLD"]': ('secret_env = "NONE"', 10, "the environment has no NONE"),
    '"HOOK", "HOOK_OLD"': ('"SHORT"', 10, "at least 24 bytes"),
    "https://shop.example.com/hooks?a=b": ("https://u:p@shop.example.com/", 9, "no user, password"),
    "https://shop": ("ftp://shop", 9, "https://shop.example.com/hooks/orders"),
    "orders@example.com": ("orders", 18, "no address"),
    'user = "floodway"': ('user = "floodway"\nsecurity = "none"', 20, "in the clear"),
    "Asia/Shanghai": ("Asia/Shangri-La", 1, "there is no zone"),
    "overtaken = true": ("overtaken = 1", 34, "true or false"),
    "[[route]]": ("[[route", 26, "it must be TOML"),
}


@pytest.mark.parametrize("right", WRONG)
def test_what_a_file_says_wrong_is_refused_with_line_and_fix(right: str) -> None:
    """Each mistake names the file, the line it stands on, and what to write."""
    wrong, line, fix = WRONG[right]
    with pytest.raises(SettingsError) as refused:
        plan(FILE.replace(right, wrong, 1))
    assert "notify.toml" in str(refused.value)
    assert f"line {line}" in str(refused.value)
    assert fix in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_secret_does_not_stand_in_the_file() -> None:
    """Who writes the secret where its variable belongs is told, without repeating it."""
    with pytest.raises(SettingsError, match="names the environment variable") as refused:
        plan(FILE.replace('["HOOK", "HOOK_OLD"]', f'"{SECRET}"'))
    assert SECRET not in str(refused.value)


def test_what_comes_along_is_right() -> None:
    """The plan and the texts that come along can be read; there is a text for each event in both languages."""
    wordings = load_wordings()
    assert {event for event, _ in wordings} == set(EVENTS)
    assert len(wordings) == 2 * len(EVENTS)
    found = load_plan(None, {}, wordings)
    assert found.targets_of("order.paid", "tmall") == ["log"]
    assert found.targets_of("ticket.opened", "") == ["log"]
