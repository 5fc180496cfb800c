"""One look of the watch: facts by every rule, then the tickets that follow, in one transaction.

Facts come from the replica, as of the moment when the look began. A window of steps is looked at once: what a look has
found is kept, and with it how far it has looked; of two watches that look at once, one does not count.
"""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from streams.core.books import Message
from streams.core.lifecycle import KEEPER
from streams.core.rules import ORDER_CHECKS, Finding, Rule
from streams.core.ticketing import FORGET_AFTER, Kept, Step, advance, escalated
from streams.core.waits import Positions, Waits
from streams.errors import LogUnavailable, UnknownThing
from streams.messages import TicketEvent
from streams.stores.watch_postgres import Delay, FoundOrder, PostgresWatch, Turn

MARGIN = timedelta(seconds=5)
"""What a worker wrote is committed by then; later it is not seen."""
HISTORY = timedelta(days=1)
"""So far back a rule looks that never looked before."""
SLICE = timedelta(hours=6)
"""The longest window of one look."""
MOST_FOUND = 50_000
"""Orders that a rule keeps at a time; with so many nothing is gained by more."""
EXAMPLES = 3
KEEP_DELAYS = timedelta(days=30)
FORGET_SOURCE = timedelta(days=7)
"""A source that was not heard of for so long is gone, unless the rule names it."""
SOURCES = "sources"
"""The mark of what is added up by source."""

Standing = Callable[[str, str], Awaitable[tuple[Positions, Positions]]]
"""Where a topic ends and how far a group has come, by group and topic."""

logger = logging.getLogger(__name__)


class _Facts(NamedTuple):
    """What a look has found. Rules that could not tell are in neither."""

    findings: dict[str, list[Finding]]
    orders: dict[str, list[FoundOrder]]
    marks: dict[str, datetime]
    delays: list[Delay]
    heard: dict[str, datetime]


class Watch:
    """Looks. One for each process; it remembers where topics ended."""

    def __init__(self, store: PostgresWatch, rules: Mapping[str, Rule], standing: Standing) -> None:
        self._store, self._rules, self._standing = store, rules, standing
        self._waits: dict[str, Waits] = defaultdict(Waits)

    async def look(self, now: datetime) -> list[Message]:
        """Evaluate all rules; returns what is to be told of tickets. Raises `LedgerUnavailable`."""
        before = await self._store.marks()
        facts = await self._facts(now, before)
        async with self._store.turn() as turn:
            if turn is None or await turn.marks() != before:
                return []  # another watch was here since
            await self._write(turn, facts, now)
            kept = await turn.kept(now - FORGET_AFTER)
            changed = [(one, event) for one, event in self._steps(facts, kept, now) if one != kept.get(one.ticket_id)]
            return await turn.keep(changed, now)

    def _steps(self, facts: _Facts, kept: Mapping[str, Kept], now: datetime) -> list[tuple[Kept, TicketEvent | None]]:
        steps: list[Step] = []
        for name, rule in self._rules.items():
            mine = {one.ticket_id: one for one in kept.values() if one.kind == name}
            if rule.check == "told":
                steps += [escalated(rule, one, now) for one in mine.values() if one.is_open]
            elif name in facts.findings:
                found = {rule.ticket_id(one.subject): one for one in facts.findings[name]}
                ids = sorted(mine.keys() | found.keys())
                steps += [advance(rule, mine.get(one), found.get(one), now) for one in ids]
        return [(one, event) for one, event in steps if one is not None]

    async def _write(self, turn: Turn, facts: _Facts, now: datetime) -> None:
        for name, found in facts.orders.items():
            await turn.set_found(name, found, all_of_them=len(found) < MOST_FOUND)
        await turn.add_delays(facts.delays, facts.heard, now - KEEP_DELAYS)
        await turn.set_marks(facts.marks)

    async def _facts(self, now: datetime, marks: Mapping[str, datetime]) -> _Facts:
        facts = _Facts({}, {}, {}, [], {})
        token = await self._store.token()
        caught_up = await self._sources(facts, now, marks, token)
        for name, rule in self._rules.items():
            if rule.check in ORDER_CHECKS:
                await self._orders(facts, rule, now, marks, token)
            elif rule.check == "lag":
                found = await self._lag(rule, now)
                if found is not None:
                    facts.findings[name] = found
            elif rule.check == "source_quiet":
                if caught_up:
                    facts.findings[name] = await self._quiet(facts, rule, now)
            elif rule.check == "quarantined_codes":
                facts.findings[name] = await self._store.subjects(rule.check, token)
            elif rule.check != "told":
                before = now - timedelta(seconds=rule.after_s)
                facts.findings[name] = await self._store.subjects(rule.check, token, before)
        return facts

    async def _orders(
        self, facts: _Facts, rule: Rule, now: datetime, marks: Mapping[str, datetime], token: str
    ) -> None:
        after, until = _window(now - MARGIN - timedelta(seconds=rule.after_s), marks.get(rule.name))
        found = await self._store.orders(rule.check, rule.name, after, until, MOST_FOUND, token)
        if len(found) < MOST_FOUND:  # else what is behind the window waits until some of these are well
            facts.marks[rule.name] = until
        facts.orders[rule.name] = found
        by_channel: dict[str, list[FoundOrder]] = defaultdict(list)
        for one in found:
            by_channel[one.channel].append(one)
        facts.findings[rule.name] = [
            Finding(channel, len(some), some[0].since, tuple(str(one.order_id) for one in some[:EXAMPLES]))
            for channel, some in by_channel.items()
        ]

    async def _sources(self, facts: _Facts, now: datetime, marks: Mapping[str, datetime], token: str) -> bool:
        """Add up what sources told; returns whether that is up to now."""
        after, until = _window(now - MARGIN, marks.get(SOURCES))
        facts.marks[SOURCES] = until
        facts.delays.extend(await self._store.delays(after, until, [KEEPER], token))
        for one in facts.delays:
            facts.heard[one.source] = max(one.last_at, facts.heard.get(one.source, one.last_at))
        return until >= now - MARGIN

    async def _quiet(self, facts: _Facts, rule: Rule, now: datetime) -> list[Finding]:
        last = await self._store.activity()
        for source in rule.every:  # one that is named and was never heard of is waited for from now on
            if source != "default" and source not in last:
                facts.heard.setdefault(source, now)
        last = {**last, **facts.heard}
        found = []
        for source, at in last.items():
            every_s = rule.every.get(source, rule.every.get("default"))
            silent = now - at
            is_gone = source not in rule.every and silent > FORGET_SOURCE
            if every_s is not None and silent > timedelta(seconds=every_s) and not is_gone:
                found.append(Finding(source, 1, at))
        return found

    async def _lag(self, rule: Rule, now: datetime) -> list[Finding] | None:
        try:
            ends, committed = await self._standing(rule.group, rule.topic)
        except (LogUnavailable, UnknownThing) as error:
            logger.warning("%s: %s", rule.name, error)
            return None
        count, since = self._waits[rule.name].look(now, ends, committed)
        if since is None or now - since < timedelta(seconds=rule.after_s):
            return []
        return [Finding(rule.topic, count, since)]


def _window(until: datetime, mark: datetime | None) -> tuple[datetime, datetime]:
    """What to look at: from where the last look ended, a bounded time on."""
    after = until - HISTORY if mark is None else mark
    return after, max(after, min(until, after + SLICE))
