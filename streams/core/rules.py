"""Rules of the watch, as one TOML file says them: what is looked for, after how long it is a matter for people, likely
cause and guide, when it escalates, and when it is over. Pure.

What the file says wrong is refused with the line it stands on. See docs/watch.md.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from string import Template
from types import MappingProxyType
from typing import Any, NamedTuple

from streams.core.toml_text import TomlText, seconds_of
from streams.errors import SettingsError
from streams.messages import NAME
from streams.topics import ALL

MAX_RULES = 64
MAX_SUBJECT = 200
WORDS = ("subject", "count", "since", "lasting", "examples")
_COMMON = ("check", "after", "escalate", "clear_after", "headline", "detail", "cause", "fix")
CHECKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "lag": ("group", "topic"),
        "source_quiet": ("every",),
        "orders_unprocessed": (),
        "paid_unlocked": (),
        "refund_waiting": (),
        "deliveries_waiting": (),
        "deliveries_failed": (),
        "quarantined_codes": (),
        "quarantined_orders": (),
        "told": (),
    }
)
"""What can be looked for, and what each needs beside the common. `told` looks for nothing: others open its tickets."""
ORDER_CHECKS = frozenset({"orders_unprocessed", "paid_unlocked", "refund_waiting"})
"""Those that look at orders: each once, when it has been so for the rule's time."""


class Finding(NamedTuple):
    """That a rule's cause is there, of one subject: how many are concerned, since when, and some of them."""

    subject: str
    affected: int
    since: datetime | None = None
    examples: tuple[str, ...] = ()


class Rule(NamedTuple):
    """One rule. `every` is, by source, how often it is heard of; `default` for those that are not named."""

    name: str
    check: str
    after_s: float
    escalate_s: tuple[float, ...]
    clear_s: float
    subject: Template
    detail: Template
    cause: str
    fix: str
    group: str
    topic: str
    every: Mapping[str, float]

    def ticket_id(self, subject: str) -> str:
        """The same for the same cause."""
        return f"{self.name}:{subject[:MAX_SUBJECT]}"

    def headline(self, finding: Finding) -> str:
        """The subject in words. It stays as it was when the ticket was opened, so it has no numbers."""
        return self.subject.substitute(subject=finding.subject[:MAX_SUBJECT])

    def told(self, finding: Finding, now: datetime) -> str:
        """What was found, in words."""
        since = finding.since
        return self.detail.substitute(
            subject=finding.subject[:MAX_SUBJECT],
            count=f"{finding.affected:,}",
            since="" if since is None else since.strftime("%Y-%m-%d %H:%M UTC"),
            lasting="some time" if since is None else lasting((now - since).total_seconds()),
            examples=", ".join(finding.examples),
        )


def lasting(seconds: float) -> str:
    """A time for people: `90 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for unit, length_s, most in (("s", 1, 120), ("min", 60, 120), ("h", 3_600, 48)):
        if seconds < most * length_s:
            return f"{round(seconds / length_s, 1 if unit == 'h' else 0):g} {unit}"
    return f"{seconds / 86_400:.1f} d"


def read_rules(text: str, file: str) -> dict[str, Rule]:
    """The rules in a file's text, by name. Raises `SettingsError`, which names file and line."""
    toml = TomlText(text, file)
    toml.known("", toml.found, ("rules",))
    tables = toml.sections("rules")
    if not 0 < len(tables) <= MAX_RULES:
        raise toml.error("", None, f"there are {len(tables)} rules; write 1 to {MAX_RULES}, each as [rules.NAME]")
    return {name: _rule(toml, name, table) for name, table in tables.items()}


def _rule(toml: TomlText, name: str, table: Mapping[str, Any]) -> Rule:
    section = f"rules.{name}"
    if re.fullmatch(NAME.replace("~@+", "_"), name) is None or len(name) > 64:
        raise toml.error(section, None, f"{name[:64]!r} is no name; use letters, digits, `_` and `-`")
    check = toml.text(section, table, "check")
    if check not in CHECKS:
        raise toml.error(section, "check", f"{check!r} is none of {', '.join(CHECKS)}")
    toml.known(section, table, (*_COMMON, *CHECKS[check]))
    every = _every(toml, section, table) if check == "source_quiet" else {}
    escalate_s = _times(toml, section, table)
    topic = toml.text(section, table, "topic") if check == "lag" else ""
    if topic and topic not in {one.name for one in ALL}:
        raise toml.error(section, "topic", f"there is no topic {topic!r}")
    return Rule(
        name=name,
        check=check,
        after_s=toml.seconds(section, table, "after", "5m"),
        escalate_s=escalate_s,
        clear_s=toml.seconds(section, table, "clear_after", "2m"),
        subject=_words(toml, section, table, "headline", ("subject",)),
        detail=_words(toml, section, table, "detail", WORDS),
        cause=toml.text(section, table, "cause"),
        fix=toml.text(section, table, "fix"),
        group=toml.text(section, table, "group") if check == "lag" else "",
        topic=topic,
        every=MappingProxyType(every),
    )


def _times(toml: TomlText, section: str, table: Mapping[str, Any]) -> tuple[float, ...]:
    times = [seconds_of(one) for one in toml.texts(section, table, "escalate", ("1h", "4h"))]
    found = [one for one in times if one]
    if len(found) != len(times) or len(found) > 9 or sorted(set(found)) != found:
        raise toml.error(section, "escalate", 'give up to nine growing times, such as ["30m", "2h"]')
    return tuple(found)


def _every(toml: TomlText, section: str, table: Mapping[str, Any]) -> dict[str, float]:
    every = table.get("every")
    if not isinstance(every, dict) or not every:
        raise toml.error(section, "every", 'say how often sources are heard of: every = { default = "6h", sf = "2h" }')
    found = {source: seconds_of(value) if isinstance(value, str) else None for source, value in every.items()}
    wrong: list[str] = [source for source, seconds in found.items() if not seconds]
    if wrong:
        raise toml.error(section, "every", f"{wrong[0]!r} needs a time such as 10s, 5m, 2h or 1d")
    return {source: seconds for source, seconds in found.items() if seconds}


def _words(toml: TomlText, section: str, table: Mapping[str, Any], key: str, names: tuple[str, ...]) -> Template:
    found = Template(toml.text(section, table, key))
    if not found.is_valid():
        raise toml.error(section, key, "a lone $; write $$ for the sign itself")
    for used in found.get_identifiers():
        if used not in names:
            raise toml.error(section, key, f"${used} is unknown here; known are {', '.join(names)}")
    return found


def no_rules(name: str) -> SettingsError:
    """For a file that is not there."""
    return SettingsError(f"{name} cannot be read; FLOODWAY_WATCH_FILE must name a readable file in UTF-8.")
